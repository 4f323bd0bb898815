"""The sweep: broadcasting undone, the tape, hooks, in-place writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import namespaces, ops
from tinygrad_rnn.broadcasting import stretched
from tinygrad_rnn.namespaces import to_numpy
from tinygrad_rnn.scope import here
from tinygrad_rnn.sweep import sweep

pytestmark = pytest.mark.usefixtures("device")


@pytest.fixture
def x():
    return tg.tensor([1.0, 2.0, 3.0], requires_grad=True)


# -- broadcasting --------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([1, 2, 3]), max_size=4), st.data())
def test_unbroadcasting_undoes_broadcasting(shape, data):
    small = tuple(1 if data.draw(st.booleans()) else n for n in shape)[
        data.draw(st.integers(0, len(shape))) :
    ]
    w = tg.tensor(np.ones(small), requires_grad=True)
    y = w + tg.tensor(np.zeros(tuple(shape)))
    g = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(tg.tensor(g))
    assert w.grad.shape == small
    np.testing.assert_allclose(w.grad.numpy().sum(), g.sum(), atol=1e-12)
    one = np.zeros(small)
    if one.size:
        one.flat[0] = 1
        np.testing.assert_allclose(
            w.grad.numpy().flat[0], (g * (one + np.zeros(tuple(shape)))).sum(), atol=1e-12
        )


def test_a_rule_may_give_less_than_the_inputs_shape():
    assert stretched((3,), (2, 3)) == ((), (1, 3))
    assert stretched((2, 1), (4, 1, 3)) == ((0,), (1, 1, 1))


# -- the tape ------------------------------------------------------------------------------------------


def test_retain_graph_allows_another_backward_and_create_graph_implies_it(x):
    y = (x * x).sum()
    y.backward(retain_graph=True)
    tg.grad(y, x, create_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0, 12.0]
    with pytest.raises(tg.FreedTapeError):
        y.backward()


def test_an_error_before_the_sweep_leaves_the_other_half_of_the_tape_alone(x):
    shared = x * x
    tg.grad(shared.sum(), x)
    upper = ops.tanh(shared)
    with pytest.raises(tg.FreedTapeError, match=r"multiply .*retain_graph=True"):
        upper.sum().backward()
    assert upper.node.saved is not None and x.grad is None


def test_third_order(x):
    y, v = (x**4).sum(), x.numpy()
    for expected in (4 * v**3, 12 * v**2, 24 * v):
        y = tg.grad(y, x, create_graph=True)
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)
        y = y.sum()


def test_second_order_through_several_outputs_whose_rule_uses_them():
    """Two nodes may stand for one output of a bundle: their cotangents add, neither replaces the other."""

    @tg.primitive
    def sincos(xp, x, /):
        return xp.sin(x), xp.cos(x)

    sincos.vjp(x=lambda g, y: g[0] * y[1] - g[1] * y[0])
    x = tg.tensor(np.array([0.3, 0.7]), requires_grad=True)

    def first_and_second(s, c):
        g = tg.grad((s * s * c + s).sum(), x, create_graph=True)
        return g.numpy(), tg.grad((g * g * s).sum(), x).numpy()

    ours, theirs = first_and_second(*sincos(x)), first_and_second(ops.sin(x), ops.cos(x))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("create_graph", [False, True])
def test_zeros_for_an_unused_output_stand_with_the_others_not_on_the_default_device(
    x, create_graph, monkeypatch
):
    first, *_ = ops.split(x, 3)
    monkeypatch.setattr(namespaces._local, "device", "cuda:7")
    (g,) = tg.grad(first.sum(), [x], create_graph=create_graph)
    assert g.tolist() == [1.0, 0.0, 0.0]


def test_backward_nodes_stand_where_their_forward_stood(x):
    with tg.at(time=3, layer=1, direction="reverse"):
        y = ops.tanh(x)
    with tg.at(time=9):
        g = tg.grad(y.sum(), x, create_graph=True)
    assert (g.node.scope.time, g.node.scope.layer, g.node.scope.backward) == (3, 1, True)
    assert here.scope.time is None


def test_watch_sees_every_node_in_the_order_of_bptt_and_what_it_sends(x, xp):
    y = (ops.tanh(x) * x).sum()
    seen = []
    sweep({y.node: xp.ones((), "f")}, xp, keep=True, watch=lambda n, g, sent: seen.append((n, g, list(sent))))
    assert [n.plan and n.plan.name for n, *_ in seen] == ["sum", "multiply", "tanh", None]
    total = seen[-1][1]
    np.testing.assert_allclose(to_numpy(total), to_numpy(seen[1][2][1] + seen[2][2][0]))


# -- hooks ---------------------------------------------------------------------------------------------


def test_a_hook_sees_the_whole_gradient_and_may_replace_it(x):
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    (y + y).sum().backward()
    assert seen == [[2.0, 2.0, 2.0]]
    assert x.grad.tolist() == [40.0, 40.0, 40.0]


def test_a_hook_can_be_removed_even_twice_and_by_itself(x):
    handle = x.register_hook(lambda g: g * 5)
    other = x.register_hook(lambda g: other.remove())
    x.sum().backward()
    handle.remove()
    handle.remove()
    x.sum().backward()
    assert x.grad.tolist() == [6.0, 6.0, 6.0]
    assert not x.node.hooks


def test_a_hook_that_keeps_the_gradient_shares_no_memory_with_it(x):
    kept = []
    x.register_hook(kept.append)
    (x + x).sum().backward()
    kept[0].data[:] = 99
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_hooks_run_on_the_tape_with_create_graph(x):
    y = x * x
    handle = y.register_hook(lambda g: g * y)
    g = tg.grad(y.sum(), x, create_graph=True)  # 2x · x²
    handle.remove()
    np.testing.assert_allclose(tg.grad(g.sum(), x).numpy(), 6 * x.numpy() ** 2)


def test_retain_grad_keeps_an_intermediate_gradient(x):
    y = x * 2
    assert not y.is_leaf and y.grad is None
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [4.0, 8.0, 12.0]


# -- in-place writes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [
    lambda t: t.__setitem__(0, 7.0),
    lambda t: t.copy_(7.0),
    lambda t: t.__iadd__(1.0),
    lambda t: t.__imul__(2.0),
])  # fmt: skip
@pytest.mark.parametrize("order", [1, 2])
def test_a_write_to_an_array_that_a_rule_needs_is_caught(x, write, order):
    c = tg.tensor([1.0, 1.0, 1.0])
    y = (x * c).sum()
    with tg.no_grad():
        write(c)
    with pytest.raises(tg.InPlaceError, match=r"multiply .*\(3,\)"):
        tg.grad(y, x, create_graph=order == 2)
    assert x.grad is None


def test_a_write_through_a_view_is_caught(x):
    c = tg.tensor(np.ones((2, 3), "f"))
    y = (x * c[0]).sum()
    c[1][:] = 5.0
    with pytest.raises(tg.InPlaceError):
        y.backward()


def test_a_write_to_the_output_that_a_rule_needs_is_caught(x):
    y = ops.exp(x)
    loss = y.sum()
    with tg.no_grad():
        y += 1
    with pytest.raises(tg.InPlaceError, match="exp"):
        loss.backward()


def test_a_write_that_no_rule_cares_for_passes(x):
    c = tg.tensor([1.0, 1.0, 1.0])
    y = (x + c).sum()
    c[0] = 9.0
    d = tg.tensor([1.0, 1.0, 1.0])
    d[0] = 2.0
    (y + (x * d).sum()).backward()
    assert x.grad.tolist() == [3.0, 2.0, 2.0]


def test_an_optimiser_step_between_forward_and_backward_is_caught():
    w = tg.tensor([1.0], requires_grad=True)
    y = (w * w).sum()
    z = (w * w).sum()
    y.backward()
    optimiser = tg.optim.SGD([w], lr=0.1)
    optimiser.step()
    with pytest.raises(tg.InPlaceError):
        z.backward()


def test_augmented_assignment_is_in_place_outside_the_tape_and_a_new_value_on_it(x):
    c = tg.tensor([1.0, 1.0, 1.0])
    data = c.data
    c += 1
    c *= 2
    c -= 1
    c /= 3
    assert c.data is data and c.tolist() == [1.0, 1.0, 1.0]
    h = before = x * 1
    h += c
    h *= x
    assert h is not before and before.tolist() == [1.0, 2.0, 3.0]
    assert tg.grad(h.sum(), x).tolist() == [3.0, 5.0, 7.0]
    p = x
    with tg.no_grad():
        p -= 1.0
    assert p is x and x.tolist() == [0.0, 1.0, 2.0]


def test_a_dead_arrays_write_is_forgotten():
    from tinygrad_rnn import namespaces

    c = tg.tensor([1.0])
    c[0] = 2.0
    written = len(namespaces._written)
    del c
    assert len(namespaces._written) == written - 1
