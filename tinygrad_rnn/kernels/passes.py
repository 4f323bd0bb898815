"""A schedule with its loop: which emitter wrote it, and how it is called.

LLVM's loop where llvmlite (extra "fast") is installed and knows every operation of the cell, else NumPy's.
`with emitter("numpy")` asks for one of them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.kernels import numpy_emitter
from tinygrad_rnn.kernels.arena import room
from tinygrad_rnn.kernels.program import NotCompilable
from tinygrad_rnn.kernels.schedule import Product, Schedule
from tinygrad_rnn.kernels.threads import shares, together
from tinygrad_rnn.namespaces import namespace

Array = Any
log = logging.getLogger("tinygrad_rnn")
_asked: list[str] = []
_FEW, _SMALL, _WEIGHT = 16, 1 << 25, 1 << 16
"""A product of so many rows, with at most so many multiplications and entries of the weight, is small: BLAS
would wake threads of its own, which takes longer than what they save."""


_STEPS = {"steps": (1, 0), "states": (1, 1), "pair": (0, 2)}
"""Kind of array → its first axis: so many times the steps, and so many more."""


class Length(NamedTuple):
    """How long the sequences are: all `steps`, or each of the `rows` its own `ends`, longest first."""

    steps: int
    rows: int
    ends: Array | None = None
    xp: Any = np
    """The library of the arrays; `ends` are always the host's."""

    def room(self, shape: tuple[str, int], dtype: Any) -> Array:
        """An array for a kind and width of a schedule; where no step may write, zeros."""
        kind, width = shape
        rows: tuple[int, ...] = (self.rows, width)
        if kind in _STEPS:
            several, more = _STEPS[kind]
            rows = (several * self.steps + more, *rows)
        made = room(self.xp, rows, bool if kind == "truths" else dtype)
        if self.ends is not None and kind in ("steps", "states"):
            made[...] = 0
        return made

    @property
    def longest(self) -> int:
        """The steps that at least one sequence reaches."""
        return self.steps if self.ends is None else int(self.ends[0])

    def counts(self) -> Array:
        """How many rows take part in each step."""
        if self.ends is None:
            everywhere = np.empty(self.steps, np.int64)
            everywhere.fill(self.rows)
            return everywhere
        return (self.ends[None, :] > np.arange(self.steps)[:, None]).sum(axis=1)


class Pass:
    """One pass over a sequence: call it with the arrays that are there, it adds the others and runs."""

    def __init__(self, schedule: Schedule, dtype: Any) -> None:
        self.schedule, self.dtype = schedule, dtype

    def __call__(self, arrays: dict[str, Array], length: Length, reverse: bool) -> None:
        """Run; `reverse` is the layer's direction."""
        raise NotImplementedError

    def dtype_of(self, array: str) -> Any:
        """What the entries of an array are kept as."""
        return self.dtype

    def hoist(self, arrays: dict[str, Array], length: Length) -> None:
        """Add the products with x, each for all steps at once; small ones may be left for the call."""
        for product in self.schedule.hoisted:
            if not self._is_small(product, arrays, length):
                target = self._target(product, arrays, length)
                multiply(arrays["x"], product.weight.of(arrays), product.transposed, target)

    def _is_small(self, product: Product, arrays: dict[str, Array], length: Length) -> bool:
        return False

    def _target(self, product: Product, arrays: dict[str, Array], length: Length) -> Array:
        """Room for what a hoisted product gives."""
        name = self.schedule.places[product.target].array
        width = self.schedule.width[product.target]
        arrays[name] = room(length.xp, (length.steps, length.rows, width), self.dtype)
        return arrays[name]

    def _complete(self, arrays: dict[str, Array], loop: Any, length: Length) -> list[Array]:
        for name in loop.arrays:
            if name not in arrays:
                arrays[name] = length.room(self.schedule.shapes.get(name) or loop.buffers[name], self.dtype)
        return [arrays[name] for name in loop.arrays]

    def _backwards(self, reverse: bool) -> bool:
        """Whether the loop runs from the last step to the first."""
        return reverse != (self.schedule.name == "backward")


class NumpyPass(Pass):
    """The loop of `numpy_emitter`; another one for single rows, and for sequences of different lengths."""

    def __init__(self, schedule: Schedule, dtype: Any) -> None:
        super().__init__(schedule, dtype)
        self.loops: dict[tuple[bool, bool], tuple[numpy_emitter.Loop, Callable[..., None]]] = {}

    def __call__(self, arrays: dict[str, Array], length: Length, reverse: bool) -> None:
        """Run; vectors are laid out for every row first, since that is faster added."""
        several, ragged = length.rows > 1, length.ends is not None
        if (several, ragged) not in self.loops:
            made = numpy_emitter.emit(self.schedule, copying=several, ragged=ragged)
            self.loops[several, ragged] = made, made.compiled(np, self.dtype)
        written, run = self.loops[several, ragged]
        arrays |= {name: row.astype(self.dtype) for name, row in written.rows.items()}
        if not ragged:
            for name in (*self.schedule.vectors, *written.rows):
                arrays[name] = np.repeat(arrays[name][None], length.rows, axis=0)
        for factor in self.schedule.factors:
            weight = factor.weight.of(arrays)
            arrays[factor.array] = _turned(weight) if factor.transposed else weight
        steps = length.longest
        order = range(steps - 1, -1, -1) if self._backwards(reverse) else range(steps)
        counts = length.counts().tolist() if ragged else ()
        run(order, int(reverse), int(not reverse), counts, *self._complete(arrays, written, length))


class CompiledPass(Pass):
    """The loop of `llvm_emitter`."""

    def __init__(self, schedule: Schedule, dtype: Any) -> None:
        super().__init__(schedule, dtype)
        from tinygrad_rnn.kernels import llvm_emitter, native, products

        self.panels_shape: Callable[..., Any] = products.panels_shape
        self.pack, self.multiply = native.linked_products(dtype.name)
        self.loop = llvm_emitter.emit(schedule, dtype)
        self.run = native.loop_of(self.loop.source, dtype.name)

    def __call__(self, arrays: dict[str, Array], length: Length, reverse: bool) -> None:
        """Run; without holding Python's lock, some rows in each thread."""
        small = [p for p in self.schedule.hoisted if self._is_small(p, arrays, length)]
        ours = [self._ours(product, arrays, length) for product in small]
        for factor in self.schedule.factors:
            arrays[factor.array] = self._packed(factor, arrays)
        work = length.steps * sum(p.weight.of(arrays).size for p in (*self.schedule.factors, *small))
        given = [a if a.flags.c_contiguous else a.copy() for a in self._complete(arrays, self.loop, length)]
        counts, taken = length.counts(), array("q", map(_address, given))

        def run(first: int, last: int) -> None:
            for product in ours:
                product(first, last)
            numbers = [length.longest, self._backwards(reverse), reverse, length.rows, first, last]
            told = array("q", numbers + self.loop.sizes)
            self.run(told.buffer_info()[0], _address(counts), taken.buffer_info()[0])

        together([partial(run, *piece) for piece in shares(length.rows, work)])

    def _is_small(self, product: Product, arrays: dict[str, Array], length: Length) -> bool:
        rows, size = length.steps * length.rows, product.weight.of(arrays).size
        return rows >= _FEW and rows * size <= _SMALL and size <= _WEIGHT

    def _ours(self, product: Product, arrays: dict[str, Array], length: Length) -> Callable[[int, int], None]:
        """A hoisted product by `products`, to be called for some of the rows."""
        x, panels, out = arrays["x"], self._packed(product, arrays), self._target(product, arrays, length)
        rows, depth, width = length.rows, x.shape[-1], out.shape[-1]

        def run(first: int, last: int) -> None:
            self.multiply(
                depth, width, length.steps, last - first, _address(x), first * depth, rows * depth, depth,
                _address(panels), _address(out), first * width, rows * width, width,
            )  # fmt: skip

        return run

    def _packed(self, product: Product, arrays: dict[str, Array]) -> Array:
        """The weight of a product, as `multiply` reads it."""
        weight = product.weight.of(arrays)
        weight = weight.T if product.transposed else weight
        panels = room(np, self.panels_shape(*weight.shape, self.dtype), self.dtype)
        down, across = (stride // weight.itemsize for stride in weight.strides)
        self.pack(*weight.shape, _address(weight), down, across, _address(panels))
        return panels


def make_pass(scheduled: Callable[[frozenset[str]], Schedule], dtype: Any, xp: Any = np) -> Pass:
    """The best pass there is; `scheduled(atoms)` gives the schedule in an emitter's operations."""
    if xp is not np:
        from tinygrad_rnn.kernels import cuda_emitter, cuda_loops

        return cuda_loops.CudaPass(scheduled(cuda_emitter.ATOMS), dtype, xp)
    if chosen() == "llvm":
        from tinygrad_rnn.kernels import llvm_emitter

        try:
            return CompiledPass(scheduled(llvm_emitter.ATOMS), dtype)
        except NotCompilable as reason:
            log.info("not compiled, runs on NumPy: %s", reason)
    return NumpyPass(scheduled(numpy_emitter.ATOMS), dtype)


def multiply(a: Array, weight: Array, transposed: bool, out: Array) -> None:
    """out = a @ weightᵀ (or a @ weight), all rows at once."""
    flat = a.reshape(-1, a.shape[-1])
    namespace(a).matmul(flat, weight.T if transposed else weight, out=out.reshape(-1, out.shape[-1]))


_HEAD = object.__basicsize__


def _address(a: Array) -> int:
    """`a.ctypes.data`, ten times faster: the word after a Python object's head."""
    return ctypes.c_ssize_t.from_address(id(a) + _HEAD).value


def _turned(weight: Array) -> Array:
    """weightᵀ; copied where it fits into the second cache, since BLAS reads it faster at every step."""
    return weight.T.copy() if weight.nbytes <= 1 << 19 else weight.T


def chosen() -> str:
    """The emitter in use: "llvm" where it is installed, unless `emitter` says otherwise."""
    return _asked[-1] if _asked else _best()


@lru_cache(maxsize=1)
def _best() -> str:
    return "llvm" if importlib.util.find_spec("llvmlite") else "numpy"


@contextmanager
def emitter(name: str) -> Iterator[None]:
    """Use the loops of that emitter, "llvm" or "numpy", inside the `with` block."""
    if name not in ("llvm", "numpy"):
        raise ValueError(f"expected emitter 'llvm' or 'numpy', got {name!r}")
    if name == "llvm" and _best() != "llvm":
        raise ImportError(
            "emitter 'llvm' needs llvmlite, which is not installed: pip install 'tinygrad-rnn[fast]'"
        )
    _asked.append(name)
    try:
        yield
    finally:
        _asked.pop()
