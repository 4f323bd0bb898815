"""Loops in several threads give what one thread gives, to the last bit."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.kernels.cases import needs_llvm
from tinygrad_rnn.kernels import fused, loops, numpy_loops, threads
from tinygrad_rnn.kernels.passes import emitter


@pytest.fixture(autouse=True)
def _as_before():
    before = tg.get_num_threads()
    yield
    tg.set_num_threads(before)


@pytest.fixture
def always(monkeypatch):
    """Threads whatever the work."""
    monkeypatch.setattr(threads, "_WORTH", 1)


def trained(net, x, **options):
    """Output, states and all gradients, as arrays."""
    given = tg.tensor(x, requires_grad=True)
    output, state = net(given, **options)
    ends = state if isinstance(state, tuple) else (state,)
    loss = sum(((s * s).sum() for s in ends), (output * output).sum())
    return [a.numpy() for a in (output, *ends, *tg.grad(loss, [given, *net.parameters()]))]


@needs_llvm
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize(
    ("rows", "options"), [(11, {}), (11, {"lengths": [9, 3, 9, 1, 5, 2, 7, 8, 4, 9, 6]}), (1, {}), (3, {})]
)
def test_results_do_not_depend_on_the_number_of_threads(kind, rows, options, always, rng):
    net = getattr(tg.nn, kind)(6, 20, num_layers=2, bidirectional=True)
    x = rng.standard_normal((9, rows, 6)).astype("float32")
    found = []
    for number in (1, 2, 3, 8):
        tg.set_num_threads(number)
        found.append(trained(net, x, **options))
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("options", [{}, {"lengths": [9, 3, 9, 1, 5, 2, 7, 8, 4, 9, 6]}])
def test_numpys_loops_share_rows_out(kind, options, monkeypatch, rng):
    monkeypatch.setattr(numpy_loops, "_WORTH", 1)
    calls, real = [], numpy_loops.together
    monkeypatch.setattr(numpy_loops, "together", lambda several: calls.append(len(several)) or real(several))
    net = getattr(tg.nn, kind)(6, 20, bidirectional=True, dtype="float64")
    x, found = rng.standard_normal((9, 11, 6)), []
    with emitter("numpy"):
        for number in (1, 2, 3):
            tg.set_num_threads(number)
            found.append(trained(net, x, **options))
    assert calls == [1] * 4 + [2] * 4 + [3] * 4
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


class Blas:
    """A library that knows how many threads it may use."""

    def __init__(self, number):
        self.number = number

    def get_num_threads(self):
        return self.number

    def set_num_threads(self, number):
        self.number = number


def test_blas_is_held_to_one_thread_until_the_last_one_leaves(monkeypatch):
    libraries = [Blas(4), Blas(2)]
    monkeypatch.setattr(threads, "_blas", lambda: libraries)
    with threads.one_blas_thread:
        with threads.one_blas_thread:
            assert [b.number for b in libraries] == [1, 1]
        assert [b.number for b in libraries] == [1, 1]
    assert [b.number for b in libraries] == [4, 2]
    with pytest.raises(ZeroDivisionError), threads.one_blas_thread:
        1 / 0  # noqa: B018 (raises)
    assert [b.number for b in libraries] == [4, 2]


@pytest.mark.parametrize(("size", "inside", "outside"), [(20, 1, 1), (500, 1, 2), (1100, 2, 2)])
def test_blas_wakes_threads_for_large_products_only(size, inside, outside, monkeypatch, rng):
    library, seen = Blas(2), {}
    monkeypatch.setattr(threads, "_blas", lambda: [library])
    tg.set_num_threads(1)
    for where, of, name in (("inside", numpy_loops, "together"), ("outside", loops, "_summed")):
        real = getattr(of, name)
        watched = lambda *args, real=real, where=where: seen.setdefault(where, library.number) and real(*args)
        monkeypatch.setattr(of, name, watched)
    with emitter("numpy"):
        trained(tg.nn.RNN(20, size), rng.standard_normal((3, 16, 20)).astype("float32"))
    assert seen == {"inside": inside, "outside": outside}


@needs_llvm
def test_layers_that_run_in_a_users_own_threads_do_not_disturb_each_other(always, rng):
    tg.set_num_threads(2)
    net = tg.nn.LSTM(6, 20)
    inputs = [rng.standard_normal((15, 12, 6)).astype("float32") for _ in range(8)]
    expected = [trained(net, x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(expected, pool.map(lambda x: trained(net, x), inputs), strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)


@needs_llvm
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(always, rng):
    tg.set_num_threads(2)
    net, x = tg.nn.RNN(6, 20), rng.standard_normal((9, 12, 6)).astype("float32")
    trained(net, x)
    child = os.fork()
    if not child:
        trained(net, x)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_rows_are_shared_out_whole_and_only_where_it_pays():
    tg.set_num_threads(3)
    much = threads._WORTH
    assert threads.shares(32, much) == [(0, 12), (12, 22), (22, 32)]
    assert threads.shares(5, much) == [(0, 4), (4, 5)]
    assert threads.shares(4, much) == [(0, 4)]
    assert threads.shares(1, much) == [(0, 1)]
    assert threads.shares(32, much // 32) == [(0, 32)]


def test_directions_run_at_once_where_that_pays_and_takes_no_fewer_threads():
    much = threads._WORTH
    for number, rows, expected in [(1, 32, False), (2, 1, True), (2, 32, True), (3, 32, False), (3, 8, True)]:
        tg.set_num_threads(number)
        assert threads.at_once(rows, much) == expected
    assert not threads.at_once(1, much - 1)


def test_the_threads_of_two_directions_are_no_more_than_allowed():
    tg.set_num_threads(4)
    found = []
    threads.together([lambda: found.append(threads.shares(32, threads._WORTH))] * 2)
    assert found == [[(0, 16), (16, 32)]] * 2
    assert len(threads.shares(32, threads._WORTH)) == 4


@needs_llvm
@pytest.mark.parametrize(("number", "times"), [(1, 0), (2, 2)])
def test_the_second_direction_runs_in_another_thread(number, times, always, monkeypatch, rng):
    tg.set_num_threads(number)
    calls, real = [], fused.together
    monkeypatch.setattr(fused, "together", lambda several: calls.append(len(several)) or real(several))
    x = tg.tensor(rng.standard_normal((5, 9, 6)).astype("float32"))
    tg.nn.LSTM(6, 20, num_layers=2, bidirectional=True)(x)
    assert calls == [2] * times


def test_a_number_of_threads_below_one_is_refused():
    with pytest.raises(TypeError, match=r"expected a whole number of threads, got 2\.5"):
        tg.set_num_threads(2.5)
    with pytest.raises(ValueError, match="expected at least one thread, got 0"):
        tg.set_num_threads(0)
