"""The loop of a layer in NumPy: views of what it takes, threads, and BLAS held to one.

`numpy_emitter` writes the loop. NumPy gives up Python's lock while it computes, and BLAS has threads of its
own; but one step of a small layer is done before either would pay. So BLAS's threads are left asleep during
the loop, and only rows that are many and wide are shared out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from math import prod
from typing import Any

import numpy as np

from tinygrad_rnn.kernels import numpy_emitter
from tinygrad_rnn.kernels.arena import room
from tinygrad_rnn.kernels.passes import Array, Length, Pass
from tinygrad_rnn.kernels.schedule import Schedule
from tinygrad_rnn.kernels.threads import one_blas_thread, shares, together

_CACHE = 1 << 18
"""Bytes that may be computed ahead of the steps that read them: they stay in the second cache."""
_WORTH = 1 << 12
"""Entries of h that are worth a thread: for less, handing on Python's lock takes as long as computing."""
_LARGE = 1 << 24
"""Multiplications of one step that threads of BLAS had better share."""


class NumpyPass(Pass):
    """The loop of `numpy_emitter`, and others for single rows, for different lengths, for nothing ahead."""

    def __init__(self, schedule: Schedule, dtype: Any) -> None:
        super().__init__(schedule, dtype, np)
        self.loops: dict[tuple[bool, ...], tuple[numpy_emitter.Loop, Callable[..., None]]] = {}
        sizes = [*map(schedule.size, schedule.factors)]
        self.work = sum(map(prod, sizes))
        """Multiplications of a step, for one row."""
        self.entries = max(map(min, sizes), default=0)
        """In a row of the widest state."""

    def __call__(self, arrays: dict[str, Array], length: Length, reverse: bool) -> None:
        """Run, some rows in each thread."""
        steps, ragged = length.longest, length.ends is not None
        written, loop = self._loop(length.rows > 1, ragged, steps > 1)
        width = sum(width for kind, width in written.buffers.values() if kind.endswith("block"))
        ahead = length.rows * width * self.dtype.itemsize
        block = min(steps, _CACHE // ahead) if ahead else steps
        if block < 2:
            written, loop = self._loop(length.rows > 1, ragged, False)
            block = steps
        way = -1 if self._backwards(reverse) else 1
        blocks = [(i, min(i + block, steps)) for i in range(0, steps, block)][::way]
        arrays |= {name: row.astype(self.dtype) for name, row in written.rows.items()}
        for factor in self.schedule.factors:
            weight = factor.weight.of(arrays)
            arrays[factor.array] = _turned(weight) if factor.transposed else weight
        for name in written.arrays:
            if name not in arrays and name not in written.buffers:
                arrays[name] = length.room(self.schedule.shapes[name], self.dtype)
        counts = length.counts()

        def given(name: str, first: int, last: int) -> Array:
            """The rows of an array, as the loop takes it."""
            kind, _ = self.schedule.shapes[name]
            if kind == "vector" and not ragged:  # laid out for every row, which is faster added
                return np.repeat(arrays[name][None], last - first, axis=0)
            return arrays[name] if kind in ("vector", "matrix") else arrays[name][..., first:last, :]

        def run(first: int, last: int) -> None:
            here = (counts - first).clip(0, last - first).tolist() if ragged else None
            own = self._buffers(written, block, last - first)
            taken = [own[n] if n in own else given(n, first, last) for n in written.arrays]
            loop(blocks, way, int(reverse), here, *taken)

        pieces = shares(length.rows, self.entries, _WORTH)
        by_blas = len(pieces) == 1 and length.rows * self.work >= _LARGE
        with nullcontext() if by_blas else one_blas_thread:
            together([partial(run, *piece) for piece in pieces])

    def _buffers(self, loop: numpy_emitter.Loop, block: int, rows: int) -> dict[str, Array]:
        """The buffers of a loop, in one piece of memory."""
        shapes = {
            name: (block, rows, width) if kind.endswith("block") else (rows, width)
            for name, (kind, width) in loop.buffers.items()
        }
        memory, end, found = room(np, (sum(map(prod, shapes.values())),), self.dtype), 0, {}
        for name, shape in shapes.items():
            start, end = end, end + prod(shape)
            entries = memory[start:end]
            if loop.buffers[name][0].startswith("truths"):
                entries = entries.view(bool)[: end - start]
            found[name] = entries.reshape(shape)
        return found

    def _loop(self, *options: bool) -> tuple[numpy_emitter.Loop, Callable[..., None]]:
        """A loop with these options, its text and itself."""
        if options not in self.loops:
            written = numpy_emitter.emit(self.schedule, *options)
            self.loops[options] = written, written.compiled(np, self.dtype)
        return self.loops[options]


def _turned(weight: Array) -> Array:
    """weightᵀ; copied where it fits into the second cache, since BLAS reads it faster at every step."""
    return weight.T.copy() if weight.nbytes <= 1 << 19 else weight.T
