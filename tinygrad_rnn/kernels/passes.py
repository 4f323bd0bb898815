"""A schedule with its loop: which emitter wrote it, and how it is called.

LLVM's loop where llvmlite (extra "fast") is installed and knows every operation of the cell, else NumPy's.
`with emitter("numpy")` asks for one of them.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.kernels.arena import room
from tinygrad_rnn.kernels.program import NotCompilable
from tinygrad_rnn.kernels.schedule import Product, Schedule, weight_name
from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.ops import elementwise
from tinygrad_rnn.symbols import Symbol

Array = Any
log = logging.getLogger("tinygrad_rnn")
_asked: list[str] = []
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
        made = room(self.xp, rows, dtype)
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

    def __init__(self, schedule: Schedule, dtype: Any, xp: Any) -> None:
        self.schedule, self.dtype = schedule, dtype
        self.vectors = {name: _evaluator(value, xp) for name, value in schedule.vectors.items()}
        """How the vectors that the loop reads are computed from the weights."""

    def __call__(self, arrays: dict[str, Array], length: Length, reverse: bool) -> None:
        """Run; `reverse` is the layer's direction."""
        raise NotImplementedError

    def dtype_of(self, array: str) -> Any:
        """What the entries of an array are kept as."""
        return self.dtype

    def hoist(self, arrays: dict[str, Array], length: Length) -> None:
        """Add the large products with x, each for all steps at once."""
        for product in self.large(length):
            shape = (length.steps, length.rows, self.schedule.width[product.target])
            target = room(length.xp, shape, self.dtype)
            multiply(arrays["x"], product.weight.of(arrays), product.transposed, target)
            arrays[self.schedule.places[product.target].array] = target

    def large(self, length: Length) -> list[Product]:
        """The products with x that had better run before the loop; it computes the others itself."""
        return self.schedule.hoisted

    def _backwards(self, reverse: bool) -> bool:
        """Whether the loop runs from the last step to the first."""
        return reverse != (self.schedule.name == "backward")


def make_pass(scheduled: Callable[[frozenset[str]], Schedule], dtype: Any, xp: Any = np) -> Pass:
    """The best pass there is; `scheduled(atoms)` gives the schedule in an emitter's operations."""
    if xp is not np:
        from tinygrad_rnn.kernels import cuda_emitter, cuda_loops

        return cuda_loops.CudaPass(scheduled(cuda_emitter.ATOMS), dtype, xp)
    if chosen() == "llvm":
        from tinygrad_rnn.kernels import llvm_emitter, llvm_loops

        try:
            return llvm_loops.CompiledPass(scheduled(llvm_emitter.ATOMS), dtype)
        except NotCompilable as reason:
            log.info("not compiled, runs on NumPy: %s", reason)
    from tinygrad_rnn.kernels import numpy_emitter, numpy_loops

    return numpy_loops.NumpyPass(scheduled(numpy_emitter.ATOMS), dtype)


def _evaluator(value: Any, xp: Any) -> Callable[[Mapping[str, Array]], Any]:
    """A function from arrays to a vector that is made of weights alone."""
    if not isinstance(value, Symbol):
        return lambda given: value
    if value.op == "name":
        return itemgetter(weight_name(value.args[0]))
    args = [_evaluator(a, xp) for a in value.args]
    if value.op == "part":
        part = slice(value.params["start"], value.params["stop"])
        return lambda given: args[0](given)[part]
    run = partial(getattr(elementwise, value.op).primitive.forward, xp, **value.params)
    return lambda given: run(*(a(given) for a in args))


def multiply(a: Array, weight: Array, transposed: bool, out: Array) -> None:
    """out = a @ weightᵀ (or a @ weight), all rows at once."""
    flat = a.reshape(-1, a.shape[-1])
    namespace(a).matmul(flat, weight.T if transposed else weight, out=out.reshape(-1, out.shape[-1]))


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
