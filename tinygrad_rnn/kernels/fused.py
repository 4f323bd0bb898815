"""A recurrent layer as one node of the tape, that still knows its definition.

`run_layers` runs the kernel of a step over a whole sequence and records a single node: output sequence and
last states. Its plan pulls cotangents back with the generated backward loop. Whoever wants more than that (a
gradient of the gradient, a picture, a check) gets the definition: the same step, operation by operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.kernels.arena import room
from tinygrad_rnn.kernels.loops import Kernel, kernel_of
from tinygrad_rnn.kernels.passes import Length, chosen, log
from tinygrad_rnn.kernels.program import NotCompilable, Step
from tinygrad_rnn.kernels.schedule import weight_name
from tinygrad_rnn.kernels.threads import at_once, together
from tinygrad_rnn.modes import enable_grad
from tinygrad_rnn.namespaces import explaining_memory, namespace
from tinygrad_rnn.recorder import origins, several
from tinygrad_rnn.scope import at
from tinygrad_rnn.sweep import sweep
from tinygrad_rnn.tape import Node, mode
from tinygrad_rnn.tensor import Tensor

__all__ = ["Direction", "FusedPlan", "Layer", "NotCompilable", "beside", "log", "run_layers"]

_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_CUDA_DTYPES = (*_DTYPES, np.dtype(np.float16))


class Layer(NamedTuple):
    """One layer and direction: what it computes, and where it stands."""

    name: str
    step: Step
    unroll: Callable[[Any, tuple[Tensor, ...]], tuple[list[Tensor], tuple[Tensor, ...]]]
    """(x, states) → h at every time and the last states, op by op; x is whole, or a list of steps."""
    gather: Callable[[list[Tensor]], Tensor]
    """h at every time → output (T, N, H)."""
    reverse: bool = False
    number: int = 0


class Direction(NamedTuple):
    """A layer and direction, and what it is run with."""

    layer: Layer
    states: Mapping[str, Tensor]
    """The states before the first step, by name."""
    weights: Mapping[str, Tensor | None]
    """What the step finds by name; None where it is to find None."""
    constants: Mapping[str, Tensor]
    """Further row values for the step to find, the same at all steps and without gradient."""


class _Formula:
    """What is said of a fused node in the place of a primitive."""

    params: tuple[Any, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def formula(self, **_: Any) -> str:
        """The name: what it computes is its definition."""
        return f"{self.name}(x)"

    def rule_formulas(self) -> dict[str, str]:
        """None of its own."""
        return {}


class FusedPlan:
    """How one layer and direction is pulled back, and what it is by definition.

    Its inputs are x (T, N, I), the states before the first step, and the weights.
    """

    send = None
    fresh = True
    """The arrays that `pull` returns belong to nobody else."""

    def __init__(
        self, layer: Layer, kernel: Kernel, weights: Sequence[str], length: Length, order: Any
    ) -> None:
        """The plan of one run; `order` sorts the batch by length, None where all are as long."""
        self.layer, self.kernel, self.weights, self.length, self.order = layer, kernel, weights, length, order
        self.states = len(kernel.program.before)
        self.primitive = _Formula(layer.name)
        inputs = ("x", *map(str, kernel.program.before), *weights)
        self.names = [*inputs, "output", "kept"]
        self.kinds: list[int | None] = [*range(len(inputs)), None, None]

    @property
    def name(self) -> str:
        """The layer's kind: "LSTM"."""
        return self.layer.name

    def definition(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs, computed from the inputs operation by operation, each step in its place."""
        hs, ends = self.layer.unroll(inputs[0], inputs[1 : 1 + self.states])
        return (self.layer.gather(hs), *ends)

    def pull(self, g: Sequence[Any], saved: Sequence[Any], xp: Any) -> Sequence[Any]:
        """One cotangent per input, from the backward loop; recorded, from the definition."""
        *inputs, _, kept = saved
        if any(isinstance(a, Tensor) for a in inputs):
            return self._pull_recorded(g, inputs)
        count = len(inputs) - len(self.weights)
        arrays = {weight_name(n): w for n, w in zip(self.weights, inputs[count:], strict=True)}
        x = inputs[0]
        if self.order is not None:
            x, g = x[:, self.order], [d[..., self.order, :] for d in g]
        found = self.kernel.backward(
            g, x, {**arrays, **kept.constants}, kept.arrays, self.length, self.layer.reverse, kept.wanted
        )
        dx, states = found.x, found.states
        if self.order is not None:
            back = xp.argsort(self.order)
            dx, states = None if dx is None else dx[:, back], tuple(s[back] for s in states)
        return (dx, *states, *(found.weights.get(weight_name(name)) for name in self.weights))

    def _pull_recorded(self, g: Sequence[Tensor], inputs: Sequence[Tensor]) -> Sequence[Tensor | None]:
        with enable_grad():
            outs = self.definition(*inputs)
        nodes = [x.node for x in inputs]
        targets = [n for n in nodes if n is not None]
        roots: dict[Node, Any] = {}
        for out, d in zip(outs, g, strict=True):
            if out.node is not None:
                roots[out.node] = roots[out.node] + d if out.node in roots else d
        found = sweep(roots, ops, record=True, keep=True, targets=targets, stop=targets)
        return [None if n is None else found.pop(n, None) for n in nodes]


class _Kept(NamedTuple):
    """What a tape keeps for the backward loop, beyond inputs and output."""

    arrays: dict[str, Any]
    constants: dict[str, Any]
    wanted: dict[str, Any]


@explaining_memory
def run_layers(directions: Sequence[Direction], x: Tensor, lengths: Any = None) -> list[tuple[Tensor, ...]]:
    """The directions of one layer over x (T, N, I), each as one node: output (T, N, H) and the last states.

    Args:
        directions: what to run.
        x: the input; zeros in the padding.
        lengths: for each sequence its own, an integer array; None where all are as long as x.

    Raises:
        NotCompilable: before any work, where this can only be run operation by operation.
    """
    runs = [_Run(direction, x, lengths) for direction in directions]
    length = runs[0].length
    work = length.steps * sum(w.size for w in runs[0].arrays.values() if w.ndim == 2)
    if length.xp is np and chosen() == "llvm" and at_once(length.rows, work):
        together([partial(run.compute, run.hoisted()) for run in runs])
    else:
        for run in runs:
            run.compute(run.hoisted())
    return [run.recorded() for run in runs]


def beside(outputs: Sequence[Tensor]) -> Tensor:
    """The directions' outputs side by side; what is not recorded, in memory that is lent again."""
    if len(outputs) == 1:
        return outputs[0]
    if any(y.node is not None for y in outputs):
        recorded: Tensor = ops.concatenate(outputs, axis=-1)
        return recorded
    arrays = [y.data for y in outputs]
    shape = (*arrays[0].shape[:-1], sum(a.shape[-1] for a in arrays))
    xp = namespace(arrays[0])
    return Tensor(xp.concatenate(arrays, axis=-1, out=room(xp, shape, arrays[0].dtype)))


class _Run:
    """A direction that is checked and ready to run."""

    def __init__(self, direction: Direction, x: Tensor, lengths: Any) -> None:
        layer, states, weights, constants = direction
        self.layer, self.names = layer, ("x", *states)
        self.weights = {name: w for name, w in weights.items() if w is not None}
        self.inputs = (x, *states.values(), *self.weights.values())
        xp = _library((*self.inputs, *constants.values()))
        self.kernel = kernel_of(layer.step, x, states, weights, constants, xp)
        self.nodes = tuple(t.node for t in self.inputs)
        self.recording = mode.get().recording and any(n is not None for n in self.nodes)
        self.order, self.length = None, Length(x.shape[0], x.shape[1], None, xp)
        if lengths is not None:
            longest_first = np.argsort(-lengths, kind="stable")
            self.order = xp.asarray(longest_first)
            self.length = self.length._replace(ends=lengths[longest_first])
        self.fixed = {f"constant{i}": self._sorted(c) for i, c in enumerate(constants.values())}
        self.arrays = {weight_name(name): w.data for name, w in self.weights.items()}

    def _sorted(self, rows: Tensor) -> Any:
        return rows.data if self.order is None else rows.data[..., self.order, :]

    def hoisted(self) -> dict[str, Any]:
        """What comes before the loop: BLAS, whose threads two directions must not ask for at once."""
        given = self.arrays | self.fixed
        return self.kernel.hoisted(self._sorted(self.inputs[0]), given, self.length, self.recording)

    def compute(self, arrays: dict[str, Any]) -> None:
        """Run the loop."""
        states = [self._sorted(s) for s in self.inputs[1 : len(self.names)]]
        y, ends, self.kept = self.kernel.forward(
            arrays, states, self.length, self.layer.reverse, self.recording
        )
        if self.order is not None:
            back = self.length.xp.argsort(self.order)
            y, ends = y[:, back], tuple(end[back] for end in ends)
        self.outputs = (y, *ends)

    def recorded(self) -> tuple[Tensor, ...]:
        """The outputs, with a node where somebody asks for a gradient."""
        if not self.recording:
            return tuple(map(Tensor, self.outputs))
        plan: Any = FusedPlan(self.layer, self.kernel, tuple(self.weights), self.length, self.order)
        names = (*self.names, *self.arrays)
        wanted = dict.fromkeys(n for n, node in zip(names, self.nodes, strict=True) if node is not None)
        arrays = [t.data for t in self.inputs]
        saved = (*arrays, self.outputs[0], _Kept(self.kept, self.fixed, wanted))
        with at(layer=self.layer.number, direction="reverse" if self.layer.reverse else "forward"):
            return several(plan, origins(self.nodes, self.inputs), saved, self.outputs)


def _library(inputs: Sequence[Tensor]) -> Any:
    """The one library of all inputs; NotCompilable for what the kernels do not take."""
    first = inputs[0].data
    xp = namespace(first)
    recording, observer = mode.get()
    if recording and observer is not None:
        raise NotCompilable("anomaly detection looks at every operation")
    arrays = [t.data for t in inputs]
    dtypes = {a.dtype for a in arrays}
    if xp is not np or {*map(type, arrays)} != {np.ndarray}:
        devices = {t.device for t in inputs}
        if len(devices) > 1:
            raise NotCompilable(f"expected arrays on one device, got {', '.join(sorted(devices))}")
    if len(dtypes) > 1 or first.dtype not in (_DTYPES if xp is np else _CUDA_DTYPES):
        got = ", ".join(sorted(map(str, dtypes)))
        raise NotCompilable(f"expected all in float32 or all in float64, got {got}")
    if not first.size:
        raise NotCompilable(f"expected at least one step and one sequence, got {first.shape}")
    return xp
