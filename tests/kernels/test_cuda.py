"""CUDA kernels are the definition, run by CuPy's loop on a GPU or in its place; compilers take their text."""

from __future__ import annotations

import ctypes
import importlib.metadata
import shutil
import subprocess

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import host_cuda, strict, strict_device
from tests.kernels.cases import CASES, Run, program_of
from tests.kernels.test_fused import SHAPES, worst
from tinygrad_rnn import nn
from tinygrad_rnn.kernels import cuda_emitter, persistent_emitter
from tinygrad_rnn.kernels.cuda_emitter import ATOMS
from tinygrad_rnn.kernels.fused import Direction, run_layers
from tinygrad_rnn.kernels.scheduling import backward_schedule, forward_schedule

needs_compiler = pytest.mark.skipif(host_cuda.COMPILER is None, reason="needs g++, which is not on PATH")
GPUS = [pytest.param("strict", marks=needs_compiler), pytest.param("cuda", marks=pytest.mark.gpu)]
on_gpus = pytest.mark.parametrize("device", GPUS, indirect=True)
LIMITS = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-2}


@pytest.fixture(autouse=True)
def a_kernel_for_every_step(monkeypatch):
    monkeypatch.setenv("TINYGRAD_RNN_PERSISTENT", "0")


@on_gpus
@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_is_its_definition_in_values_and_all_gradients(name, dtype, device, rng):
    check_all_shapes(CASES[name], dtype, rng)


def check_all_shapes(case, dtype, rng):
    """Both directions, ragged or not: kernel = definition."""
    for reverse in (False, True):
        for shape, options in SHAPES.items():
            run = Run(case, rng, dtype, reverse, **options)
            outs, expected = run.fused(), run.defined()
            assert outs[0].node.parents[0].plan.name == "Cell"
            assert worst(outs, expected) < LIMITS[dtype], shape
            with tg.no_grad():
                assert worst(run.fused(), expected) < LIMITS[dtype], shape
            cotangents = [tg.tensor(rng.standard_normal(o.shape).astype(dtype)) for o in outs]
            found = tg.grad(outs, run.inputs, cotangents)
            assert worst(found, tg.grad(expected, run.inputs, cotangents)) < LIMITS[dtype], shape


@on_gpus
def test_half_precision_sums_over_the_steps_in_single(device, rng):
    """4000 times 1: a sum in float16 stays at 2048."""
    layer = Run(CASES["rnn"], rng, "float16").layer._replace(step=lambda x, h, w: x * w.p + h * 0.0)
    p, x, h = (tg.ones(*shape, dtype="float16") for shape in ((3,), (4000, 1, 3), (1, 3)))
    ((y, _),) = run_layers([Direction(layer, {"h": h}, {"p": p.requires_grad_()}, {})], x)
    (g,) = tg.grad([y], [p], [tg.ones_like(y)])
    assert g.dtype == "float16" and g.tolist() == [4000.0] * 3


@needs_compiler
def test_a_step_is_one_product_and_one_kernel_each_way():
    with strict.installed():
        net, launches = nn.LSTM(3, 4, device="cuda"), []
        for steps in (5, 6):
            x = tg.randn(steps, 2, 3, device="cuda")
            for _ in range(2):  # the first one compiles
                with strict_device.counted() as counts:
                    net(x)[0].sum().backward()
            launches.append(counts["kernel"])
            assert counts["sync"] == counts["upload"] == counts["download"] == 0
    assert launches[1] - launches[0] == 2  # one forward, one backward


@on_gpus
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "projection"])
def test_a_captured_loop_is_the_loop(name, device, rng, monkeypatch):
    runs = [Run(CASES[name], rng, "float32", reverse) for reverse in (False, True) for _ in range(3)]
    draw = lambda like: tg.tensor(rng.standard_normal(like.shape).astype("float32"))
    cotangents = [[draw(o) for o in run.defined()] for run in runs]

    def results():
        for run, g in zip(runs, cotangents, strict=True):
            outs = run.fused()
            yield [*outs, *tg.grad(outs, run.inputs, g)]

    expected = list(results())
    monkeypatch.setenv("TINYGRAD_RNN_CUDA_GRAPHS", "1")
    with strict_device.counted() as counts:
        found = list(results())
    for a, b in zip(found, expected, strict=True):
        assert worst(a, b) == 0
    if type(runs[0].x.data) is strict.ndarray:
        assert counts["graph"] == 8  # two of three, forward and backward, both ways


# -- compilers -----------------------------------------------------------------------------------------


def sources(name, dtype):
    program = program_of(CASES[name])
    for schedule in (
        forward_schedule(program, True, ATOMS), forward_schedule(program, False, ATOMS),
        backward_schedule(program, ATOMS),
    ):  # fmt: skip
        yield cuda_emitter.emit(schedule, dtype).source
        if name in ("lstm", "gru", "invented"):
            yield persistent_emitter.emit(schedule, dtype).source


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc, which is not on PATH")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_nvcc_takes_every_kernel(arch, tmp_path):
    everything = ["#include <cuda_fp16.h>"]
    for name in CASES:
        for dtype in LIMITS:
            for source in sources(name, dtype):
                body = source.replace('extern "C" ', "").replace("#include <cuda_fp16.h>", "")
                everything.append(f"namespace s{len(everything)} {{\n{body}}}\n")
    file = tmp_path / "kernel.cu"
    file.write_text("\n".join(everything), encoding="utf-8")
    command = ["nvcc", f"-arch={arch}", "-cubin", "-o", str(tmp_path / "kernel.cubin"), str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def nvrtc():
    """NVIDIA's run-time compiler, which CuPy uses too; None where it is not installed."""
    for package in ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc"):
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name.startswith(("libnvrtc.so", "nvrtc64")) and "builtins" not in file.name:
                return ctypes.CDLL(str(file.locate()))
    return None


@pytest.mark.slow
@pytest.mark.skipif(nvrtc() is None, reason="needs NVRTC, which is not installed (nvidia-cuda-nvrtc)")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])  # float16 asks for a header that CuPy brings
def test_nvrtc_takes_every_kernel(dtype, arch):
    library = nvrtc()
    for name in CASES:
        for source in sources(name, dtype):
            program = ctypes.c_void_p()
            text = ctypes.c_char_p(source.encode())
            assert library.nvrtcCreateProgram(ctypes.byref(program), text, b"kernel.cu", 0, None, None) == 0
            options = (ctypes.c_char_p * 2)(f"-arch={arch}".encode(), b"--std=c++14")
            code, log = library.nvrtcCompileProgram(program, 2, options), ctypes.create_string_buffer(10_000)
            library.nvrtcGetProgramLog(program, log)
            assert code == 0, log.value.decode()
            assert np.uint8(library.nvrtcDestroyProgram(ctypes.byref(program))) == 0
