"""What the emitters write: NumPy that reads, LLVM that is found again."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.kernels.cases import CASES, emitters, needs_llvm, program_of
from tinygrad_rnn import nn, ops
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
    lines = [line.strip() for line in written.source.splitlines()]
    names = "state0_before, state0_after, temp0_t"
    assert lines[-5:] == [
        "add(hoisted0_t_block, vector0, temp0_t_block)",
        f"for {names} in zip({names.replace(',', '_block[::way],')}_block[::way]):",
        "state0_before.dot(factor0, temp1)",
        "add(temp1, temp0_t, state0_after)",
        "tanh(state0_after, state0_after)",
    ]


def test_derivatives_of_gates_are_computed_ahead_of_the_loop():
    schedule = backward_schedule(program_of(CASES["lstm"]), numpy_emitter.ATOMS)
    ahead, loop = numpy_emitter.emit(schedule).source.split("        for ")
    assert ahead.count("subtract(") == 5 and ahead.count("multiply(") == 10
    assert loop.count("subtract(") == 0 and loop.count("multiply(") == 6 and loop.count("add(") == 2
    alone = numpy_emitter.emit(schedule, ahead=False).source.split("        for ")[1]
    assert alone.count("subtract(") == 5 and alone.count("multiply(") == 16


@emitters
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
        (lambda z: (ops.tanh(z[:, 1:3]), ops.tanh(z[:, 3:5])), 2),  # no multiples of their width
    ],
)
def test_gates_that_make_up_a_row_are_squashed_in_one_go(used, calls, rows, emitted_by, rng):
    def step(x, states, w):
        return used(1.5 * ops.linear(x, w.W))

    x, W = rng.standard_normal((rows, 5)), rng.standard_normal((6, 5))
    expected = step(x, None, SimpleNamespace(W=W))
    widths = {f"s{k}": gate.shape[1] for k, gate in enumerate(expected)}
    with emitter(emitted_by):
        kernel = Kernel(read(step, 5, widths, {"W": W.shape}), x.dtype)
        starts = [np.zeros((rows, width)) for width in widths.values()]
        _, ends = forward(kernel, x[None], starts, {"w_W": W}, Length(1, rows))
    for found, gate in zip(ends, expected, strict=True):
        np.testing.assert_allclose(found, gate.numpy(), rtol=1e-12)
    if emitted_by == "numpy":
        ((written, _),) = kernel.inference.loops.values()
        assert written.source.count(" tanh(") == calls


def test_temporaries_share_buffers():
    schedule = backward_schedule(program_of(CASES["lstm"]), numpy_emitter.ATOMS)
    assert len(numpy_emitter.emit(schedule, ahead=False).buffers) <= 4
    assert [*numpy_emitter.emit(schedule).buffers.values()].count(("rows", 4)) <= 3


def test_an_operation_without_simpler_ones_is_refused_by_name():
    program = read(lambda x, h, w: ops.erf(x + h), 3, {"h": 3}, {})
    with pytest.raises(NotCompilable, match="erf has no formula"):
        forward_schedule(program, True, numpy_emitter.ATOMS)


def applied(emitted_by, op, *args):
    """op(args), entry by entry, by a generated loop; the arguments are all (N, w)."""
    width = args[0].shape[1]

    def step(x, states, w):
        found = op(*(x[:, i * width : (i + 1) * width] for i in range(len(args))))
        return found if isinstance(found, tuple) else (found,)

    x = np.concatenate(args, axis=1)
    widths = {f"s{k}": out.shape[1] for k, out in enumerate(step(tg.tensor(x), None, None))}
    with emitter(emitted_by):
        kernel = Kernel(read(step, x.shape[1], widths, {}), x.dtype)
        starts = [np.zeros((len(x), w), x.dtype) for w in widths.values()]
        _, ends = forward(kernel, x[None], starts, {}, Length(1, len(x)))
    return ends


@emitters
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "op",
    ["add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "equal", "not_equal", "less",
     "less_equal", "greater", "greater_equal"],
)  # fmt: skip
def test_operands_stand_in_their_order(op, dtype, emitted_by, rng):
    x, y = (rng.integers(1, 5, (2, 23)).astype(dtype) / 2 for _ in range(2))
    truth = "equal" in op or op in ("less", "greater")
    used = (lambda a, b: ops.where(getattr(ops, op)(a, b), a, 7 * b)) if truth else getattr(ops, op)
    (found,) = applied(emitted_by, used, x, y)
    expected = np.where(getattr(np, op)(x, y), x, 7 * y) if truth else getattr(np, op)(x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-6 if dtype == "float32" else 1e-14)


@needs_llvm
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "op",
    ["negative", "square", "abs", "sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid",
     "erf"],
)  # fmt: skip
def test_compiled_functions_are_those_of_the_library(op, dtype, rng):
    x = rng.random((2, 23)).astype(dtype) * 3 + 0.1
    (found,) = applied("llvm", getattr(ops, op), x)
    limit = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(found, getattr(ops, op)(tg.tensor(x)).numpy(), rtol=limit)


@emitters
@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_nan_stays_nan_on_either_side(op, emitted_by):
    x, y = np.array([[1.0, np.nan, np.nan, 2.0]]), np.array([[np.nan, 1.0, np.nan, 1.0]])
    (found,) = applied(emitted_by, getattr(ops, op), x, y)
    np.testing.assert_array_equal(found, getattr(np, op)(x, y))


@needs_llvm
def test_the_rational_tanh_is_within_3e_7():
    x = np.concatenate([np.linspace(-12, 12, 100_001), [np.inf, -np.inf, np.nan]]).astype(np.float32)
    (found,) = applied("llvm", ops.tanh, x[:, None])
    difference = abs(found[:, 0] - np.tanh(x.astype(np.float64)))
    assert found.dtype == np.float32 and difference[:-1].max() < 3e-7 and np.isnan(difference[-1])


@needs_llvm
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [1, 4, 16, 23, 48])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_wide_and_narrow_vectors_cover_every_feature(kind, hidden, dtype, rng):
    net = getattr(nn, kind)(3, hidden, dtype=dtype)
    x = tg.tensor(rng.standard_normal((4, 2, 3)).astype(dtype), requires_grad=True)
    both = []
    for emitted_by in ("numpy", "llvm"):
        with emitter(emitted_by):
            y, _ = net(x)
            both.append([y, *tg.grad((y * y).sum(), [x, *net.parameters()])])
    for a, b in zip(*both, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-5 if dtype == "float32" else 1e-12)


def test_memory_is_lent_again_only_when_nobody_holds_it():
    arena = Arena()
    first = arena.take((100, 1000), np.float32)
    view, memory = first[3:], first.ctypes.data
    del first
    assert arena.take((100, 1000), np.float32).ctypes.data != memory
    del view
    assert arena.take((1000, 99), np.float32).ctypes.data == memory


@needs_llvm
def test_a_compiled_loop_serves_all_sizes_and_is_kept_on_disk(tmp_path, monkeypatch, caplog, rng):
    from tinygrad_rnn.kernels import llvm_emitter, native

    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path))
    case = CASES["rnn"]
    small = llvm_emitter.emit(forward_schedule(program_of(case), False, llvm_emitter.ATOMS), "float64")
    shapes = {"weight_ih": (9, 5), "weight_hh": (9, 9), "bias_ih": (9,), "bias_hh": (9,)}
    wide = read(case.step, 5, {"h": 9}, {"keep": None, "weight_hr": None, **shapes})
    assert (
        llvm_emitter.emit(forward_schedule(wide, False, llvm_emitter.ATOMS), "float64").source == small.source
    )
    with caplog.at_level(logging.INFO, "tinygrad_rnn"):
        for _ in range(2):
            native.loop_of.cache_clear()
            _call(native.loop_of(small.source, "float64"), small, rng)
    assert [r.message.split()[0] for r in caplog.records] == ["compiling", "kernel"]
    assert len(list(tmp_path.glob("loop_*.o"))) == 1


def _call(run, loop, rng):
    arrays = {
        "hoisted0": rng.standard_normal((2, 3, 4)), "state0": np.zeros((3, 3, 4)), "vector0": np.zeros(4),
        "factor0": np.eye(4), "between0": np.zeros((3, 4)),
    }  # fmt: skip
    numbers = np.array([2, False, 0, 3, 0, 3, *loop.sizes])
    given = np.array([arrays[name].ctypes.data for name in loop.arrays])
    run(numbers.ctypes.data, np.full(2, 3).ctypes.data, given.ctypes.data)
    first = np.tanh(arrays["hoisted0"][0])
    np.testing.assert_allclose(arrays["state0"][1], first)
    np.testing.assert_allclose(arrays["state0"][2], np.tanh(arrays["hoisted0"][1] + first))
