"""Checkpoints change memory and time, and nothing else."""

from __future__ import annotations

import gc
import tracemalloc
from collections import namedtuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.sweep import ancestors

pytestmark = pytest.mark.usefixtures("device")


@pytest.fixture
def w(rng):
    return tg.tensor(rng.standard_normal((3, 3)), requires_grad=True)


@pytest.fixture
def x(rng):
    return tg.tensor(rng.standard_normal((2, 3)), requires_grad=True)


def same(plain, checked, inputs, order=1):
    """Both give the same value and the same gradients, to rounding."""
    first = []
    for f in (plain, checked):
        y = f()
        gs = tg.grad(y, inputs, create_graph=order == 2)
        if order == 2:
            gs += tg.grad(sum((g * g * g).sum() for g in gs), inputs)
        first.append([y.numpy(), *(g.numpy() for g in gs)])
    for a, b in zip(*first, strict=True):
        np.testing.assert_allclose(
            b, a, rtol=1e-12 if order == 1 else 1e-9, atol=1e-14 if order == 1 else 1e-12
        )


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_reach_arguments_and_what_is_closed_over(w, x, order):
    f = lambda x: ops.tanh(x @ w) @ w
    loss = lambda y: (y * y * ops.sin(x)).sum()
    same(lambda: loss(f(x)), lambda: loss(tg.checkpoint(f, x)), [w, x], order)


@pytest.mark.parametrize("order", [1, 2])
def test_an_intermediate_value_may_be_closed_over(w, x, order):
    def make(run):
        def loss():
            m = ops.sin(x)
            return (run(lambda a: ops.tanh(a @ w) * m, m * 2) * m).sum()

        return loss

    same(make(lambda f, a: f(a)), make(tg.checkpoint), [w, x], order)


@pytest.mark.parametrize("order", [1, 2])
def test_checkpoints_nest(w, x, order):
    inner = lambda a: ops.tanh(a @ w)
    plain = lambda: ops.sin(inner(inner(x)) * x).sum()
    nested = lambda: tg.checkpoint(
        lambda a: ops.sin(tg.checkpoint(inner, tg.checkpoint(inner, a)) * a).sum(), x
    )
    same(plain, nested, [w, x], order)


def test_one_argument_may_depend_on_another_or_be_it(w, x):
    f = lambda a, b: ops.tanh(a @ w) * b

    def loss(run):
        m = x * 2
        return (run(f, m, m) * run(f, x, m * x)).sum()

    same(lambda: loss(lambda f, *a: f(*a)), lambda: loss(tg.checkpoint), [w, x])


def test_the_random_stream_is_drawn_again_as_it_was(w, x, device):
    if device != "cpu":
        pytest.skip("a GPU's random stream does not show its state: it starts anew from a seed")

    def run(call):
        tg.manual_seed(3)
        y = call(lambda a: ops.dropout(ops.dropout(a @ w, 0.5), 0.5), x)
        z = tg.rand(2)  # drawn after the forward pass, and not disturbed by the backward one
        gs = tg.grad((y * y).sum(), [w, x])
        return [y.numpy(), z.numpy(), tg.rand(2).numpy(), *(g.numpy() for g in gs)]

    for a, b in zip(run(lambda f, a: f(a)), run(tg.checkpoint), strict=True):
        np.testing.assert_array_equal(a, b)


def test_structures_go_in_and_come_out(w, x):
    Pair = namedtuple("Pair", "h c")

    def f(state, options):
        h, c = state
        return {"state": Pair(h @ w, c), "same": [h, options["n"], None]}

    c = tg.tensor([1.0])
    out = tg.checkpoint(f, (x, c), {"n": 3})
    assert type(out["state"]) is Pair and out["state"].c is c and out["same"][1:] == [3, None]
    gx, gw = tg.grad((out["state"].h * 2).sum() + out["same"][0].sum(), [x, w])
    np.testing.assert_allclose(gx.numpy(), 2 * w.numpy().sum(1) + np.ones((2, 3)))
    np.testing.assert_allclose(gw.numpy(), 2 * x.numpy().sum(0)[:, None] + np.zeros((3, 3)))


def test_unused_outputs_and_no_gradient_at_all(w, x):
    a, _ = tg.checkpoint(lambda x: (x @ w, x * 2), x)
    assert tg.grad(a.sum(), x).shape == x.shape
    plain = tg.checkpoint(lambda a: a * 2, tg.ones(2))
    assert not plain.requires_grad
    with tg.no_grad():
        assert not tg.checkpoint(lambda a: a @ w, x).requires_grad


def test_hooks_on_what_is_closed_over_run_once(w, x):
    seen = []
    w.register_hook(lambda g: seen.append(1))
    tg.checkpoint(lambda a: a @ w, x).sum().backward()
    assert seen == [1] and w.grad is not None and x.grad is not None


def test_a_write_in_between_is_caught(w, x):
    y = tg.checkpoint(lambda a: ops.tanh(a + w[:2]), x).sum()
    with tg.no_grad():
        w *= 1.5
    with pytest.raises(tg.InPlaceError, match="written to in place"):
        y.backward()
    assert w.grad is None


def test_other_tensors_in_the_second_run_are_caught(w, x):
    used = [w, tg.tensor(w.numpy().copy(), requires_grad=True)]
    y = tg.checkpoint(lambda a: a @ used.pop(), x)
    with pytest.raises(RuntimeError, match="to use the Tensors that it used"):
        y.sum().backward()


def test_places_are_those_of_the_forward_pass(w, x):
    seen = []

    def f(a):
        y = a @ w
        seen.append(y.node.scope)
        return y

    with tg.at(layer=2, time=5):
        y = tg.checkpoint(f, x)
    y.sum().backward()
    assert seen[0] == seen[1] and seen[1].time == 5


def cell(w):
    def step(state, x):
        h, c = state
        c = ops.sigmoid(h @ w) * c + ops.tanh(x + h)
        h = ops.tanh(c)
        return (h, c), (h * 2, c)

    return step


def unrolled(step, state, xs):
    ys = []
    for t in range(len(xs)):
        state, y = step(state, xs[t])
        ys.append(y)
    return state, tuple(ops.stack(list(part)) for part in zip(*ys, strict=True))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("length", "chunk"), [(1, None), (2, None), (10, None), (9, 4), (5, 99)])
def test_a_checkpointed_sequence_is_the_sequence(w, rng, length, chunk, order):
    xs = tg.tensor(rng.standard_normal((length, 2, 3)), requires_grad=True)
    h = tg.tensor(rng.standard_normal((2, 3)), requires_grad=True)
    c = tg.tensor(rng.standard_normal((2, 3)), requires_grad=True)

    def loss(run):
        (h_n, c_n), (hs, cs) = run(cell(w), (h, c), xs)
        assert hs.shape == cs.shape == (length, 2, 3)
        return (hs * hs).sum() + cs.sum() + (h_n * c_n).sum()

    checked = lambda step, state, xs: tg.checkpoint_sequence(step, state, xs, chunk=chunk)
    results = []
    for run in (unrolled, checked):
        gs = tg.grad(loss(run), [w, h, c, xs], create_graph=order == 2)
        if order == 2:
            gs = tg.grad(sum((g * g).sum() for g in gs), [w, h, c, xs])
        results.append([g.numpy() for g in gs])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)


def test_a_sequence_may_be_a_list_and_steps_may_return_nothing(w, x):
    state, ys = tg.checkpoint_sequence(lambda s, x: (s @ w + x, None), x, [1.0, 2.0, 3.0])
    assert ys is None
    np.testing.assert_allclose(state.numpy(), ((x.numpy() @ w.numpy() + 1) @ w.numpy() + 2) @ w.numpy() + 3)


def test_memory_grows_with_the_root_of_the_length(rng):
    w = tg.tensor(0.1 * rng.standard_normal((32, 32)).astype("f"), requires_grad=True)
    h0 = tg.tensor(np.zeros((64, 32), "f"))

    def step(h, _):
        for _ in range(4):
            h = ops.tanh(h @ w)
        return h, None

    def peak(length, checked):
        gc.collect()
        tracemalloc.start()
        xs = list(range(length))
        if checked:
            h, _ = tg.checkpoint_sequence(step, h0, xs)
        else:
            h = h0
            for x in xs:
                h, _ = step(h, x)
        h.sum().backward()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(144, True) < 0.25 * peak(144, False)
    assert peak(400, True) < 2.5 * peak(100, True)


def test_the_tape_holds_one_node_per_stretch(w, x):
    state, _ = tg.checkpoint_sequence(lambda s, x: (ops.tanh(s @ w), None), x, list(range(100)))
    assert len(ancestors([state.node])) == 2 + 10 * 2
