"""Modes of a thread: recording or not, and anomalies looked for."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops

pytestmark = pytest.mark.usefixtures("device")


@pytest.fixture
def x():
    return tg.tensor([1.0, 2.0, 3.0], requires_grad=True)


# -- modes ---------------------------------------------------------------------------------------------


def test_modes_nest_and_are_undone_by_an_error(x):
    with tg.no_grad():
        assert not tg.is_grad_enabled() and not (x * 2).requires_grad
        with tg.enable_grad():
            assert (x * 2).requires_grad
        with pytest.raises(KeyError), tg.enable_grad():
            raise KeyError
        assert not tg.is_grad_enabled()
    assert tg.is_grad_enabled()


@pytest.mark.parametrize("decorator", [tg.no_grad, tg.no_grad()])
def test_modes_decorate_with_and_without_parentheses(decorator, x):
    @decorator
    def double(t):
        """Twice t."""
        return t * 2

    assert not double(x).requires_grad and double.__doc__ == "Twice t."
    assert (x * 2).requires_grad


def test_one_decorated_function_in_two_threads():
    inside, leave = threading.Barrier(2, timeout=10), threading.Barrier(2, timeout=10)
    after = []

    @tg.no_grad
    def wait():
        inside.wait()
        leave.wait()

    def run():
        wait()
        after.append(tg.is_grad_enabled())

    def run_in_no_grad():
        with tg.no_grad():
            wait()
            after.append(not tg.is_grad_enabled())

    threads = [threading.Thread(target=run), threading.Thread(target=run_in_no_grad)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert after == [True, True]


def test_modes_are_per_thread(x):
    found = []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: found.append(tg.is_grad_enabled()))
        thread.start()
        thread.join()
    assert found == [True]


def test_a_gradient_is_recorded_under_no_grad_if_asked_for(x):
    y = (x * x).sum()
    with tg.no_grad():
        g = tg.grad(y, x, create_graph=True)
    assert g.requires_grad


# -- anomalies -----------------------------------------------------------------------------------------


@pytest.fixture
def quiet():
    with np.errstate(all="ignore"), warnings.catch_warnings():
        yield


def test_an_anomaly_names_operation_place_and_line(quiet, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    x = tg.tensor([-1.0], requires_grad=True)
    with (
        pytest.raises(tg.AnomalyError) as caught,
        tg.detect_anomaly(),
        tg.at(time=4, layer=0, direction="forward"),
    ):
        ops.sqrt(x)
    line = caught.traceback[0].lineno + 1
    assert (
        f"NaN first appeared in the forward of sqrt (layer 0, forward, t=4), recorded at {__file__}:{line}"
        in str(caught.value)
    )


def test_a_source_line_below_the_working_directory_is_named_from_there(quiet, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match=r"recorded at test_modes\.py:\d+$"):
        ops.log(tg.tensor([-1.0], requires_grad=True))


def test_an_anomaly_in_the_backward_names_the_forward_line(quiet):
    x = tg.tensor([0.0], requires_grad=True)
    with tg.detect_anomaly():
        y = ops.sqrt(x)
        with pytest.raises(
            tg.AnomalyError, match=r"Inf .* backward of sqrt \(top level\), recorded at .*test_modes"
        ):
            y.sum().backward()


def test_an_anomaly_in_what_is_not_recorded_is_found_where_it_arose(quiet):
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match=r"NaN .* log"):
        ops.log(tg.tensor([-1.0])) * tg.tensor([1.0], requires_grad=True)


def test_anomaly_detection_respects_and_outlives_no_grad(quiet):
    x = tg.tensor([-1.0], requires_grad=True)
    with tg.no_grad(), tg.detect_anomaly():
        assert not (x * 2).requires_grad
        with tg.enable_grad(), pytest.raises(tg.AnomalyError):
            ops.log(x)
    with tg.detect_anomaly():
        (x * 2).sum().backward()
    assert not ops.log(x).isfinite().all()


def test_two_outputs_are_watched(quiet):
    x = tg.tensor([1.0, np.inf], requires_grad=True)
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match=r"Inf .* split"):
        ops.split(x, 2)
