"""No depth is too deep, and nothing that has been let go of stays."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.sweep import ancestors

DEEP = 100_000


@pytest.fixture
def without_collector():
    """Whatever is freed in the test is freed by reference counts alone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def chain(x, length=DEEP):
    y = x
    for _ in range(length):
        y = y + 1.0
    return y


@pytest.fixture
def shallow_stack():
    """A Python stack on which any recursion over the graph would fail at once."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(120)
    yield
    sys.setrecursionlimit(before)


def test_a_chain_of_100_000_operations_runs_forward_and_back_and_is_freed():
    x = tg.tensor(1.0, requires_grad=True)
    y = chain(x)
    assert y.item() == 1 + DEEP
    assert len(ancestors([y.node])) == DEEP + 1
    y.backward()
    assert x.grad.item() == 1.0


@pytest.mark.parametrize("stack_kilobytes", [256])
def test_a_deep_graph_is_deleted_on_a_small_stack(stack_kilobytes):
    """100,000 nodes, never swept, freed by the interpreter alone: no recursion would fit on the C stack."""
    failed = []

    def build_and_drop():
        try:
            x = tg.tensor(1.0, requires_grad=True)
            y = chain(x)
            last = weakref.ref(y.node)
            del y
            assert last() is None
        except BaseException as error:
            failed.append(error)

    before = threading.stack_size(stack_kilobytes * 1024)
    try:
        thread = threading.Thread(target=build_and_drop)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert not failed, failed


def test_nothing_in_the_sweep_recurses(shallow_stack):
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = chain(x * x, 2000).sum()
    (dx,) = tg.grad(y, [x], create_graph=True)
    (dx * dx).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [8.0, 16.0])


def test_a_deep_second_order_tape_is_freed_without_the_collector(without_collector):
    x = tg.tensor(1.5, requires_grad=True)
    y = x
    for _ in range(20_000):
        y = ops.sin(y)
    dy = tg.grad(y, x, create_graph=True)
    node = weakref.ref(dy.node)
    del y, dy
    assert node() is None


def test_a_tape_has_no_reference_cycle(without_collector):
    w = tg.tensor(np.ones((3, 3), np.float32), requires_grad=True)
    a, b = ops.split(ops.tanh(w @ w), [1])
    y = (a.sum() + ops.softmax(b).sum()) * w.sum()
    y.retain_grad()
    handle = y.register_hook(lambda g: g * 2)
    nodes = [weakref.ref(n) for n in ancestors([y.node]) if n is not w.node]
    y.backward()
    del a, b, y, handle
    assert [n() for n in nodes if n() is not None] == []


def test_training_without_the_collector_does_not_grow(without_collector):
    rng = np.random.default_rng(0)
    W = tg.tensor(rng.standard_normal((4, 4)).astype("f"), requires_grad=True)
    b = tg.tensor(np.zeros(8, "f"), requires_grad=True)
    R = tg.tensor(rng.standard_normal((8, 4)).astype("f"), requires_grad=True)
    x = tg.tensor(rng.standard_normal((2, 4)).astype("f"))

    def train(steps):
        for _ in range(steps):
            h = x
            for _ in range(3):
                i, o = ops.split(ops.linear(h, R, b), 2, axis=1)
                h = ops.sigmoid(i) * ops.tanh(o @ W)
            (h * h).mean().backward()
            with tg.no_grad():
                for w in (W, b, R):
                    w -= 0.01 * w.grad
                    w.grad = None

    train(20)
    objects = len(gc.get_objects())
    train(1000)
    assert len(gc.get_objects()) - objects < 50
    tracemalloc.start()
    train(1)
    before = tracemalloc.get_traced_memory()[0]
    train(500)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 500 * 200  # less than one node a step; the interpreter itself keeps some freed tuples


def test_backward_frees_what_the_rules_needed(without_collector):
    x = tg.tensor(np.ones(1000, "f"), requires_grad=True)
    y = ops.exp(x)
    kept = weakref.ref(y.data)
    loss = y.sum()
    del y
    assert kept() is not None
    loss.backward()
    assert kept() is None


@pytest.mark.parametrize(("op", "keeps"), [
    (lambda x: x + x, 0), (lambda x: x - 1.0, 0), (ops.tanh, 1), (ops.exp, 1), (ops.sin, 1),
    (lambda x: x.sum(), 0), (lambda x: x.reshape(-1), 0), (lambda x: x * 2.0, 0), (lambda x: x * x, 2),
])  # fmt: skip
def test_no_array_is_kept_that_no_rule_asks_for(op, keeps):
    y = op(tg.tensor([0.5, 0.25], requires_grad=True))
    assert sum(isinstance(v, np.ndarray) for v in y.node.saved) == keeps


def test_two_threads_sweep_over_shared_leaves():
    w = tg.tensor(np.ones(50, "f"), requires_grad=True)
    wrong = []

    def work(scale):
        try:
            for _ in range(100):
                y = w * scale
                for _ in range(20):
                    y = y + w
                (g,) = tg.grad(y.sum(), [w])
                assert (g.data == scale + 20).all()
                (w * scale).sum().backward()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(s,)) for s in (1.0, 2.0, 3.0, 4.0)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert (w.grad.data == 100 * 10).all()
