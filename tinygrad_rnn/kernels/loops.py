"""One layer and direction, run: hoisted products, the loop, and what is left until after it.

A `Kernel` is a program with its loops for one dtype. `forward` gives the output sequence, the last states and
the arrays that `backward` will need; both work on arrays and know nothing of the tape.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.kernels import numpy_emitter
from tinygrad_rnn.kernels.arena import arena
from tinygrad_rnn.kernels.numpy_emitter import Loop
from tinygrad_rnn.kernels.program import NotCompilable, Program, Step, X, read
from tinygrad_rnn.kernels.schedule import Place, Schedule, backward_schedule, forward_schedule
from tinygrad_rnn.ops import elementwise
from tinygrad_rnn.symbols import Symbol

Array = Any


class Gradients(NamedTuple):
    """Cotangents of the input, of the states before the first step, and of the weights by name."""

    x: Array | None
    states: tuple[Array, ...]
    weights: dict[str, Array]


class _Pass:
    """A schedule with its loop, for one dtype; with a loop of its own for single rows."""

    def __init__(self, schedule: Schedule, dtype: Any) -> None:
        self.schedule, self.dtype = schedule, dtype
        self.loops: dict[bool, Loop] = {}
        self.runs: dict[bool, Any] = {}

    def __call__(self, given: dict[str, Array], steps: int, rows: int, reverse: bool) -> None:
        """Run the loop on the arrays given, and on fresh ones for all others (added to `given`)."""
        several = rows > 1
        if several not in self.loops:
            self.loops[several] = numpy_emitter.emit(self.schedule, copying=several)
            self.runs[several] = self.loops[several].compiled(np, self.dtype)
        loop = self.loops[several]
        for name in loop.arrays:
            if name not in given:
                given[name] = room(self.schedule.shapes.get(name) or loop.buffers[name], steps, rows, self.dtype)
        order = range(steps - 1, -1, -1) if reverse != (self.schedule.name == "backward") else range(steps)
        self.runs[several](order, int(reverse), int(not reverse), *(given[name] for name in loop.arrays))


def room(shape: tuple[str, int], steps: int, rows: int, dtype: Any) -> Array:
    """An array for a kind and width of a schedule."""
    kind, width = shape
    lengths = {"steps": (steps, rows), "states": (steps + 1, rows), "pair": (2, rows), "rows": (rows,), "truths": (rows,)}
    return arena.take((*lengths[kind], width), bool if kind == "truths" else dtype)


class Kernel:
    """The program of one step, and its loops."""

    def __init__(self, program: Program, dtype: Any) -> None:
        self.program, self.dtype = program, dtype

    @cached_property
    def training(self) -> _Pass:
        """The forward loop that keeps what the backward loop needs."""
        return _Pass(forward_schedule(self.program, True, numpy_emitter.ATOMS), self.dtype)

    @cached_property
    def inference(self) -> _Pass:
        """The forward loop that keeps nothing."""
        return _Pass(forward_schedule(self.program, False, numpy_emitter.ATOMS), self.dtype)

    @cached_property
    def pulling(self) -> _Pass:
        """The backward loop."""
        return _Pass(backward_schedule(self.program, numpy_emitter.ATOMS), self.dtype)

    # -- forward ---------------------------------------------------------------------------------------

    def forward(
        self, x: Array, states: Sequence[Array], weights: Mapping[str, Array], reverse: bool, training: bool
    ) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
        """Output (T, N, H), last states, and what `backward` needs (nothing without `training`)."""
        steps, rows, _ = x.shape
        x = np.ascontiguousarray(x)
        loop = self.training if training else self.inference
        arrays = {"x": x, **{f"w_{name}": w for name, w in weights.items()}}
        for name, value in loop.schedule.vectors.items():
            arrays[name] = np.tile(_evaluate(value, weights), (rows, 1))
        for product in loop.schedule.hoisted:
            target = loop.schedule.places[product.target].array
            arrays[target] = room(loop.schedule.shapes[target], steps, rows, x.dtype)
            _multiply(x, _rows(product.weight._replace(array=product.weight.array[2:]), weights), product.transposed, arrays[target])
        turned = {}
        for k, state in enumerate(states):
            name = f"state{k}"
            shape = loop.schedule.shapes[name]
            arrays[name] = room(shape, steps, rows, x.dtype)
            first, last = (0, steps % 2) if shape[0] == "pair" else (steps, 0) if reverse else (0, steps)
            arrays[name][first] = state
            turned[k] = last
        loop(arrays, steps, rows, reverse)
        sequence = arrays["state0"]
        ends = tuple(arrays[f"state{k}"][last].copy() for k, last in turned.items())
        kept = {n: arrays[n] for n in self.pulling.schedule.used() if n.startswith(("saved", "state"))} if training else {}
        if training:
            kept |= {n: arrays[n] for n in self._factors}
        return sequence[:-1] if reverse else sequence[1:], ends, kept

    @cached_property
    def _factors(self) -> list[str]:
        """The saved arrays that the gradients of weights read after the loop."""
        places = [self.pulling.schedule.place(p.args[0]) for p, _ in self.program.products if p.args[0] is not X]
        return [place.array for place in places if place is not None]

    # -- backward --------------------------------------------------------------------------------------

    def backward(
        self, g: Sequence[Array], x: Array, weights: Mapping[str, Array], kept: Mapping[str, Array], reverse: bool,
        wants_x: bool, wanted: frozenset[str],
    ) -> Gradients:  # fmt: skip
        """Pull the cotangents of output and last states back to the input, the first states and the weights."""
        steps, rows, _ = x.shape
        dtype = x.dtype
        loop = self.pulling
        arrays = {"x": np.ascontiguousarray(x), "dy": np.ascontiguousarray(g[0], dtype=dtype), **kept}
        arrays |= {f"w_{name}": w for name, w in weights.items()}
        for name, value in loop.schedule.vectors.items():
            arrays[name] = np.tile(_evaluate(value, weights), (rows, 1))
        for name, shape in loop.schedule.shapes.items():
            if name.startswith(("carry", "sum")):
                arrays[name] = room(shape, steps, rows, dtype)
                arrays[name][...] = g[1 + int(name[5 : name.index("_")])] if name.endswith("_0") else 0
        loop(arrays, steps, rows, reverse)
        before = []
        for k, terms in enumerate(self.program.carries):
            total = arrays[f"carry{k}_0"].copy()
            for j in range(1, len(terms)):
                total += arrays[f"carry{k}_{j}"]
            before.append(total if terms else np.zeros_like(total))
        return Gradients(
            self._input_gradient(arrays, weights) if wants_x else None,
            tuple(before),
            self._weight_gradients(arrays, weights, wanted, reverse),
        )

    def _input_gradient(self, arrays: dict[str, Array], weights: Mapping[str, Array]) -> Array:
        """∂x: of each product with x one product over all steps; and what came step by step."""
        x = arrays["x"]
        total = arrays["dx"] if self.program.dx else None
        for value, g in self.program.products:
            if value.args[0] is X:
                part = arena.take(x.shape, x.dtype)
                rows = _weight_place(value.args[1])
                _multiply(self._all(g, arrays), _rows(rows, weights), not value.params["transposed"], part)
                total = part if total is None else np.add(total, part, out=total)
        return np.zeros_like(x) if total is None else total

    def _weight_gradients(
        self, arrays: dict[str, Array], weights: Mapping[str, Array], wanted: frozenset[str], reverse: bool
    ) -> dict[str, Array]:
        """Of each weight one product, or sum, over the rows of all steps."""
        shares: dict[str, list[tuple[Place, Array, Array]]] = {name: [] for name in wanted}
        for value, g in self.program.products:
            place = _weight_place(value.args[1])
            if place.array in shares:
                a, d = self._factor(value.args[0], arrays, reverse), self._all(g, arrays)
                shares[place.array].append((place, *((d, a) if value.params["transposed"] else (a, d))))
        for leaf in self.program.sums:
            if leaf.weight in wanted:
                d = self._all(leaf.cotangent, arrays)
                shares[leaf.weight].append((Place(leaf.weight, "", leaf.start, leaf.stop), np.ones(d.shape[:-1], d.dtype), d))
        return {name: _summed(found, weights[name]) for name, found in shares.items()}

    def _all(self, g: Symbol, arrays: Mapping[str, Array]) -> Array:
        """A cotangent for all steps (or, where it was summed on the way, that sum)."""
        place = self.pulling.schedule.gradients[g]
        return arrays[place.array][..., place.start : place.stop]

    def _factor(self, a: Symbol, arrays: Mapping[str, Array], reverse: bool) -> Array:
        """What a weight was multiplied with, for all steps."""
        place = self.pulling.schedule.place(a)
        assert place is not None
        whole = arrays[place.array][..., place.start : place.stop]
        if place.time == "t":
            return whole
        return whole[1:] if (place.time == "before") == reverse else whole[:-1]


def _multiply(a: Array, weight: Array, transposed: bool, out: Array) -> None:
    """out = a @ weightᵀ (or a @ weight), all rows at once."""
    flat = a.reshape(-1, a.shape[-1])
    np.matmul(flat, weight.T if transposed else weight, out=out.reshape(-1, out.shape[-1]))


def _weight_place(weight: Symbol) -> Place:
    if weight.op == "rows":
        return Place(weight.args[0].args[0], "", weight.params["start"], weight.params["stop"])
    return Place(weight.args[0])


def _summed(shares: list[tuple[Place, Array, Array]], weight: Array) -> Array:
    """Σ leftᵀ @ right over all rows, each share in its place in a gradient shaped like the weight."""
    total = arena.take(weight.shape, weight.dtype)
    alone = len(shares) == 1 and total[shares[0][0].start : shares[0][0].stop].shape == weight.shape
    if not alone:
        total[...] = 0
    for place, left, right in shares:
        left, right = (a.reshape(-1, a.shape[-1]) if a is right or a.ndim == right.ndim else a.reshape(-1) for a in (left, right))
        if alone:
            np.matmul(left.T, right, out=total)
        else:
            total[place.start : place.stop] += left.T @ right
    return total


def _rows(place: Place, weights: Mapping[str, Array]) -> Array:
    return weights[place.array][place.start : place.stop]


def _evaluate(value: Any, weights: Mapping[str, Array]) -> Array:
    """A vector that is made of weights alone."""
    if not isinstance(value, Symbol):
        return value
    if value.op == "name":
        return weights[value.args[0]]
    args = [_evaluate(a, weights) for a in value.args]
    if value.op == "part":
        return args[0][value.params["start"] : value.params["stop"]]
    return getattr(elementwise, value.op).primitive.forward(np, *args, **value.params)


# -- finding the kernel --------------------------------------------------------------------------------

_kernels: weakref.WeakKeyDictionary[Any, dict[Any, Kernel | str]] = weakref.WeakKeyDictionary()
_reading = threading.Lock()


def kernel_of(
    step: Step, dtype: Any, x_width: int, states: Mapping[str, int], weights: Mapping[str, tuple[int, ...] | None]
) -> Kernel:
    """The kernel of a step for these sizes, read at first need; raises NotCompilable."""
    key = (dtype, x_width, tuple(states.items()), tuple(weights.items()))
    with _reading:
        known = _kernels.setdefault(step, {})
        if key not in known:
            try:
                known[key] = Kernel(read(step, x_width, states, weights), dtype)
            except NotCompilable as reason:
                known[key] = str(reason)
        found = known[key]
    if isinstance(found, str):
        raise NotCompilable(found)
    return found
