"""The stand-in for CuPy is as CuPy, and as unforgiving; and a training step asks nothing of it that waits."""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import strict, strict_device
from tinygrad_rnn import nn, ops, optim


@pytest.fixture
def cupy():
    with strict.installed() as module:
        yield module


def test_what_would_wait_unasked_or_mix_is_refused(cupy):
    a = cupy.ones(2)
    for wrong in (np.asarray, bool, float, int, lambda a: a + np.ones(2), lambda a: np.ones(2) + a,
                  lambda a: cupy.add(a, np.ones(2)), lambda a: "yes" if a[0] > 0 else "no",
                  lambda a: a.max(initial=0)):  # fmt: skip
        with pytest.raises(TypeError):
            wrong(a)
    with cupy.cuda.Device(1), pytest.raises(ValueError, match="array on 0, current is 1"):
        a + a
    with pytest.raises(AttributeError):
        cupy.frompyfunc(abs, 1, 1)


def test_what_was_asked_for_is_counted(cupy):
    a = cupy.asarray(np.arange(4))
    for call, found in {
        lambda: a.get(): {"sync": 1, "download": 1},
        lambda: a[0].item(): {"sync": 1, "download": 1},
        lambda: a[a > 2]: {"sync": 1},
        lambda: cupy.asarray([1.0]): {"upload": 1},
        lambda: a[[1, 2]]: {"upload": 1},
        lambda: a + a: {},
    }.items():
        with strict_device.counted() as counts:
            call()
        assert {k: n for k, n in counts.items() if k != "launch"} == found


def test_a_view_knows_its_owner_and_sees_its_writes(cupy):
    a = cupy.zeros((2, 3))
    view = a.T[1:]
    a[...] = 5
    assert view.base is a and view.tolist() == [[5.0, 5.0]] * 2
    assert (a + 1).base is None


def test_streams_that_do_not_wait_for_each_other_are_refused(cupy):
    here, there = cupy.cuda.get_current_stream(), cupy.cuda.Stream(non_blocking=True)
    refused = pytest.raises(RuntimeError, match="expected to wait for an event")
    with there:
        a = cupy.ones(2)
    with refused:
        a + a
    here.wait_event(there.record())
    a + a
    del a  # `there` may hand its memory out again while `here` still reads it
    with there, refused:
        cupy.ones(2)
    there.wait_event(here.record())
    with there:
        cupy.ones(2)


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="needs CuPy, which is not installed")
def test_the_stand_in_has_only_what_cupy_has():
    real = importlib.import_module("cupy")
    ours, theirs = strict.cupy.cuda, real.cuda
    for here, there in (
        (strict.cupy, real), (ours, theirs), (ours.driver, theirs.driver), (ours.runtime, theirs.runtime),
    ):  # fmt: skip
        names = [n for n in dir(here) if not n.startswith("__")]
        assert [n for n in names if not hasattr(there, n)] == []
    own = {"host", "made", "readers", "__del__", "__weakref__", "__array_ufunc__", "__index__"}
    assert {*dir(strict.ndarray)} - {*dir(object)} - {*dir(real.ndarray)} <= own


def training(device):
    """A step of a stacked LSTM with clipping and Adam; gives the loss."""
    net = nn.LSTM(3, 5, num_layers=2, bidirectional=True, dropout=0.5, device=device)
    head = nn.Linear(10, 4, device=device)
    parameters = [*net.parameters(), *head.parameters()]
    optimizer = optim.Adam(parameters)
    x, target = tg.randn(6, 2, 3, device=device), tg.randint(0, 4, (6, 2), device=device)

    def step():
        optimizer.zero_grad()
        output, _ = net(x)
        loss = nn.functional.cross_entropy(ops.reshape(head(output), (12, 4)), ops.reshape(target, (12,)))
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss

    return step


def test_a_training_step_neither_waits_nor_moves_data_unless_asked_to(cupy):
    step = training("cuda")
    for _ in range(2):
        step()
    with strict_device.counted() as counts:
        loss = step()
    assert {counts[k] for k in ("sync", "upload", "download")} == {0}
    with strict_device.counted() as counts:
        loss.item()
    assert (counts["sync"], counts["download"], counts["upload"]) == (1, 1, 0)
