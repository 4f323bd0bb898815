"""A tape with its fused layers taken apart.

A fused layer is one node, but what is to be seen of it (gates, states, gradients along time) is in its
definition. `unfused` copies a tape in recorded order and puts the replayed definition in the place of every
fused node; all other nodes keep what they saved. The original is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.modes import enable_grad
from tinygrad_rnn.namespaces import clock, namespace
from tinygrad_rnn.scope import at, here
from tinygrad_rnn.sweep import ancestors
from tinygrad_rnn.tape import Node, Origin
from tinygrad_rnn.tensor import Tensor, label


class Steps(NamedTuple):
    """The output of a layer step by step, and how it becomes one value (T, N, H)."""

    hs: list[Tensor]
    gather: Callable[[list[Tensor]], Tensor]


def unfused(outputs: Sequence[Tensor]) -> tuple[list[Tensor], dict[Node, Node], tuple[str, ...]]:
    """The outputs on a tape without fused nodes; where each old node went; what a reader must be told.

    Where nothing is fused the outputs are those given, and nothing went anywhere. Raises FreedTapeError.

    >>> import tinygrad_rnn as tg
    >>> y, _ = tg.nn.RNN(3, 4)(tg.zeros(5, 2, 3))
    >>> (z,), moved, notes = unfused([y])
    >>> y.node.plan.name, z.node.plan.name, moved[y.node] is z.node, len(notes)
    ('RNN', 'stack', True, 1)
    """
    nodes = ancestors([o.node for o in outputs if o.node is not None])[::-1]
    if not any(_is_fused(node) for node in nodes):
        return list(outputs), {}, ()
    copier = _Copier()
    with enable_grad():
        for node in nodes:
            copier.add(node)
    moved = copier.moved
    made = [o if o.node is None else Tensor(o.data, moved[o.node], o.origin) for o in outputs]
    return made, moved, (f"replayed from the definition, within {copier.worst:.1g} of what ran",)


def _is_fused(node: Node) -> bool:
    return node.is_bundle and hasattr(node.plan, "definition")


def _is_dropout(node: Node) -> bool:
    """Whether this is a product with a mask of the same shape (T, N, H)."""
    masked = _is(node, "multiply") and isinstance(node.parents[1], Origin)
    return masked and node.saved is not None and node.saved[0].shape == node.shape


def _row(parent: Any) -> Any:
    """What a state was before it was handed over among those of all layers: row k of their stack."""
    if not _is(parent, "getitem") or not _is(parent.parents[0], "stack"):
        return parent
    k = (parent.saved or (None,))[-1]
    return parent.parents[0].parents[k] if type(k) is int else parent


def _is_join(node: Node) -> bool:
    """Whether this brings both directions' outputs (T, N, H) side by side."""
    return _is(node, "concatenate") and (node.saved or (0,))[-1] in (-1, 2)


def _is(node: Any, name: str) -> bool:
    return isinstance(node, Node) and node.plan is not None and node.plan.name == name


class _Copier:
    """The new tape, node by node."""

    def __init__(self) -> None:
        self.moved: dict[Node, Node] = {}
        self.replayed: dict[Node, tuple[Tensor, ...]] = {}
        self.steps: dict[Node, Steps] = {}
        """For the new nodes that are a layer's output: what the next layer reads."""
        self.worst = 0.0

    def add(self, node: Node) -> None:
        """Copy one node, whose parents have been copied."""
        moved = [self.moved[p] for p in node.parents if isinstance(p, Node) and p in self.moved]
        beside = [self.steps.get(p) for p in moved]
        if node.plan is None:
            self.moved[node] = node
        elif _is_join(node) and beside and all(beside):
            self._join(node, [found for found in beside if found is not None])
        elif _is_fused(node):
            self._replay(node)
        elif node.index is not None and node.parents[0] in self.replayed:
            made = self.replayed[node.parents[0]][node.index].node
            assert made is not None
            made.label = node.label or made.label
            self.moved[node] = made
        else:
            self._copy(node)

    def _copy(self, node: Node) -> None:
        made = Node()
        for slot in Node.__slots__:
            if slot != "__weakref__":
                setattr(made, slot, getattr(node, slot))
        made.parents = tuple(self.moved[p] if isinstance(p, Node) else p for p in node.parents)
        made.order = next(clock)
        made.grad, made.hooks, made.retains = None, None, False
        self.moved[node] = made

    def _join(self, node: Node, directions: list[Steps]) -> None:
        """Bring both directions together step by step, as the next layer reads them."""
        before, here.scope = here.scope, node.scope
        try:
            hs = side_by_side([found.hs for found in directions])
            whole = directions[0].gather(hs).node
        finally:
            here.scope = before
        assert whole is not None
        self.moved[node] = whole
        self.steps[whole] = Steps(hs, directions[0].gather)

    def _replay(self, node: Node) -> None:
        plan: Any = node.plan
        saved = node.saved or ()
        inputs = [
            Tensor(value, self.moved[p]) if isinstance(p, Node) else Tensor(value, None, p)
            for value, p in zip(saved, map(_row, node.parents), strict=False)
        ]
        before, here.scope = here.scope, node.scope._replace(layer=None, direction=None)
        try:
            outs = self._layer(plan, inputs) if hasattr(plan, "layer") else plan.definition(*inputs)
        finally:
            here.scope = before
        self.replayed[node] = outs
        ran = saved[len(node.parents)]
        xp = namespace(ran)
        if ran.size:
            with np.errstate(invalid="ignore"):
                off = xp.where(outs[0].data == ran, 0.0, outs[0].data - ran)
            self.worst = max(self.worst, xp.max(xp.abs(off)).item())

    def _layer(self, plan: Any, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        """A recurrent layer, which reads step by step what the layer below made."""
        hs, ends = plan.layer.unroll(self._steps_of(inputs[0]), tuple(inputs[1 : 1 + plan.states]))
        output = plan.layer.gather(hs)
        if output.node is not None:
            self.steps[output.node] = Steps(hs, plan.layer.gather)
        return (output, *ends)

    def _steps_of(self, x: Tensor) -> list[Tensor]:
        """A layer's input step by step: what the layer before made, also where it was dropped out since."""
        node = x.node
        if node is None:
            return along_time(x)
        if node not in self.steps:
            before = self.steps.get(node.parents[0]) if _is_dropout(node) else None
            if before is None:
                hs = along_time(x)
            else:
                masks = (node.saved or ())[0]
                hs = each_step(lambda h, mask: h * Tensor(mask), before.hs, masks)
            self.steps[node] = Steps(hs, ops.stack)
        return self.steps[node].hs


def side_by_side(directions: Sequence[list[Tensor]]) -> list[Tensor]:
    """Both directions' h at every time; one direction's as they are."""
    if len(directions) == 1:
        return directions[0]
    return each_step(lambda *pair: ops.concatenate(pair, axis=-1), *directions)


def each_step(run: Callable[..., Tensor], *sequences: Iterable[Any]) -> list[Tensor]:
    """`run` at every time, on what the sequences have there."""
    found = []
    for t, values in enumerate(zip(*sequences, strict=True), here.scope.start):
        with at(time=t):
            found.append(run(*values))
    return found


def along_time(x: Tensor) -> list[Tensor]:
    """The steps of x (T, N, I), each named "x" at its own time."""
    if not x.requires_grad:
        return each_step(lambda step: label(x=Tensor(step)), x.data)
    return each_step(lambda step: label(x=ops.squeeze(step, axis=0)), ops.split(x, x.shape[0], axis=0))
