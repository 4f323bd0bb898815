"""What many steps give to one weight is computed at once, and is the same sum."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.namespaces import namespace, to_numpy
from tinygrad_rnn.rows import ENOUGH
from tinygrad_rnn.sweep import sweep

pytestmark = pytest.mark.usefixtures("device")


@pytest.fixture
def called(monkeypatch):
    """How often the rule of linear's weight runs."""
    calls = []
    rule = ops.linear.primitive.rules["weight"]

    def counted(g, xp, x):
        calls.append(len(g))
        return rule(g, xp, x)

    monkeypatch.setitem(ops.linear.primitive.rules, "weight", counted)
    monkeypatch.setattr(ops.linear.primitive, "plans", ops.linear.primitive.plans)
    ops.linear.primitive.plans[:] = [None] * 8
    yield calls
    ops.linear.primitive.plans[:] = [None] * 8


def weights(rng):
    draw = lambda *shape: tg.tensor(rng.standard_normal(shape), requires_grad=True)
    return draw(5, 3), draw(5)


def steps(rng, count, rows=4):
    return [tg.tensor(rng.standard_normal((rows, 3))) for _ in range(count)]


def loss(xs, W, b):
    return sum(ops.sum(ops.tanh(ops.linear(x, W, b))) for x in xs)


def by_hand(xs, W, b):
    xs, W, b = [x.numpy() for x in xs], W.numpy(), b.numpy()
    slopes = [1 - np.tanh(x @ W.T + b) ** 2 for x in xs]
    return sum(s.T @ x for s, x in zip(slopes, xs, strict=True)), sum(s.sum(0) for s in slopes)


@pytest.mark.parametrize("used", [10, 7])
def test_what_two_weights_get_in_common_is_joined_once(used, rng, monkeypatch):
    """h W.T + b and h R.T send on the same g, but R need not be used at every step."""
    W, b = weights(rng)
    R = tg.tensor(rng.standard_normal((5, 3)), requires_grad=True)
    xs, hs = steps(rng, 10), steps(rng, used)
    zs = [ops.linear(x, W, b) for x in xs]
    zs = [*zs[: 10 - used], *[z + ops.linear(h, R) for z, h in zip(zs[10 - used :], hs, strict=True)]]
    total = sum(ops.sum(z * z) for z in zs)
    xp = namespace(W.data)
    joined = []
    real = xp.concatenate
    monkeypatch.setattr(xp, "concatenate", lambda arrays: joined.append(len(arrays)) or real(arrays))
    dW, db, dR = tg.grad(total, [W, b, R])
    assert sorted(joined) == ([10, 10, 10] if used == 10 else [7, 7, 10, 10])
    gs = [2 * z.numpy() for z in zs]
    expected = (
        sum(g.T @ x.numpy() for g, x in zip(gs, xs, strict=True)),
        sum(g.sum(0) for g in gs),
        sum(g.T @ h.numpy() for g, h in zip(gs[10 - used :], hs, strict=True)),
    )
    for ours, theirs in zip((dW, db, dR), expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-12)


def test_many_small_steps_are_one_product(rng, called):
    W, b = weights(rng)
    xs = steps(rng, 20)
    dW, db = tg.grad(loss(xs, W, b), [W, b])
    assert called == [80]
    for ours, theirs in zip((dW, db), by_hand(xs, W, b), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-12)


def test_no_more_rows_are_collected_than_make_a_product_large(rng, called):
    W, b = weights(rng)
    xs = steps(rng, 7, rows=ENOUGH // 2 - 1)
    loss(xs, W, b).backward()
    assert len(called) == 3 and max(called) < 2 * ENOUGH
    for w, theirs in zip((W, b), by_hand(xs, W, b), strict=True):
        np.testing.assert_allclose(w.grad.numpy(), theirs, rtol=1e-11)


def test_what_is_promised_adds_to_what_is_there_in_any_order(rng):
    W, b = weights(rng)
    one = tg.tensor(rng.standard_normal(1), requires_grad=True)
    xs = steps(rng, 6)

    def mixed(linear):
        total = (W * W).sum()
        for k, x in enumerate(xs):
            h = linear(x, W, one if k % 2 else b)
            total = total + ops.tanh(h).sum() + (W * b[0]).sum() * (k % 3)
            total = total + ops.tanh(linear(x[:, :2], W[:3, :2], one)).sum()  # shorter rows
        return tg.grad(total + (W * 0.5).sum() + one.sum(), [W, b, one])

    ours = mixed(ops.linear)
    theirs = mixed(lambda x, W, b: x @ W.T + b)
    for a, c in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), c.numpy(), rtol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (2, 4, 3), (0, 3)])
def test_inputs_that_are_no_small_matrix(rng, shape):
    W, b = weights(rng)
    x = tg.tensor(rng.standard_normal(shape))
    tg.check_grads(lambda W, b: ops.linear(x, W, b) + ops.linear(x * 2, W, b), W, b)


def test_who_looks_at_every_step_gets_every_step(rng, called, xp):
    W, b = weights(rng)
    y = loss(steps(rng, 5), W, b)
    seen = []
    sweep({y.node: xp.ones(())}, xp, keep=True, watch=lambda node, g, sent: seen.extend(
        d for parent, d in zip(node.parents, sent, strict=False) if parent is W.node
    ))  # fmt: skip
    assert called == [4] * 5
    np.testing.assert_allclose(to_numpy(sum(seen)), tg.grad(y, W).numpy(), rtol=1e-12)


def test_a_second_sweep_and_second_order_give_the_same(rng):
    W, b = weights(rng)
    y = loss(steps(rng, 5), W, b)
    once, twice = (tg.grad(y, [W, b], retain_graph=True) for _ in range(2))
    recorded = tg.grad(y, [W, b], create_graph=True)
    for a, c, d in zip(once, twice, recorded, strict=True):
        np.testing.assert_array_equal(a.numpy(), c.numpy())
        np.testing.assert_allclose(a.numpy(), d.numpy(), rtol=1e-12)


def test_a_hook_of_the_weight_sees_the_whole_sum(rng):
    W, b = weights(rng)
    xs = steps(rng, 5)
    W.register_hook(lambda g: g * 2)
    loss(xs, W, b).backward()
    np.testing.assert_allclose(W.grad.numpy(), 2 * by_hand(xs, W, b)[0], rtol=1e-12)
