"""The loop of a layer on a GPU: cuBLAS products, and between two of them one generated kernel.

`cuda_emitter` writes the kernels, CuPy compiles them (and keeps them on disk) at the first call. All work
goes to CuPy's current stream, all memory comes from its pool, and nothing here waits for the device. Products
are in full float32: TF32 is used only where the environment says CUPY_TF32=1, as everywhere in CuPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn.kernels import cuda_emitter
from tinygrad_rnn.kernels.arena import room
from tinygrad_rnn.kernels.cuda_emitter import Entry
from tinygrad_rnn.kernels.passes import Array, Length, Pass
from tinygrad_rnn.kernels.schedule import Place, Schedule

_THREADS = 256
"""In a block; a kernel's threads have nothing to do with each other."""


class CudaPass(Pass):
    """The loop on CuPy arrays; `xp` is CuPy."""

    def __init__(self, schedule: Schedule, dtype: Any, xp: Any) -> None:
        super().__init__(schedule, dtype)
        self.xp = xp
        self.kernels = cuda_emitter.emit(schedule, dtype)
        module = xp.RawModule(code=self.kernels.source, options=("--std=c++14",))
        self.launches: list[list[tuple[Any, Entry]]] = [[] for _ in schedule.stages]
        for entry in self.kernels.entries:
            self.launches[entry.stage].append((module.get_function(entry.name), entry))

    def dtype_of(self, array: str) -> Any:
        """float32 for what is summed up over the steps in float16."""
        return np.promote_types(self.dtype, np.float32) if cuda_emitter.is_sum(array) else self.dtype

    def __call__(self, arrays: dict[str, Array], length: Length, reverse: bool) -> None:
        """Run; products and kernels of each step in turn, on the rows that it reaches."""
        for factor in self.schedule.factors:
            weight = factor.weight.of(arrays)
            arrays[factor.array] = weight.T if factor.transposed else weight
        for name, width in self.kernels.buffers.items():
            arrays[name] = room(self.xp, (length.rows, width), self.dtype)
        for name in self.schedule.used():
            if name not in arrays:
                arrays[name] = length.room(self.schedule.shapes[name], self.dtype)
        before, backwards = int(reverse), self._backwards(reverse)
        counts = length.counts().tolist()
        for s in range(length.longest):
            t = length.longest - 1 - s if backwards else s
            times = {"t": t, "before": t + before, "after": t + 1 - before, "old": s & 1, "new": ~s & 1}
            self._step(arrays, times, counts[t])

    def _step(self, arrays: dict[str, Array], times: dict[str, int], rows: int) -> None:
        def at(array: str, time: str) -> Array:
            return arrays[array][times[time]] if time else arrays[array]

        def rows_of(place: Place) -> Array:
            return at(place.array, place.time)[:rows, place.start : place.stop]

        for stage, launches in zip(self.schedule.stages, self.launches, strict=True):
            for product in stage.products:
                a, out = (rows_of(self._place(v)) for v in (product.a, product.target))
                self.xp.matmul(a, arrays[product.array], out=out)
            for launch, entry in launches:
                blocks = -(-rows * entry.width // _THREADS)
                given = (at(array, time) for array, time in entry.arguments)
                launch((blocks,), (_THREADS,), (np.int32(rows), np.int32(entry.width), *given))

    def _place(self, value: Any) -> Place:
        place = self.schedule.place(value)
        if place is not None:
            return place
        start, inside = (value.params["start"], value.args[0]) if value.op == "part" else (0, value)
        return self.kernels.between[inside]._replace(start=start, stop=start + self.schedule.width[value])
