"""What the emitters write: NumPy that reads, Numba that is found again."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.kernels.cases import CASES, program_of
from tinygrad_rnn import ops
from tinygrad_rnn.kernels import numpy_emitter
from tinygrad_rnn.kernels.arena import Arena
from tinygrad_rnn.kernels.loops import Kernel
from tinygrad_rnn.kernels.passes import Length, emitter
from tinygrad_rnn.kernels.program import NotCompilable
from tinygrad_rnn.kernels.reading import read
from tinygrad_rnn.kernels.scheduling import backward_schedule, forward_schedule


def forward(kernel, x, states, given, length):
    """Output and last states, without a tape."""
    y, ends, _ = kernel.forward(kernel.hoisted(x, given, length, False), states, length, False, False)
    return y, ends


def test_the_numpy_loop_of_a_simple_network_is_what_one_would_write():
    written = numpy_emitter.emit(forward_schedule(program_of(CASES["rnn"]), True, numpy_emitter.ATOMS))
    assert written.source.splitlines()[-4:] == [
        "        dot(state0_before0, factor0, temp0)",
        "        add(hoisted0_t2, temp0, state0_after1)",
        "        add(state0_after1, vector0, state0_after1)",
        "        tanh(state0_after1, state0_after1)",
    ]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    ("used", "calls"),
    [
        (lambda z: (ops.sigmoid(z[:, :2]), ops.tanh(z[:, 2:5]), ops.sigmoid(z[:, 5:])), 1),
        (lambda z: (ops.tanh(z[..., -2:]), ops.sigmoid(z[:, :4])), 1),
        (lambda z: (ops.sigmoid(z[:, :2]), ops.tanh(z[:, 2:]) + z[:, 2:]), 2),  # one part is read again
        (lambda z: (ops.sigmoid(z[:, :3]), ops.tanh(z[:, 4:])), 2),  # nobody reads the fourth
        (lambda z: (ops.sigmoid(z[:, :3]), ops.tanh(z[:, :3])), 2),
        (lambda z: (ops.tanh(z[:, :3]), ops.tanh(z[:, 3:])), 2),
    ],
)
def test_gates_that_make_up_a_row_are_squashed_in_one_go(used, calls, rows, rng):
    def step(x, states, w):
        return used(1.5 * ops.linear(x, w.W))

    x, W = rng.standard_normal((rows, 5)), rng.standard_normal((6, 5))
    expected = step(x, None, SimpleNamespace(W=W))
    widths = {f"s{k}": gate.shape[1] for k, gate in enumerate(expected)}
    with emitter("numpy"):
        kernel = Kernel(read(step, 5, widths, {"W": W.shape}), x.dtype)
        starts = [np.zeros((rows, width)) for width in widths.values()]
        _, ends = forward(kernel, x[None], starts, {"w_W": W}, Length(1, rows))
    for found, gate in zip(ends, expected, strict=True):
        np.testing.assert_allclose(found, gate.numpy(), rtol=1e-12)
    ((written, _),) = kernel.inference.loops.values()
    assert written.source.count(" tanh(") == calls


def test_temporaries_share_buffers():
    written = numpy_emitter.emit(backward_schedule(program_of(CASES["lstm"]), numpy_emitter.ATOMS))
    assert len(written.buffers) <= 4


def test_an_operation_without_simpler_ones_is_refused_by_name():
    program = read(lambda x, h, w: ops.erf(x + h), 3, {"h": 3}, {})
    with pytest.raises(NotCompilable, match="erf has no formula"):
        forward_schedule(program, True, numpy_emitter.ATOMS)


EMITTERS = ["numpy", *["numba"] * (importlib.util.find_spec("numba") is not None)]


@pytest.mark.parametrize("emitted_by", EMITTERS)
@pytest.mark.parametrize("op", ["subtract", "divide", "power", "less"])
def test_operands_stand_in_their_order(op, emitted_by, rng):
    def step(x, h, w):
        return getattr(ops, op)(x, h) if op != "less" else ops.where(ops.less(x, h), x, h * h)

    x, h = rng.random((1, 2, 3)) + 0.5, rng.random((2, 3)) + 0.5
    with emitter(emitted_by):
        kernel = Kernel(read(step, 3, {"h": 3}, {}), x.dtype)
        y, _ = forward(kernel, x, [h], {}, Length(1, 2))
    expected = getattr(np, op)(x[0], h) if op != "less" else np.where(x[0] < h, x[0], h * h)
    np.testing.assert_allclose(y[0], expected)


def test_memory_is_lent_again_only_when_nobody_holds_it():
    arena = Arena()
    first = arena.take((100, 1000), np.float32)
    view, memory = first[3:], first.ctypes.data
    del first
    assert arena.take((100, 1000), np.float32).ctypes.data != memory
    del view
    assert arena.take((1000, 99), np.float32).ctypes.data == memory


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs Numba, which is not installed")
def test_a_compiled_loop_serves_all_sizes_and_is_kept_on_disk(tmp_path, monkeypatch, caplog, rng):
    from tinygrad_rnn.kernels import native, numba_emitter

    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path))
    case = CASES["rnn"]
    small = numba_emitter.emit(forward_schedule(program_of(case), False, numba_emitter.ATOMS), "float64")
    shapes = {"weight_ih": (9, 5), "weight_hh": (9, 9), "bias_ih": (9,), "bias_hh": (9,)}
    wide = read(case.step, 5, {"h": 9}, {"keep": None, "weight_hr": None, **shapes})
    assert (
        numba_emitter.emit(forward_schedule(wide, False, numba_emitter.ATOMS), "float64").source
        == small.source
    )
    with caplog.at_level(logging.INFO, "tinygrad_rnn"):
        for _ in range(2):
            native.loop_of.cache_clear()
            _call(native.loop_of(small.source, "float64"), small, rng)
    assert [r.message.split()[0] for r in caplog.records] == ["compiling", "kernel"]
    assert len(list(tmp_path.glob("loop_*.o"))) == 1


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs Numba, which is not installed")
def test_the_next_process_finds_the_kernel_without_numba():
    run = "tinygrad_rnn as tg; tg.nn.RNN(3, 4)(tg.zeros(5, 2, 3))[0].sum().backward()"
    exec(f"import {run}", {})
    asked = "'llvmlite' in sys.modules, 'numba' in sys.modules"
    command = [sys.executable, "-c", f"import sys, {run}; print({asked})"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "False"]


def _call(run, loop, rng):
    arrays = {
        "hoisted0": rng.standard_normal((2, 3, 4)), "state0": np.zeros((3, 3, 4)), "vector0": np.zeros(4),
        "factor0": np.eye(4), "temp0": np.zeros((3, 4)),
    }  # fmt: skip
    numbers = np.array([2, False, 0, 3, 0, 3, *loop.sizes])
    given = np.array([arrays[name].ctypes.data for name in loop.arrays])
    run(numbers.ctypes.data, np.full(2, 3).ctypes.data, given.ctypes.data)
    first = np.tanh(arrays["hoisted0"][0])
    np.testing.assert_allclose(arrays["state0"][1], first)
    np.testing.assert_allclose(arrays["state0"][2], np.tanh(arrays["hoisted0"][1] + first))


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs Numba, which is not installed")
def test_the_rational_tanh_is_within_3e_7():
    import numba

    from tinygrad_rnn.kernels import numba_emitter

    names: dict = {}
    tanh = numba_emitter._TANH["float32"]
    exec(numba_emitter._PRELUDE.format(dtype="float32", tanh=tanh, multiply="multiply_float32"), names)
    x = np.concatenate([np.linspace(-12, 12, 100_001), [np.inf, -np.inf]]).astype(np.float32)
    compiled = names["tanh"]
    tanh = numba.vectorize(lambda v: compiled(v))
    found = tanh(x)
    assert abs(found - np.tanh(x.astype(np.float64))).max() < 3e-7
    assert found.dtype == np.float32 and np.isnan(tanh(np.float32(np.nan)))
