"""`backward` and `grad`: what they give, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops

pytestmark = pytest.mark.usefixtures("device")


@pytest.fixture
def x():
    return tg.tensor([1.0, 2.0, 3.0], requires_grad=True)


def test_gradients_add_up_over_backwards_until_they_are_cleared(x):
    (x * x).sum().backward()
    (x * x).sum().backward()
    assert x.grad.tolist() == [4.0, 8.0, 12.0]
    x.grad = None
    assert x.grad is None


def test_a_gradient_seen_once_is_not_changed_by_the_next_backward(x):
    x.sum().backward()
    seen = x.grad
    x.sum().backward()
    assert seen.tolist() == [1.0, 1.0, 1.0]


def test_grad_touches_no_grad_slot(x):
    w = tg.tensor([2.0, 2.0, 2.0], requires_grad=True)
    assert tg.grad((x * w).sum(), x).tolist() == [2.0, 2.0, 2.0]
    assert x.grad is None and w.grad is None


@pytest.mark.parametrize("create_graph", [False, True])
def test_no_gradient_shares_memory_with_anything_else(create_graph, xp):
    a, b, c = (tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(3))
    y = a + b + c.reshape(2)
    z = y + 0.0
    y.retain_grad()
    z.retain_grad()
    seed = tg.tensor([1.0, 1.0])
    z.backward(seed, create_graph=create_graph)
    arrays = [t.grad.data for t in (a, b, c, y, z)] + [seed.data]
    for i, p in enumerate(arrays):
        assert not any(xp.shares_memory(p, q) for q in arrays[i + 1 :])


def test_a_cotangent_of_the_user_is_not_written_to(x, xp):
    seed = xp.ones(3, "f")
    y = x * 1.0
    (y + y).backward(seed)
    y = x
    (y + y + y).backward(seed)
    assert seed.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_gradient_has_its_leafs_dtype_and_shape(dtype):
    w = tg.tensor(np.ones((1, 3)), dtype=dtype, requires_grad=True)
    other = tg.tensor(np.ones((4, 2, 3)), requires_grad=True)
    (w * other).sum().backward()
    assert (w.grad.dtype, w.grad.shape) == (np.dtype(dtype), (1, 3))
    assert (w.grad.numpy() == 8).all()
    assert other.grad.dtype == np.float64


def test_integers_carry_no_gradient(x):
    y = x.astype("int64")
    assert not y.requires_grad
    assert not (x > 1).requires_grad and not x.argmax().requires_grad


def test_zero_d_gradients_are_arrays(xp):
    x = tg.tensor(2.0, requires_grad=True)
    for _ in range(2):
        (x * x).backward()
    assert type(x.grad.data) is xp.ndarray and x.grad.item() == 8.0


def test_one_value_used_often_gets_the_sum(x):
    y = x * 2
    (y * y + y + ops.tanh(y) * 0 + y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 8 * x.numpy() + 4)


def test_an_exponential_number_of_paths_is_swept_once_per_node(x):
    y = x
    for _ in range(60):
        y = y + y
    y.sum().backward()
    assert (x.grad.numpy() == 2.0**60).all()


def test_a_half_used_split_gets_zeros_for_the_other_half():
    x = tg.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    first, _ = ops.split(x, 2)
    (first * first).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0, 0.0, 0.0]


def test_several_outputs_are_added_up(x):
    y, z = (x * x).sum(), x.sum()
    assert tg.grad([y, z, y], x, [1.0, 2.0, 3.0]).tolist() == [10.0, 18.0, 26.0]


def test_grad_by_an_intermediate_value_and_by_the_output_itself(x):
    m = x * 3
    y = (m * m).sum()
    gm, gx, gy = tg.grad(y, [m, x, y])
    assert (gm.tolist(), gx.tolist(), gy.item()) == ([6.0, 12.0, 18.0], [18.0, 36.0, 54.0], 1.0)


def test_allow_unused_gives_none(x):
    other = tg.tensor(1.0, requires_grad=True)
    gx, none = tg.grad(x.sum(), [x, other], allow_unused=True)
    assert none is None and gx.tolist() == [1.0, 1.0, 1.0]


def test_to_retain_the_gradient_of_a_leaf_changes_nothing(x):
    x.retain_grad()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
