"""The loop of a layer on a GPU: cuBLAS products, and between two of them one generated kernel.

`cuda_emitter` writes the kernels, CuPy compiles them (and keeps them on disk) at the first call. All work
goes to CuPy's current stream, all memory comes from its pool, and nothing here waits for the device. Products
are in full float32: TF32 is used only where the environment says CUPY_TF32=1, as everywhere in CuPy.

Short kernels end sooner than Python launches the next one. Small batches whose weights fit on chip run all
steps in one kernel (`persistent`). With TINYGRAD_RNN_CUDA_GRAPHS=1 any other loop that comes again with the
same sizes is captured into a CUDA graph, which the device then runs without Python.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_rnn.kernels import cuda_emitter
from tinygrad_rnn.kernels.arena import room
from tinygrad_rnn.kernels.cuda_emitter import Entry
from tinygrad_rnn.kernels.passes import Array, Length, Pass, log
from tinygrad_rnn.kernels.persistent import Persistent, is_wanted
from tinygrad_rnn.kernels.program import NotCompilable
from tinygrad_rnn.kernels.schedule import Schedule
from tinygrad_rnn.symbols import Symbol

_THREADS = 256
"""In a block; a kernel's threads have nothing to do with each other."""
_GRAPHS = 8
"""So many sizes of one loop are kept as graphs, each with memory of its own …"""
_MEMORY = 1 << 28
"""… of at most so many bytes."""


class CudaPass(Pass):
    """The loop on CuPy arrays; `xp` is CuPy."""

    def __init__(self, schedule: Schedule, dtype: Any, xp: Any) -> None:
        super().__init__(schedule, dtype, xp)
        self.xp = xp
        self.kernels = cuda_emitter.emit(schedule, dtype)
        self.graphs: dict[Any, _Graph | None] = {}
        try:
            self.persistent: Persistent | None = Persistent(schedule, dtype, xp)
        except NotCompilable as reason:
            log.info("every step has a kernel of its own, since there is none for all: %s", reason)
            self.persistent = None

    @cached_property
    def launches(self) -> list[list[tuple[Any, Entry]]]:
        """The kernels of each stage, compiled at first need."""
        module = self.xp.RawModule(code=self.kernels.source, options=("--std=c++14",))
        found: list[list[tuple[Any, Entry]]] = [[] for _ in self.schedule.stages]
        for entry in self.kernels.entries:
            found[entry.stage].append((module.get_function(entry.name), entry))
        return found

    def dtype_of(self, array: str) -> Any:
        """float32 for what is summed up over the steps in float16."""
        return np.promote_types(self.dtype, np.float32) if cuda_emitter.is_sum(array) else self.dtype

    def __call__(self, arrays: dict[str, Array], length: Length, reverse: bool) -> None:
        """Run; products and kernels of each step in turn, on the rows that it reaches."""
        given = set(arrays)
        for factor in self.schedule.factors:
            weight = factor.weight.of(arrays)
            arrays[factor.array] = weight.T if factor.transposed else weight
        for name in self.schedule.used():
            if name not in arrays:
                arrays[name] = length.room(self.schedule.shapes[name], self.dtype)
        whole = self.persistent if is_wanted(length.rows) else None
        plan = whole and whole.plan(length.rows)
        if whole and plan:
            whole(plan, arrays, length, self._backwards(reverse), reverse)
            return
        for name, width in self.kernels.fusion.buffers.items():
            arrays[name] = room(self.xp, (length.rows, width), self.dtype)
        key = (length.steps, length.rows, reverse, self.xp.cuda.runtime.getDevice())
        used = {name: arrays[name] for name in {*self.schedule.used(), *self.kernels.fusion.buffers}}
        if not self._is_worth_a_graph(length, used):
            self.run(arrays, length, reverse)
        elif key not in self.graphs:  # the first time is not captured: kernels are compiled there
            self.graphs = dict([*self.graphs.items()][1 - _GRAPHS :]) | {key: None}
            self.run(arrays, length, reverse)
        else:
            graph = self.graphs[key] = self.graphs[key] or _Graph(self, used, length, reverse)
            graph(used, given | {factor.array for factor in self.schedule.factors})

    @staticmethod
    def _is_worth_a_graph(length: Length, used: dict[str, Array]) -> bool:
        asked = os.environ.get("TINYGRAD_RNN_CUDA_GRAPHS") == "1"
        return asked and length.ends is None and sum(a.nbytes for a in used.values()) <= _MEMORY

    def run(self, arrays: dict[str, Array], length: Length, reverse: bool) -> None:
        """The loop itself, on arrays that are all there."""
        before, backwards = int(reverse), self._backwards(reverse)
        counts = length.counts().tolist()
        for s in range(length.longest):
            t = length.longest - 1 - s if backwards else s
            times = {"t": t, "before": t + before, "after": t + 1 - before, "old": s & 1, "new": ~s & 1}
            self._step(arrays, times, counts[t])

    def _step(self, arrays: dict[str, Array], times: dict[str, int], rows: int) -> None:
        def at(array: str, time: str) -> Array:
            return arrays[array][times[time]] if time else arrays[array]

        def rows_of(value: Symbol) -> Array:
            place = self.kernels.fusion.place(value)
            assert place is not None, value
            return at(place.array, place.time)[:rows, place.start : place.stop]

        for stage, launches in zip(self.schedule.stages, self.launches, strict=True):
            for product in stage.products:
                self.xp.matmul(rows_of(product.a), arrays[product.array], out=rows_of(product.target))
            for launch, entry in launches:
                blocks = -(-rows * entry.width // _THREADS)
                given = (at(array, time) for array, time in entry.arguments)
                launch((blocks,), (_THREADS,), (np.int32(rows), np.int32(entry.width), *given))


class _Graph:
    """A loop captured on memory of its own: what it reads is copied in, what it wrote is copied out."""

    def __init__(self, loop: CudaPass, arrays: dict[str, Array], length: Length, reverse: bool) -> None:
        steps = loop.schedule.steps()
        places = (loop.schedule.place(step.target) for step in steps)
        self.written = {place.array for place in places if place is not None}
        self.own = {name: array.copy() for name, array in arrays.items()}
        stream = loop.xp.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            loop.run(self.own, length, reverse)
            self.graph = stream.end_capture()

    def __call__(self, arrays: dict[str, Array], given: set[str]) -> None:
        for name in given & self.own.keys():
            self.own[name][...] = arrays[name]
        self.graph.launch()
        for name in self.written:
            arrays[name][...] = self.own[name]
