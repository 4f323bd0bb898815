"""A recurrent layer as one node of the tape, that still knows its definition.

`run_layer` runs the kernel of a step over a whole sequence and records a single Bundle: output sequence and
last states. Its plan pulls cotangents back with the generated backward loop. Whoever wants more than that (a
gradient of the gradient, a picture, a check) gets the definition: the same step, operation by operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.autodiff import enable_grad, no_grad, sweep
from tinygrad_rnn.kernels.loops import Kernel, kernel_of
from tinygrad_rnn.kernels.program import NotCompilable, Step
from tinygrad_rnn.primitive import origins
from tinygrad_rnn.scope import at
from tinygrad_rnn.tensor import Bundle, Node, Output, Tensor, mode

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class _Formula:
    """What a picture says of a fused node, in the place of a primitive."""

    params: tuple[Any, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def formula(self, **_: Any) -> str:
        """The node's name: its formula is its definition."""
        return f"{self.name}(x)"

    def rule_formulas(self) -> dict[str, str]:
        """None of its own."""
        return {}


class FusedPlan:
    """How one layer and direction is pulled back, and what it is by definition.

    Inputs are x (T, N, I), the states before the first step, then the weights in the order of `names`.
    """

    fresh = True
    """The arrays that `pull` returns belong to nobody else."""

    def __init__(self, kernel: Kernel, step: Step, names: Sequence[str], absent: Sequence[str], reverse: bool, layer: int):
        self.kernel, self.step, self.reverse, self.layer = kernel, step, reverse, layer
        self.weights, self.absent = tuple(names), tuple(absent)
        self.states = len(kernel.program.before)
        count = 1 + self.states + len(self.weights)
        self.kinds: list[int | None] = [*range(count), None, None, None]
        self.names = ["x", *(str(s) for s in kernel.program.before), *self.weights, "y", "kept", "wanted"]
        self.primitive = _Formula(getattr(step, "__name__", None) or getattr(step, "func", step).__class__.__name__)

    @property
    def name(self) -> str:
        """The step's name."""
        return self.primitive.name

    def definition(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Output (T, N, H) and last states, computed operation by operation, each step in its place."""
        x, states = inputs[0], inputs[1 : 1 + self.states]
        w = SimpleNamespace(**dict.fromkeys(self.absent), **dict(zip(self.weights, inputs[1 + self.states :], strict=True)))
        xs = ops.unstack(x, axis=0)
        hs: list[Any] = [None] * len(xs)
        for t in reversed(range(len(xs))) if self.reverse else range(len(xs)):
            with at(time=t, layer=self.layer, direction="reverse" if self.reverse else "forward"):
                after = self.step(xs[t], states if self.states > 1 else states[0], w)
                states = after if isinstance(after, tuple) else (after,)
                hs[t] = states[0]
        return (ops.stack(hs, axis=0), *states)

    def pull(self, g: Sequence[Any], saved: Sequence[Any], xp: Any) -> Sequence[Any]:
        """One cotangent per input, from the backward loop; recorded, from the definition."""
        *inputs, _, kept, wanted = saved
        if any(isinstance(a, Tensor) for a in inputs):
            return self._pull_recorded(g, inputs)
        weights = dict(zip(self.weights, inputs[1 + self.states :], strict=True))
        found = self.kernel.backward(g, inputs[0], weights, kept, self.reverse, "x" in wanted, wanted & weights.keys())
        return (found.x, *found.states, *(found.weights.get(name) for name in self.weights))

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


def run_layer(
    step: Step, x: Tensor, states: Mapping[str, Tensor], weights: Mapping[str, Tensor | None],
    reverse: bool = False, layer: int = 0,
) -> tuple[Tensor, ...]:  # fmt: skip
    """One layer and direction over x (T, N, I), as one node: output (T, N, H) and the last states.

    Raises NotCompilable, before any work, where it can only be run operation by operation.
    """
    given = {name: w for name, w in weights.items() if w is not None}
    inputs = (x, *states.values(), *given.values())
    _check(inputs)
    sizes = {name: s.shape[-1] for name, s in states.items()}
    kernel = kernel_of(step, x.dtype, x.shape[-1], sizes, {n: None if w is None else w.shape for n, w in weights.items()})
    nodes = tuple(t.node for t in inputs)
    recording = mode.node is not None and any(n is not None for n in nodes)
    arrays = {name: w.data for name, w in given.items()}
    y, ends, kept = kernel.forward(x.data, [s.data for s in states.values()], arrays, reverse, recording)
    if not recording:
        return tuple(Tensor(a) for a in (y, *ends))
    plan: Any = FusedPlan(kernel, step, list(given), [n for n, w in weights.items() if w is None], reverse, layer)
    wanted = frozenset(name for name, node in zip(("x", *states, *given), nodes, strict=True) if node is not None)
    saved = (*(t.data for t in inputs), y, kept, wanted)
    with at(layer=layer, direction="reverse" if reverse else "forward"):
        bundle = Bundle(plan, origins(nodes, inputs), saved, (y, *ends))
        return tuple(Tensor(a, Output(bundle, i, a)) for i, a in enumerate((y, *ends)))


def _check(inputs: Sequence[Tensor]) -> None:
    """Raise NotCompilable for inputs that the kernels do not take."""
    first = inputs[0]
    if mode.node not in (Node, None):
        raise NotCompilable("anomaly detection looks at every operation")
    if not all(type(t.data) is np.ndarray for t in inputs):
        raise NotCompilable(f"expected arrays on the CPU, got {first.device}")
    if first.dtype not in DTYPES or any(t.dtype != first.dtype for t in inputs):
        raise NotCompilable(f"expected all in float32 or all in float64, got {', '.join(sorted({str(t.dtype) for t in inputs}))}")
    if 0 in first.shape:
        raise NotCompilable(f"expected at least one step and one sequence, got {first.shape}")


__all__ = ["FusedPlan", "NotCompilable", "no_grad", "run_layer"]
