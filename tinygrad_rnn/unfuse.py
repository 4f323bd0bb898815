"""A tape with its fused layers taken apart.

A fused layer is one node, but what is to be seen of it (gates, states, gradients along time) is in its
definition. `unfused` copies a tape in recorded order and puts the replayed definition in the place of every
fused node; all other nodes keep what they saved. The original is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tinygrad_rnn import ops
from tinygrad_rnn.autodiff import ancestors, enable_grad
from tinygrad_rnn.namespaces import clock, namespace
from tinygrad_rnn.scope import at, here
from tinygrad_rnn.tensor import Bundle, Node, Output, Tensor, label


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
    return isinstance(node, Bundle) and hasattr(node.plan, "definition")


def _is_join(node: Node) -> bool:
    """Whether this brings both directions' outputs (T, N, H) side by side."""
    return node.plan is not None and node.plan.name == "concatenate" and (node.saved or (0,))[-1] in (-1, 2)


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
            self._replay(node)  # type: ignore[arg-type]
        elif isinstance(node, Output) and node.parents[0] in self.replayed:
            made = self.replayed[node.parents[0]][node.index].node
            assert made is not None
            made.label = node.label or made.label
            self.moved[node] = made
        else:
            self._copy(node)

    def _copy(self, node: Node) -> None:
        made = object.__new__(type(node))
        for kind in type(node).__mro__[:-1]:
            for slot in getattr(kind, "__slots__", ()):
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
            hs = _side_by_side([found.hs for found in directions])
            whole = directions[0].gather(hs).node
        finally:
            here.scope = before
        assert whole is not None
        self.moved[node] = whole
        self.steps[whole] = Steps(hs, directions[0].gather)

    def _replay(self, node: Bundle) -> None:
        plan: Any = node.plan
        saved = node.saved or ()
        inputs = [
            Tensor(value, self.moved[p]) if isinstance(p, Node) else Tensor(value, None, p)
            for value, p in zip(saved, node.parents, strict=False)
        ]
        before, here.scope = here.scope, node.scope._replace(layer=None, direction=None)
        try:
            x, states = inputs[0], inputs[1 : 1 + plan.states]
            known = self.steps.get(x.node) if x.node is not None else None
            if known is None:
                known = Steps(along_time(x), ops.stack)
                if x.node is not None:
                    self.steps[x.node] = known
            hs, ends = plan.layer.unroll(known.hs, tuple(states))
            outs = (plan.layer.gather(hs), *ends)
        finally:
            here.scope = before
        self.replayed[node] = outs
        if outs[0].node is not None:
            self.steps[outs[0].node] = Steps(hs, plan.layer.gather)
        ran = saved[len(node.parents)]
        xp = namespace(ran)
        self.worst = max(self.worst, float(xp.max(xp.abs(outs[0].data - ran)))) if ran.size else self.worst


def _side_by_side(directions: list[list[Tensor]]) -> list[Tensor]:
    """Both directions' h at every time."""
    found = []
    for t, pair in enumerate(zip(*directions, strict=True)):
        with at(time=t):
            found.append(ops.concatenate(pair, axis=-1))
    return found


def along_time(x: Tensor) -> list[Tensor]:
    """The steps of x (T, N, I), each named "x" at its own time."""
    if x.requires_grad:
        found = ops.split(x, x.shape[0], axis=0)
    else:
        found = [Tensor(step) for step in x.data]
    steps = []
    for t, step in enumerate(found):
        with at(time=t):
            steps.append(label(x=ops.squeeze(step, axis=0) if x.requires_grad else step))
    return steps
