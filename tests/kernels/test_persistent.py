"""One kernel for all steps is the definition, and runs where all its blocks are there at once."""

from __future__ import annotations

import ctypes
import itertools
import re
import shutil
import subprocess
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests import host_cuda, strict, strict_device
from tests.kernels.cases import CASES, HIDDEN, INPUT, Case, program_of
from tests.kernels.test_cuda import check_all_shapes, needs_compiler, on_gpus
from tinygrad_rnn import nn, ops
from tinygrad_rnn.kernels import persistent_emitter
from tinygrad_rnn.kernels.cuda_emitter import ATOMS
from tinygrad_rnn.kernels.persistent import Needs, plan
from tinygrad_rnn.kernels.program import NotCompilable
from tinygrad_rnn.kernels.reading import read
from tinygrad_rnn.kernels.scheduling import backward_schedule, forward_schedule


@pytest.fixture(autouse=True)
def one_kernel_for_all_steps(cooperative, monkeypatch):
    monkeypatch.setenv("TINYGRAD_RNN_PERSISTENT", "1")


def masked_step(x, h, w):
    """What is multiplied is made before the first product of a step."""
    return ops.tanh(ops.linear(x, w.W) + ops.linear(h * w.keep, w.U))


MASKED = Case(masked_step, ("h",), {"W": (HIDDEN, INPUT), "U": (HIDDEN, HIDDEN)}, {"h": HIDDEN}, ("keep",))
OURS = CASES | {"masked": MASKED}
KINDS = ("rnn", "lstm", "peephole", "coupled", "gru", "reset before", "invented", "masked")
DTYPES = [(name, "float64") for name in KINDS] + [("lstm", "float32"), ("gru", "float16")]


@on_gpus
@pytest.mark.parametrize(("name", "dtype"), DTYPES)
def test_a_kernel_for_all_steps_is_the_definition_in_values_and_all_gradients(name, dtype, device, rng):
    with strict_device.counted() as counts:
        check_all_shapes(OURS[name], dtype, rng)
    assert counts["kernel"] in (0, 30)  # on the stand-in three loops, of ten shapes and directions


@on_gpus
@pytest.mark.parametrize("shared", [64 << 10, 10 << 10], ids=lambda size: f"{size >> 10} KiB")
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_however_a_network_is_shared_out_it_is_numpys(kind, shared, device, rng, monkeypatch):
    monkeypatch.setitem(strict.attributes, "MaxSharedMemoryPerBlockOptin", shared)
    tg.set_default_device("cpu")
    ours = getattr(nn, kind)(5, 26, num_layers=2, bidirectional=True, dtype="float64")
    x, lengths = rng.standard_normal((6, 37, 5)), rng.integers(1, 7, 37)
    found = []
    for there, options in itertools.product(("cpu", "cuda"), ({}, {"lengths": lengths})):
        given = tg.tensor(x, device=there, requires_grad=True)
        with strict_device.counted() as counts:
            y, state = ours.to(there)(given, **options)
            ends = state if isinstance(state, tuple) else (state,)
            loss = (y * y).sum() + sum(e.sum() for e in ends)
            gradients = tg.grad([loss], [given, *ours.parameters()])
        assert counts["kernel"] in (0, 8)  # on the stand-in four layers and directions, there and back
        found.append([a.numpy() for a in (y, *ends, *gradients)])
    for a, b in zip(found[:2], found[2:], strict=True):
        for one, other in zip(a, b, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def launches(steps, rows=2, size=4):
    """What the stand-in is given for a network's second training step; the first one compiles."""
    with strict.installed():
        net, x = nn.LSTM(3, size, device="cuda"), tg.randn(steps, rows, 3, device="cuda")
        for _ in range(2):
            with strict_device.counted() as counts:
                net(x)[0].sum().backward()
    return counts


@needs_compiler
def test_launches_do_not_grow_with_the_steps_and_nothing_is_waited_for_or_moved():
    few, many = launches(5), launches(50)
    assert many["kernel"] == few["kernel"] and many["launch"] == few["launch"]
    assert many["sync"] == many["upload"] == many["download"] == 0


@needs_compiler
def test_small_batches_are_chosen_unless_the_user_says_otherwise(monkeypatch):
    in_one = lambda rows: launches(3, rows)["kernel"] == launches(2, rows)["kernel"]
    monkeypatch.delenv("TINYGRAD_RNN_PERSISTENT")
    assert in_one(64) and not in_one(65)
    monkeypatch.setenv("TINYGRAD_RNN_PERSISTENT", "1")
    assert in_one(65)
    monkeypatch.setenv("TINYGRAD_RNN_PERSISTENT", "0")
    assert not in_one(1)


@needs_compiler
@pytest.mark.parametrize("missing", ["CooperativeLaunch", "MaxSharedMemoryPerBlockOptin"])
def test_what_the_device_cannot_do_runs_a_kernel_a_step(missing, monkeypatch):
    monkeypatch.setitem(strict.attributes, missing, 0)
    assert launches(3)["kernel"] > launches(2)["kernel"]


@needs_compiler
def test_a_block_takes_more_shared_memory_than_it_is_given_unasked(monkeypatch):
    monkeypatch.setitem(strict.attributes, "MultiProcessorCount", 1)
    assert host_cuda.Kernel.max_dynamic_shared_size_bytes < 4 * 56 * 56 * 4
    assert launches(3, size=56)["kernel"] == launches(2, size=56)["kernel"]


@needs_compiler
def test_blocks_that_would_not_be_there_together_are_never_launched(monkeypatch):
    monkeypatch.setattr(strict.cupy.cuda.driver, "occupancyMaxActiveBlocksPerMultiprocessor", lambda *_: 0)
    assert launches(3)["kernel"] > launches(2)["kernel"]


def test_a_factor_that_keeps_its_place_from_step_to_step_is_refused():
    """Two steps share the place of b: a fast block would write where a slow one still reads."""
    step = lambda x, state, w: (ops.tanh(ops.linear(state[1], w.U) + x), state[1] * 0.5)
    program = read(step, 4, {"a": 4, "b": 4}, {"U": (4, 4)})
    persistent_emitter.emit(forward_schedule(program, True, ATOMS), "float32")
    with pytest.raises(NotCompilable, match="a factor of its own for every step, got state1"):
        persistent_emitter.emit(forward_schedule(program, False, ATOMS), "float32")


# -- what fits -----------------------------------------------------------------------------------------


@given(
    st.integers(1, 3000), st.integers(1, 4), st.integers(1, 300), st.sampled_from([48, 99, 163, 227]),
    st.integers(1, 140), st.sampled_from([2, 4, 8]),
)  # fmt: skip
def test_a_plan_has_every_feature_and_row_once_and_fits(width, gates, rows, kib, processors, itemsize):
    needs = Needs(width, gates * width * itemsize, width, gates, 4 // gates, max(itemsize, 4))
    p = plan(needs, rows, kib << 10, processors)
    if p is None:
        assert gates * width * width * itemsize > (kib << 10) * processors * 0.3
        return
    assert (p.slices - 1) * p.units < width <= p.slices * p.units
    assert (p.groups - 1) * p.tall < rows <= p.groups * p.tall
    assert p.groups * p.slices <= processors and p.shared <= kib << 10
    assert p.parts <= p.threads <= 256 and p.threads % 32 == 0 and p.tile % 4 == 0


H100, A100 = {"shared": 227 << 10, "processors": 132}, {"shared": 163 << 10, "processors": 108}


@pytest.mark.parametrize(
    ("width", "gates", "dtype", "device", "fits"),
    [
        (256, 4, "float32", H100, [True, True]),
        (1024, 4, "float32", H100, [True, True]),
        (1024, 3, "float32", A100, [True, False]),  # backward, four rows of three gates take 48 KiB
        (1024, 1, "float64", A100, [True, True]),
        (1024, 4, "float64", H100, [False, False]),  # 32 MiB
        (1536, 4, "float16", H100, [True, False]),
        (2048, 4, "float16", H100, [False, False]),
    ],
)
def test_sizes_that_fit_forward_and_backward(width, gates, dtype, device, fits):
    itemsize = np.dtype(dtype).itemsize
    forward = Needs(width, gates * width * itemsize, width, gates, 4 // gates, max(itemsize, 4))
    backward = forward._replace(depth=gates * width, sums=1, features=4)
    assert [plan(needs, 64, **device) is not None for needs in (forward, backward)] == fits


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc, which is not on PATH")
def test_the_compiler_keeps_what_brings_values_from_block_to_block(tmp_path):
    """Past the first cache, and fenced on both sides of the meeting; nothing as if it never changed."""
    program, text, made = program_of(CASES["lstm"]), tmp_path / "kernel.cu", tmp_path / "kernel.ptx"
    kept = r"ld\.global\.(?:cg|nc)|ld\.volatile|membar\.gl|atom\.global\.add"
    for schedule in (forward_schedule(program, True, ATOMS), backward_schedule(program, ATOMS)):
        text.write_text(persistent_emitter.emit(schedule, "float32").source)
        subprocess.run(["nvcc", "-arch=sm_80", "-ptx", "-o", made, text], check=True)
        found = Counter(re.findall(kept, made.read_text()))
        assert found.pop("ld.global.cg") >= 4
        assert found == {"ld.volatile": 1, "membar.gl": 2, "atom.global.add": 1}


# -- the stand-in --------------------------------------------------------------------------------------


@needs_compiler
def test_the_host_says_so_where_threads_wait_for_ever():
    source = """
extern "C" __global__ void waits(unsigned *arrived)
{
    __syncthreads();
    atomicAdd(arrived, 1u);
    while (int(*(volatile unsigned *)arrived - 7) < 0);
}
"""
    library, arrived = host_cuda.compiled(source), np.zeros(1, np.uint32)
    given = ctypes.c_void_p(arrived.ctypes.data)
    assert library.run_waits(3, 2, ctypes.c_size_t(0), given) == 6
    assert library.run_waits(1, 1, ctypes.c_size_t(0), given) == 0
