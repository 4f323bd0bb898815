"""One layer and direction, run: hoisted products, the loop, and what is left until after it.

A `Kernel` is a program with its loops for one dtype. `forward` gives the output sequence, the last states and
the arrays that `backward` will need; both work on arrays and know nothing of the tape.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.kernels.arena import room
from tinygrad_rnn.kernels.passes import Length, Pass, chosen, make_pass, multiply
from tinygrad_rnn.kernels.program import NotCompilable, Program, Step, X
from tinygrad_rnn.kernels.reading import read
from tinygrad_rnn.kernels.schedule import Block, block_of, weight_name
from tinygrad_rnn.kernels.scheduling import backward_schedule, forward_schedule
from tinygrad_rnn.kernels.threads import one_blas_thread
from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.symbols import Symbol
from tinygrad_rnn.tensor import Tensor

Array = Any
_FEW = 1 << 23
"""Multiplications (a fifth of a millisecond) for which BLAS had better wake no thread."""


class Gradients(NamedTuple):
    """Cotangents of the input, of the states before the first step, and of the weights by name."""

    x: Array | None
    states: tuple[Array, ...]
    weights: dict[str, Array]


class Kernel:
    """The program of one step, and its loops."""

    def __init__(self, program: Program, dtype: Any, xp: Any = np) -> None:
        self.program, self.dtype, self.xp = program, dtype, xp

    @cached_property
    def training(self) -> Pass:
        """The forward loop that keeps what the backward loop needs."""
        return make_pass(lambda atoms: forward_schedule(self.program, True, atoms), self.dtype, self.xp)

    @cached_property
    def inference(self) -> Pass:
        """The forward loop that keeps nothing."""
        return make_pass(lambda atoms: forward_schedule(self.program, False, atoms), self.dtype, self.xp)

    @cached_property
    def pulling(self) -> Pass:
        """The backward loop."""
        return make_pass(lambda atoms: backward_schedule(self.program, atoms), self.dtype, self.xp)

    # -- forward ---------------------------------------------------------------------------------------

    def hoisted(
        self, x: Array, given: Mapping[str, Array], length: Length, training: bool
    ) -> dict[str, Array]:
        """What `forward` takes: x (T, N, I), the products with it, and `given`.

        `given` are the arrays of weights and constants, as the schedules call them.
        """
        loop = self._forward(length, training)
        arrays = {"x": self.xp.ascontiguousarray(x), **given, **self._vectors(loop, given)}
        with self._few(length):
            loop.hoist(arrays, length)
        return arrays

    def _forward(self, length: Length, training: bool) -> Pass:
        return self.training if training or length.ends is not None else self.inference

    def forward(
        self, arrays: dict[str, Array], states: Sequence[Array], length: Length, reverse: bool, training: bool
    ) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
        """Output (T, N, H), last states, and what `backward` needs (nothing without `training`)."""
        loop = self._forward(length, training)
        first, last = self._ends(length, reverse)
        ends_at = {}
        for k, state in enumerate(states):
            name = f"state{k}"
            shape = loop.schedule.shapes[name]
            made = arrays[name] = length.room(shape, self.dtype)
            made[0 if shape[0] == "pair" else first] = state
            ends_at[name] = length.steps % 2 if shape[0] == "pair" else last
        loop(arrays, length, reverse)
        ends = tuple(arrays[name][where].copy() for name, where in ends_at.items())
        y = arrays["state0"][:-1] if reverse else arrays["state0"][1:]
        if reverse and length.ends is not None:
            there = length.counts()[:, None] > np.arange(length.rows)
            y = self.xp.where(self.xp.asarray(there[:, :, None]), y, self.dtype.type(0))
        return y, ends, {name: arrays[name] for name in self._kept} if training else {}

    @staticmethod
    def _ends(length: Length, reverse: bool) -> tuple[Any, Any]:
        """Where a sequence of states begins, and where it ends."""
        xp = length.xp
        far = length.steps if length.ends is None else (xp.asarray(length.ends), xp.arange(length.rows))
        return (far, 0) if reverse else (0, far)

    @staticmethod
    def _vectors(loop: Pass, given: Mapping[str, Array]) -> dict[str, Array]:
        return {name: value(given) for name, value in loop.vectors.items()}

    @cached_property
    def _kept(self) -> set[str]:
        """What the backward loop, or the gradients of weights after it, read of the forward loop's arrays."""
        schedule = self.pulling.schedule
        factors = [schedule.place(p.args[0]) for p, _ in self.program.products if p.args[0] is not X]
        read = {place.array for place in factors if place is not None}
        return read | {name for name in schedule.used() if name.startswith(("saved", "state"))}

    # -- backward --------------------------------------------------------------------------------------

    def backward(
        self, g: Sequence[Array], x: Array, given: Mapping[str, Array], kept: Mapping[str, Array],
        length: Length, reverse: bool, wanted: Mapping[str, Any],
    ) -> Gradients:  # fmt: skip
        """Pull the cotangents of output and last states back to the first states and what is `wanted`."""
        loop = self.pulling
        whole = self.xp.ascontiguousarray
        arrays = {"x": whole(x), "dy": whole(g[0]), **kept, **given}
        arrays |= self._vectors(loop, given)
        for name, shape in loop.schedule.shapes.items():
            if name.startswith(("carry", "sum")):
                arrays[name] = length.room(shape, loop.dtype_of(name))
                arrays[name][...] = g[1 + int(name[5 : name.index("_")])] if name.endswith("_0") else 0
        loop(arrays, length, reverse)
        before = []
        for k, terms in enumerate(self.program.carries):
            total = arrays[f"carry{k}_0"].copy()
            for j in range(1, len(terms)):
                total += arrays[f"carry{k}_{j}"]
            before.append(total)
        with self._few(length):
            dx = self._input_gradient(arrays) if "x" in wanted else None
            weights = self._weight_gradients(arrays, wanted, reverse)
        return Gradients(dx, tuple(before), weights)

    @cached_property
    def _work(self) -> int:
        """Multiplications of a step, for one row."""
        width = self.program.width
        return sum(width[v.args[0]] * width[v] for v, _ in self.program.products)

    def _few(self, length: Length) -> AbstractContextManager[None]:
        """For products that are so few that they had better wake no thread of BLAS."""
        alone = self.xp is np and length.steps * length.rows * self._work < _FEW
        return one_blas_thread if alone else nullcontext()

    def _input_gradient(self, arrays: dict[str, Array]) -> Array:
        """∂x: of each product with x one product over all steps; and what came step by step."""
        x = arrays["x"]
        total = arrays["dx"] if self.program.dx is not None else None
        for value, g in self.program.products:
            if value.args[0] is X:
                part = room(self.xp, x.shape, x.dtype)
                weight = block_of(value.args[1]).of(arrays)
                multiply(self._all(g, arrays), weight, not value.params["transposed"], part)
                total = part if total is None else self.xp.add(total, part, out=total)
        return self.xp.zeros_like(x) if total is None else total

    def _weight_gradients(
        self, arrays: dict[str, Array], wanted: Mapping[str, Any], reverse: bool
    ) -> dict[str, Array]:
        """Of each weight one product, or sum, over the rows of all steps; what two share is computed once."""
        shares: dict[str, list[_Share]] = {name: [] for name in wanted if name in arrays and name != "x"}
        for value, g in self.program.products:
            block = block_of(value.args[1])
            if block.array in shares:
                a, d = self._factor(value.args[0], arrays, reverse), self._all(g, arrays)
                left, right = (d, a) if value.params["transposed"] else (a, d)
                shares[block.array].append(_Share(block, left, right))
        sums: dict[str, list[Any]] = {name: [] for name in shares}
        for leaf in self.program.sums:
            name = weight_name(leaf.weight)
            if name in shares:
                block = Block(name, (leaf.start, leaf.stop))
                shares[name].append(_Share(block, None, self._all(leaf.cotangent, arrays)))
                sums[name].append((leaf.start, leaf.stop, leaf.cotangent))
        made: dict[Any, Array] = {}
        found = {}
        for name, several in shares.items():
            key = (arrays[name].shape, *sums[name]) if sums[name] else name
            found[name] = made[key].copy() if key in made else _summed(several, arrays[name])
            made[key] = found[name]
        return found

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


class _Share(NamedTuple):
    """leftᵀ @ right over all rows, for a block of a weight; without `left`, the sum of right's rows."""

    block: Block
    left: Array | None
    right: Array


def _summed(shares: list[_Share], weight: Array) -> Array:
    """The gradient of a weight, from its shares."""
    xp = namespace(weight)
    total = room(xp, weight.shape, weight.dtype)
    whole = (
        len(shares) == 1
        and shares[0].block.rows in (None, (0, len(weight)))
        and shares[0].block.columns is None
    )
    if not whole:
        total[...] = 0
    for block, left, right in shares:
        right = right.reshape(-1, right.shape[-1])
        part = block._replace(array="").of({"": total})
        if left is None and xp is not np:
            part[...] = part + right.sum(axis=0) if not whole else right.sum(axis=0)
            continue
        left = np.ones(len(right), right.dtype) if left is None else left.reshape(-1, left.shape[-1]).T
        if whole:
            xp.matmul(left, right, out=total)
        else:
            part += left @ right
    return total


# -- finding the kernel --------------------------------------------------------------------------------

_kernels: weakref.WeakKeyDictionary[Any, dict[Any, Kernel | str]] = weakref.WeakKeyDictionary()
_reading = threading.Lock()


def kernel_of(
    step: Step, x: Tensor, states: Mapping[str, Tensor], weights: Mapping[str, Tensor | None],
    constants: Mapping[str, Tensor], xp: Any = np,
) -> Kernel:  # fmt: skip
    """The kernel of a step for arrays of these sizes, read at first need; raises NotCompilable."""
    widths = tuple([rows.data.shape[-1] for rows in (x, *states.values(), *constants.values())])
    shapes = tuple([None if w is None else w.data.shape for w in weights.values()])
    key = (xp if xp is not np else chosen(), x.data.dtype, len(states), widths, shapes)
    found = _kernels.get(step, {}).get(key)
    if found is None:
        with _reading:
            x_width, *others = widths
            before = dict(zip(states, others, strict=False))
            same = dict(zip(constants, others[len(states) :], strict=True))
            named = dict(zip(weights, shapes, strict=True))
            try:
                found = Kernel(read(step, x_width, before, named, same), x.dtype, xp)
            except NotCompilable as reason:
                found = str(reason)
            found = _kernels.setdefault(step, {}).setdefault(key, found)
    if isinstance(found, str):
        raise NotCompilable(found)
    return found
