"""A recurrent layer as one node of the tape, that still knows its definition.

`run_layer` runs the kernel of a step over a whole sequence and records a single node: output sequence and
last states. Its plan pulls cotangents back with the generated backward loop. Whoever wants more than that (a
gradient of the gradient, a picture, a check) gets the definition: the same step, operation by operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.kernels.loops import Kernel, kernel_of
from tinygrad_rnn.kernels.passes import Length, log
from tinygrad_rnn.kernels.program import NotCompilable, Step
from tinygrad_rnn.kernels.schedule import weight_name
from tinygrad_rnn.modes import enable_grad
from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.recorder import origins, several
from tinygrad_rnn.scope import at
from tinygrad_rnn.sweep import sweep
from tinygrad_rnn.tape import Node, mode
from tinygrad_rnn.tensor import Tensor

__all__ = ["FusedPlan", "Layer", "NotCompilable", "log", "run_layer"]

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


def run_layer(
    layer: Layer, x: Tensor, states: Mapping[str, Tensor], weights: Mapping[str, Tensor | None], *,
    lengths: Any = None, constants: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """One layer and direction over x (T, N, I), as one node: output (T, N, H) and the last states.

    Args:
        layer: the step, and its definition.
        x: the input; zeros in the padding.
        states: the states before the first step, by name.
        weights: what the step finds by name; None where it is to find None.
        lengths: for each sequence its own, an integer array; None where all are as long as x.
        constants: further row values for the step to find, the same at all steps and without gradient.

    Raises:
        NotCompilable: before any work, where this can only be run operation by operation.
    """
    given = {name: w for name, w in weights.items() if w is not None}
    inputs = (x, *states.values(), *given.values())
    rows = {} if constants is None else dict(constants)
    xp = _library((*inputs, *rows.values()))
    kernel = kernel_of(
        layer.step, x.dtype, x.shape[-1], {n: s.shape[-1] for n, s in states.items()},
        {n: None if w is None else w.shape for n, w in weights.items()},
        {n: c.shape[-1] for n, c in rows.items()}, xp,
    )  # fmt: skip
    nodes = tuple(t.node for t in inputs)
    recording = mode.get().recording and any(n is not None for n in nodes)
    order, length = None, Length(x.shape[0], x.shape[1], None, xp)
    if lengths is not None:
        longest_first = np.argsort(-lengths, kind="stable")
        order, length = xp.asarray(longest_first), length._replace(ends=lengths[longest_first])

    def sort(a: Any) -> Any:
        return a if order is None else a[..., order, :]

    fixed = {f"constant{i}": sort(c.data) for i, c in enumerate(rows.values())}
    arrays = {weight_name(name): w.data for name, w in given.items()} | fixed
    starts = [sort(s.data) for s in states.values()]
    y, ends, kept = kernel.forward(sort(x.data), starts, arrays, length, layer.reverse, recording)
    if order is not None:
        back = xp.argsort(order)
        y, ends = y[:, back], tuple(end[back] for end in ends)
    if not recording:
        return tuple(Tensor(a) for a in (y, *ends))
    plan: Any = FusedPlan(layer, kernel, tuple(given), length, order)
    asked = (
        n for n, node in zip(("x", *states, *map(weight_name, given)), nodes, strict=True) if node is not None
    )
    saved = (*(t.data for t in inputs), y, _Kept(kept, fixed, dict.fromkeys(asked)))
    with at(layer=layer.number, direction="reverse" if layer.reverse else "forward"):
        return several(plan, origins(nodes, inputs), saved, (y, *ends))


def _library(inputs: Sequence[Tensor]) -> Any:
    """The one library of all inputs; NotCompilable for what the kernels do not take."""
    first = inputs[0].data
    xp = namespace(first)
    recording, observer = mode.get()
    if recording and observer is not None:
        raise NotCompilable("anomaly detection looks at every operation")
    for t in inputs:
        if t.device != inputs[0].device:
            raise NotCompilable(f"expected arrays on one device, got {inputs[0].device}, {t.device}")
        if t.data.dtype != first.dtype or t.data.dtype not in (_DTYPES if xp is np else _CUDA_DTYPES):
            raise NotCompilable(f"expected all in float32 or all in float64, got {first.dtype}, {t.dtype}")
    if not first.size:
        raise NotCompilable(f"expected at least one step and one sequence, got {first.shape}")
    return xp
