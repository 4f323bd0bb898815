"""The loop of a layer on the CPU, compiled: weights in panels, small products, rows shared among threads.

`llvm_emitter` writes the loop, `native` compiles it. What nobody but the loop sees lies in one piece of
memory, which is planned once for a number of steps and rows.
"""

from __future__ import annotations

import ctypes
from array import array
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.kernels import llvm_emitter, native
from tinygrad_rnn.kernels.arena import room
from tinygrad_rnn.kernels.passes import Array, Length, Pass
from tinygrad_rnn.kernels.products import LINE, panels_shape
from tinygrad_rnn.kernels.schedule import Product, Schedule
from tinygrad_rnn.kernels.threads import shares, together

_FEW, _SMALL, _WEIGHT = 16, 1 << 25, 1 << 16
"""A product of so many rows, with at most so many multiplications and entries of the weight, is small: BLAS
would wake threads of its own, which takes longer than what they save."""


class _Plan(NamedTuple):
    """What a number of steps and rows asks for; where something begins is counted in bytes."""

    memory: int
    """Bytes for what nobody but the loop sees."""
    packed: list[tuple[Product, int]]
    """Products, and where the panels of their weights begin."""
    small: list[tuple[int, int, int, int]]
    """Hoisted products for the loop's own threads: depth, width, where the panels begin, and the result."""
    large: list[Product]
    """Hoisted products for BLAS."""
    arrays: list[int | str]
    """Of each array that the loop takes, where it begins; or its name, if others see it."""
    work: int
    """Multiplications for one row."""


class CompiledPass(Pass):
    """The loop of `llvm_emitter`."""

    def __init__(self, schedule: Schedule, dtype: Any) -> None:
        super().__init__(schedule, dtype, np)
        self.pack, self.multiply = native.linked_products(dtype.name)
        self.loop = llvm_emitter.emit(schedule, dtype)
        self.run = native.loop_of(self.loop.source, dtype.name)
        self.plan = lru_cache(maxsize=16)(self._planned)

    def __call__(self, arrays: dict[str, Array], length: Length, reverse: bool) -> None:
        """Run; without holding Python's lock, some rows in each thread."""
        steps, rows = length.steps, length.rows
        plan = self.plan(steps, rows)
        memory = room(np, (plan.memory,), np.uint8)
        start = -(-_address(memory) // LINE) * LINE
        for product, at in plan.packed:
            weight = product.weight.of(arrays)
            weight = weight.T if product.transposed else weight
            down, across = weight.strides
            size = weight.itemsize
            self.pack(*weight.shape, _address(weight), down // size, across // size, start + at)
        given = [at if isinstance(at, int) else self._given(at, arrays, length) for at in plan.arrays]
        taken = array("q", [start + at if isinstance(at, int) else _address(at) for at in given])
        x, counts = arrays["x"], length.counts()

        def run(first: int, last: int) -> None:
            for depth, width, panels, out in plan.small:
                self.multiply(
                    depth, width, steps, last - first, _address(x), first * depth, rows * depth, depth,
                    start + panels, start + out, first * width, rows * width, width,
                )  # fmt: skip
            numbers = [length.longest, self._backwards(reverse), reverse, rows, first, last]
            told = array("q", numbers + self.loop.sizes)
            self.run(told.buffer_info()[0], _address(counts), taken.buffer_info()[0])

        together([partial(run, *piece) for piece in shares(rows, plan.work)])

    def large(self, length: Length) -> list[Product]:
        """The hoisted products that are not left for the loop's own threads."""
        return self.plan(length.steps, length.rows).large

    def _given(self, name: str, arrays: dict[str, Array], length: Length) -> Array:
        """An array that others see, too; made here where it is not there yet."""
        found = arrays.get(name)
        if found is None:
            found = arrays[name] = length.room(self.schedule.shapes[name], self.dtype)
        return found if found.flags.c_contiguous else found.copy()

    def _planned(self, steps: int, rows: int) -> _Plan:
        schedule, many, memory = self.schedule, steps * rows, 0
        inside: dict[str, int] = {}

        def take(*shape: int) -> int:
            nonlocal memory
            start = memory
            memory += -(-prod(shape) * self.dtype.itemsize // LINE) * LINE
            return start

        packed, small, large = [], [], []
        for factor in schedule.factors:
            inside[factor.array] = take(*panels_shape(*schedule.size(factor), self.dtype))
            packed.append((factor, inside[factor.array]))
        for product in schedule.hoisted:
            depth, width = schedule.size(product)
            if many < _FEW or many * depth * width > _SMALL or depth * width > _WEIGHT:
                large.append(product)
                continue
            panels = take(*panels_shape(depth, width, self.dtype))
            out = inside[schedule.places[product.target].array] = take(many, width)
            packed.append((product, panels))
            small.append((depth, width, panels, out))
        for name, (_, width) in self.loop.buffers.items():
            inside[name] = take(rows, width)
        arrays = [inside.get(name, name) for name in self.loop.arrays]
        work = steps * sum(prod(schedule.size(product)) for product, _ in packed)
        return _Plan(memory + LINE, packed, small, large, arrays, work)


_HEAD = object.__basicsize__


def _address(a: Array) -> int:
    """`a.ctypes.data`, ten times faster: the word after a Python object's head."""
    return ctypes.c_ssize_t.from_address(id(a) + _HEAD).value
