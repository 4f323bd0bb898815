"""All steps of a layer in one CUDA kernel that keeps the recurrent weights on chip.

A step multiplies few rows with a weight that is the same at every step, Z_t = X_t + h_{t-1} Wᵀ. As a product
of its own, each step reads W from memory again and is launched again. Here W is read once. The blocks of one
launch stay until the last step (hence a persistent kernel) and share the work like this:

    in shared memory, for all steps   a block's slice of W: all gates of some features of h
    in shared memory, in every step   the rows of h that it multiplies with, and the partial sums
    in registers                      everything of the cell that belongs to one feature of one row
    in global memory                  the sequences: h, what the backward pass needs, gradients

The thread that has all gates of a feature runs the cell's own assignments on it, the same that `cuda_emitter`
writes for a kernel per step. A block needs all features of h to multiply with, so blocks wait for each other
once before every product (`meet`). Once a step is enough for LSTM, GRU and RNN, forward and backward: h_t
stands in another place than h_{t-1}, so nobody writes where a slower block still reads; and whatever else is
multiplied is kept twice, for even and for odd steps. Rows of a batch do not depend on each other: groups of
blocks with some rows each never wait for another group.

What one block writes and another reads goes through the second cache: `__ldcg` passes by the first, which
every processor has for itself and nobody keeps up to date, and `__threadfence` stands before and after the
meeting. Waiting needs all blocks to be there at once: the launch is cooperative, and never of more blocks
than the driver says the device can hold.

It has not been measured on a GPU yet, nor therefore up to how many rows it pays: `is_wanted` follows the
paper, and `python -m benchmarks.gpu` times both ways.

Source: G. Diamos et al., "Persistent RNNs: Stashing Recurrent Weights On-Chip", ICML 2016 (PMLR 48).
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.kernels.arena import room
from tinygrad_rnn.kernels.passes import Array, Length
from tinygrad_rnn.kernels.persistent_emitter import Needs, emit
from tinygrad_rnn.kernels.schedule import Schedule

_THREADS = 256
SMALL = 64
"""Rows up to which this is chosen by itself: the batch with which Diamos et al. compare theirs of 4."""


def is_wanted(rows: int) -> bool:
    """Whether so many rows should run here: as TINYGRAD_RNN_PERSISTENT says, 1 or 0; else if they are few."""
    asked = os.environ.get("TINYGRAD_RNN_PERSISTENT")
    return rows <= SMALL if asked is None else asked == "1"


# -- what fits -----------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """How the blocks of a launch share out features and rows."""

    groups: int
    """Of blocks, with `tall` rows each, of which `tile` are in shared memory at a time."""
    tall: int
    tile: int
    slices: int
    """The blocks of a group, with `units` features each."""
    units: int
    parts: int
    """A sum over a row is computed by so many threads."""
    threads: int
    shared: int
    """Bytes of a block's shared memory."""


def plan(needs: Needs, rows: int, shared: int, processors: int) -> Plan | None:
    """The best way to share out, one block a processor; None where the weights do not fit.

    The best is that in which a block would be done with a step first. It reads its weights once for every
    four rows (which a thread multiplies together), half a byte a tick in each thread; its rows come from the
    second cache, 32 bytes a tick; and every tile of them is waited for, a thousand ticks.

    >>> lstm = Needs(width=256, weights=4 * 256 * 4, depth=256, sums=4, features=1, real=4)
    >>> found = plan(lstm, rows=32, shared=227 << 10, processors=132)
    >>> found.groups, found.tall, found.slices, found.units
    (8, 4, 16, 16)
    >>> plan(lstm._replace(width=4096, weights=4 * 4096 * 4), 32, 227 << 10, 132)   # 256 MiB
    """
    found: list[tuple[float, Plan]] = []
    for groups in range(1, min(rows, processors) + 1):
        units = -(-needs.width // (processors // groups))
        tall = -(-rows // groups)
        fours = -(-tall // 4)
        for tile in range(4, min(fours, 8) * 4 + 1, 4):
            lanes = tile // 4 * -(-units // needs.features)
            parts = max(1, min(_THREADS // lanes, needs.depth // 16))
            while (size := needs.shared(units, tile, parts)) > shared and parts > 1:
                parts //= 2
            threads = min(_THREADS, -(-lanes * parts // 32) * 32)
            ticks = fours * units * needs.weights / (threads / 2) + tall * needs.depth * needs.real / 32
            share = -(-rows // tall), tall, tile, -(-needs.width // units), units
            if size <= shared:
                found.append((ticks + 1000 * -(-tall // tile), Plan(*share, parts, threads, size)))
    return min(found)[1] if found else None


# -- the launch ----------------------------------------------------------------------------------------


class Persistent:
    """The loop on CuPy arrays; `xp` is CuPy."""

    def __init__(self, schedule: Schedule, dtype: Any, xp: Any) -> None:
        """Raises NotCompilable."""
        self.schedule, self.dtype, self.xp = schedule, dtype, xp
        self.loop = emit(schedule, dtype)
        self.plans: dict[tuple[int, int], Plan | None] = {}

    @cached_property
    def kernel(self) -> Any:
        """Compiled at first need."""
        options = ("--std=c++14",)
        module = self.xp.RawModule(code=self.loop.source, options=options, enable_cooperative_groups=True)
        return module.get_function(self.loop.name)

    def plan(self, rows: int) -> Plan | None:
        """How the current device runs so many rows; None where it cannot."""
        key = (rows, self.xp.cuda.runtime.getDevice())
        if key not in self.plans:
            self.plans[key] = self._plan(*key)
        return self.plans[key]

    def _plan(self, rows: int, device: int) -> Plan | None:
        runtime = self.xp.cuda.runtime
        cooperative, shared, processors = (
            runtime.deviceGetAttribute(getattr(runtime, f"cudaDevAttr{name}"), device)
            for name in ("CooperativeLaunch", "MaxSharedMemoryPerBlockOptin", "MultiProcessorCount")
        )
        found = plan(self.loop.needs, rows, shared, processors) if cooperative else None
        if found is None:
            return None
        self.kernel.max_dynamic_shared_size_bytes = shared
        at_once = self.xp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(
            self.kernel.kernel.ptr, found.threads, found.shared
        )
        return found if found.groups * found.slices <= at_once * processors else None

    def __call__(
        self, found: Plan, arrays: dict[str, Array], length: Length, backwards: bool, reverse: bool
    ) -> None:
        """Run on arrays that are all there but weights and buffers."""
        xp, rows = self.xp, length.rows
        for factor in self.schedule.factors:
            arrays[factor.array] = xp.ascontiguousarray(factor.weight.of(arrays))
        for name, width in self.loop.buffers.items():
            arrays[name] = room(xp, (2, rows, width), self.dtype)
        if length.ends is None:
            counts = xp.full(length.steps, rows, dtype=np.int32)
        else:
            counts = xp.asarray(length.counts().astype(np.int32))
        arrived = xp.zeros(found.groups, dtype=np.uint32)
        numbers = (
            length.longest, rows, self.loop.needs.width, backwards, reverse,
            found.tall, found.tile, found.slices, found.units, found.parts,
        )  # fmt: skip
        given = (*map(np.int32, numbers), counts, arrived, *(arrays[name] for name in self.loop.arrays))
        self.kernel((found.groups * found.slices,), (found.threads,), given, shared_mem=found.shared)
