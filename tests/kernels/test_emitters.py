"""What the emitters write: NumPy that reads, Numba that is found again, CUDA that compiles and computes."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.kernels.cases import CASES, program_of
from tinygrad_rnn import ops
from tinygrad_rnn.kernels import cuda_emitter, numpy_emitter
from tinygrad_rnn.kernels.arena import Arena
from tinygrad_rnn.kernels.program import NotCompilable
from tinygrad_rnn.kernels.reading import read
from tinygrad_rnn.kernels.schedule import Place
from tinygrad_rnn.kernels.scheduling import backward_schedule, forward_schedule


def test_the_numpy_loop_of_a_simple_network_is_what_one_would_write():
    written = numpy_emitter.emit(forward_schedule(program_of(CASES["rnn"]), True, numpy_emitter.ATOMS))
    assert written.source.splitlines()[-4:] == [
        "        matmul(state0_before0, factor0, temp0)",
        "        add(hoisted0_t2, temp0, state0_after1)",
        "        add(state0_after1, vector0, state0_after1)",
        "        tanh(state0_after1, state0_after1)",
    ]


def test_temporaries_share_buffers():
    written = numpy_emitter.emit(backward_schedule(program_of(CASES["lstm"]), numpy_emitter.ATOMS))
    assert len(written.buffers) <= 4


def test_an_operation_without_simpler_ones_is_refused_by_name():
    program = read(lambda x, h, w: ops.erf(x + h), 3, {"h": 3}, {})
    with pytest.raises(NotCompilable, match="erf has no formula"):
        forward_schedule(program, True, numpy_emitter.ATOMS)


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
            _call(native.loop_of(small.source), small, rng)
    assert [r.message.split()[0] for r in caplog.records] == ["compiling", "kernel"]
    assert len(list(tmp_path.glob("*.o"))) == 1


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs Numba, which is not installed")
def test_the_next_process_finds_the_kernel_without_numba():
    run = "tinygrad_rnn as tg; tg.nn.RNN(3, 4)(tg.zeros(5, 2, 3))[0].sum().backward()"
    exec(f"import {run}", {})
    asked = "'llvmlite' in sys.modules, 'numba' in sys.modules"
    command = [sys.executable, "-c", f"import sys, {run}; print({asked})"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "False"]


def _call(run, loop, rng):
    from tinygrad_rnn.kernels import blas

    arrays = {
        "hoisted0": rng.standard_normal((2, 3, 4)), "state0": np.zeros((3, 3, 4)), "vector0": np.zeros(4),
        "factor0": np.eye(4), "temp0": np.zeros((3, 4)),
    }  # fmt: skip
    numbers = np.array([2, False, 0, *blas.find("d"), 2, 3, 4, 4, False, *loop.sizes])
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
    exec(numba_emitter._PRELUDE.format(dtype="float32", tanh=numba_emitter._TANH["float32"]), names)
    x = np.concatenate([np.linspace(-12, 12, 100_001), [np.inf, -np.inf]]).astype(np.float32)
    compiled = names["tanh"]
    tanh = numba.vectorize(lambda v: compiled(v))
    found = tanh(x)
    assert abs(found - np.tanh(x.astype(np.float64))).max() < 3e-7
    assert found.dtype == np.float32 and np.isnan(tanh(np.float32(np.nan)))


# -- CUDA ----------------------------------------------------------------------------------------------


def cuda_schedules(name):
    program = program_of(CASES[name])
    yield forward_schedule(program, True, cuda_emitter.ATOMS)
    yield forward_schedule(program, False, cuda_emitter.ATOMS)
    yield backward_schedule(program, cuda_emitter.ATOMS)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc, which is not on PATH")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_the_cuda_source_compiles(arch, tmp_path):
    for name in ("lstm", "gru", "peephole", "invented"):
        for dtype in ("float32", "float64"):
            source = "".join(
                f"namespace s{i} {{\n{cuda_emitter.emit(s, dtype).source}}}\n"
                for i, s in enumerate(cuda_schedules(name))
            )
            (tmp_path / "kernel.cu").write_text(source.replace('extern "C" ', ""), encoding="utf-8")
            command = [
                "nvcc",
                f"-arch={arch}",
                "-cubin",
                "-o",
                str(tmp_path / "kernel.cubin"),
                str(tmp_path / "kernel.cu"),
            ]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, which is not on PATH")
@pytest.mark.parametrize("name", CASES)
def test_the_cuda_source_computes_what_the_numpy_loop_computes(name, tmp_path, rng):
    for number, schedule in enumerate(cuda_schedules(name)):
        kernels = cuda_emitter.emit(schedule, "float64")
        host = _on_the_host(kernels.source, tmp_path / f"kernel{number}.so")
        shapes = {"steps": (3, 2), "states": (4, 2), "pair": (2, 2), "rows": (2,), "vector": (), "matrix": ()}
        arrays = {
            array: rng.uniform(0.1, 0.9, (*shapes[kind], width) if kind != "matrix" else (1,))
            for array, (kind, width) in schedule.shapes.items()
        }
        arrays |= {array: np.zeros((2, width)) for array, width in kernels.buffers.items()}
        writer = cuda_emitter._Writer(schedule)
        expected = {array: value.copy() for array, value in arrays.items()}
        for stage_number, stage in enumerate(schedule.stages):
            for product in stage.products:
                made = rng.uniform(0.1, 0.9, (2, schedule.width[product.target]))
                place = schedule.place(product.target) or writer.between[product.target]
                for where in (arrays, expected):
                    _at(where, place)[...] = made
            _by_numpy(schedule, stage.assignments, expected, writer.between)
            for entry in (e for e in kernels.entries if e.stage == stage_number):
                given = [arrays[a][_step(time)] if time else arrays[a] for a, time in entry.arguments]
                getattr(host, "run_" + entry.name)(
                    2, entry.width, *(g.ctypes.data_as(ctypes.c_void_p) for g in given)
                )
        for array in schedule.shapes:
            np.testing.assert_allclose(
                arrays[array], expected[array], rtol=1e-12, err_msg=f"{schedule.name} {array}"
            )


def _step(time):
    return {"t": 1, "before": 1, "after": 2, "old": 0, "new": 1}[time]


def _at(arrays, place: Place):
    array = arrays[place.array]
    return (array[_step(place.time)] if place.time else array)[..., place.start : place.stop]


def _by_numpy(schedule, assignments, arrays, between):
    """What the assignments of a stage mean."""
    values: dict = {}

    def value(a):
        if a in values:
            return values[a]
        if hasattr(a, "op") and a.op == "part" and schedule.place(a) is None:
            return value(a.args[0])[..., a.params["start"] : a.params["stop"]]
        place = schedule.place(a) or between.get(a)
        return a if place is None else _at(arrays, place)

    meanings = {"copy": lambda a: a, "sigmoid": lambda a: 1 / (1 + np.exp(-a)), "erf": None}
    for target, op, args in assignments:
        made = meanings.get(op) or getattr(np, op)
        found = np.array(made(*map(value, args)), dtype=float)
        place = schedule.place(target) or between.get(target)
        if place is not None:
            _at(arrays, place)[...] = found
        if not isinstance(target, Place):
            values[target] = np.broadcast_to(found, (2, schedule.width[target])).copy()


def _on_the_host(source, path):
    """The kernels as C++: a loop over the threads takes the place of the device."""
    calls = []
    for line in source.splitlines():
        if "__global__" in line:
            name, _, arguments = line.partition("void ")[2].rstrip(")").partition("(")
            names = ", ".join(a.split()[-1].lstrip("*") for a in arguments.split(", "))
            calls.append(
                f'extern "C" void run_{name}({arguments}) '
                f"{{ for (blockIdx.x = 0; blockIdx.x < rows * width; blockIdx.x++) {name}({names}); }}"
            )
    head = "#include <cmath>\nusing namespace std;\n#define __global__\n#define __device__\n"
    head += "struct { int x; } blockIdx, blockDim = {1}, threadIdx = {0};\n"
    file = path.with_suffix(".cpp")
    file.write_text(head + source + "\n".join(calls), encoding="utf-8")
    command = ["g++", "-O1", "-shared", "-fPIC", "-o", str(path), str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ctypes.CDLL(str(path))
