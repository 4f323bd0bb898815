"""A tape as plain data.

The engine's tape is made for the backward sweep: Nodes that know their parents, and nothing else. A
picture, a test or a page wants to look at it from outside, so this file turns it into a `Graph`:
vertices and edges that hold strings and numbers only, in recorded order, with stable names, and that
travel as JSON.

A Graph has a level. At "op" every recorded operation is a vertex. `quotient` contracts it to "gate" (one
vertex per labelled value: i, f, g, o, c, h), to "cell" (one per layer, direction and step) or to "layer".
An edge always points the way the data runs; its gradient runs against it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from tinygrad_rnn.levels import SHORT, group
from tinygrad_rnn.namespaces import SPACES, Array, to_numpy
from tinygrad_rnn.sweep import ancestors
from tinygrad_rnn.tape import Node, Origin
from tinygrad_rnn.tensor import Tensor
from tinygrad_rnn.unfuse import unfused

Level = Literal["op", "gate", "cell", "layer"]


class Vertex(NamedTuple):
    """One operation, value or group of them, and where in the unrolled network it stands."""

    id: str
    """Logical and deterministic: "l1.fwd.t3.f", "l0.rev.t2.cell", "weight_hh_l0", "x.t3", "loss"."""
    op: str
    """The primitive's name ("tanh"), or "parameter", "input", "constant", "cell", "gates", …"""
    kind: str
    """"op", "gate", "state", "cell", "parameter", "input", "constant", "cut" or "output"."""
    label: str = ""
    """What a reader calls it: "f", "h", "weight_hh_l0"; empty for an unnamed operation."""
    formula: str = ""
    """The forward formula, printed from the operation itself: "tanh(x)"."""
    rules: tuple[str, ...] = ()
    """The gradient formulas, printed from its rules: "∂x = g·(1 − y²)"."""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    module: str = ""
    layer: int | None = None
    direction: str | None = None
    """"forward" or "reverse"; None outside recurrent layers."""
    time: int | None = None
    """The input's index, in both directions."""
    gate: str | None = None
    backward: bool = False
    """Made by a differentiable backward (second order)."""
    members: tuple[str, ...] = ()
    """The op-level vertices that a group stands for."""
    norm: float | None = None
    """‖∂L/∂value‖ over all its entries; None where it was not computed."""
    value: dict[str, float] | None = None
    """Summary of the value where the tape still has it: min, mean, max, norm."""


class Edge(NamedTuple):
    """The output of `source` goes into `target`; a gradient comes back from `target` to `source`."""

    source: str
    target: str
    via: str = ""
    """In a group: the op-level vertex of `source` that is read ("…​.h" or "….c" between two cells)."""
    slot: int = 0
    """Which input of the target, in the order of its arguments."""
    cut: bool = False
    """A detached value: the forward pass goes through, BPTT stops."""
    norm: float | None = None
    """‖g_edge‖, the gradient that comes back along this edge; None where it was not computed."""
    projection: float | None = None
    """⟨g_edge, g⟩/‖g‖, its signed share in the gradient of `via`: shares sum to that gradient's norm."""


class Graph(NamedTuple):
    """Vertices in recorded order, and the edges between them."""

    nodes: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    level: Level = "op"
    notes: tuple[str, ...] = ()
    """What a reader must be told: "replayed from its definition", "gradients not computed", …"""

    def __repr__(self) -> str:
        """Its size; a notebook would print thousands of lines of what is in it."""
        return f"Graph({len(self.nodes)} nodes, {len(self.edges)} edges, level={self.level!r})"

    def quotient(self, level: Level) -> Graph:
        """This op-level graph, contracted to "gate", "cell" or "layer" (see `levels`).

        Edges between two groups stay apart by the value they carry (`via`), so that h and c do not blur;
        between layers they carry whole sequences, and are one.
        """
        if level == self.level:
            return self
        if self.level != "op":
            raise ValueError(f"expected an op-level graph to contract, got one at level {self.level!r}")
        groups = group(self, level)
        members: dict[str, list[Vertex]] = {}
        for v in self.nodes:
            if v.id in groups:
                members.setdefault(groups[v.id], []).append(v)
        edges: dict[tuple[str, str, str, bool], Edge] = {}
        for e in self.edges:
            source, target = groups.get(e.source), groups.get(e.target)
            if source is None or target is None or source == target:
                continue
            via = "" if level == "layer" else e.source
            if (source, target, via, e.cut) not in edges:
                made = e._replace(source=source, target=target, via=via, norm=None, projection=None)
                edges[source, target, via, e.cut] = made
        nodes = tuple(_contracted(i, found, level) for i, found in members.items())
        return Graph(nodes, tuple(edges.values()), level, self.notes)

    def window(self, first: int, last: int) -> Graph:
        """The steps from `first` to `last` alone, with the parameters they use; a note says what is left out.

        Raises ValueError where the graph has no such step.
        """
        steps = [v for v in self.nodes if v.time is not None and first <= v.time <= last]
        if not steps:
            raise ValueError(f"expected steps of this graph, got {first} to {last}")
        shown = {v.id for v in steps}
        shown |= {e.source for e in self.edges if e.target in shown} & {
            v.id for v in self.nodes if v.kind == "parameter"
        }
        here = f"step {first}" if first == last else f"steps {first} to {last}"
        return self._replace(
            nodes=tuple(v for v in self.nodes if v.id in shown),
            edges=tuple(e for e in self.edges if {e.source, e.target} <= shown),
            notes=(*self.notes, f"{here} alone: edges to other steps and to the loss are not drawn"),
        )

    def to_json(self) -> str:
        """The graph as JSON text; `Graph.from_json` reads it back."""
        import json

        plain = self._asdict()
        plain |= {name: [each._asdict() for each in plain[name]] for name in ("nodes", "edges")}
        return json.dumps(plain, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Read back what `to_json` wrote."""
        import json

        raw: dict[str, Any] = json.loads(text)
        lists = ("rules", "shape", "members")
        return cls(
            nodes=tuple(Vertex(**{**n, **{k: tuple(n[k]) for k in lists}}) for n in raw["nodes"]),
            edges=tuple(Edge(**e) for e in raw["edges"]),
            level=raw["level"],
            notes=tuple(raw["notes"]),
        )


SHAPING = ("reshape", "permute_dims", "swapaxes", "expand_dims", "squeeze", "pad")
"""Operations that do not say what a module does."""


def _contracted(group_id: str, members: list[Vertex], level: Level) -> Vertex:
    """One vertex for a group: its last named member, or what they have in common."""
    named = [v for v in members if v.label]
    first, last = members[0], members[-1]
    if len(members) == 1 and (level == "gate" or first.id == group_id):
        kind = "gate" if level == "gate" and first.gate and first.kind == "op" else first.kind
        return first._replace(id=group_id, members=(first.id,), kind=kind)
    if level == "gate" and last.direction is not None:
        shown = next((v for v in named if v.id == group_id), last)
        kind = "state" if shown.label in ("h", "c") else "gate"
        formula = "" if shown.label else " + ".join(v.op for v in members[:1])
        return shown._replace(
            id=group_id, kind=kind, label=shown.label or group_id.rpartition(".")[2],
            formula=shown.formula or formula, members=tuple(v.id for v in members),
        )  # fmt: skip
    inside = last.direction is not None
    kinds, times = {v.kind for v in members}, {v.time for v in members}
    label = group_id
    if inside:
        label = "" if level == "cell" else f"layer {last.layer} {'←' if last.direction == 'reverse' else '→'}"
    elif len(members) > 1 and len({v.op for v in members}) == 1:
        label = f"{first.label or first.op} × {len(members)}"
    elif group_id.rpartition(".")[2].isdigit():
        label = f"{group_id} {next((v.op for v in members if v.op not in SHAPING), first.op)}"
    return Vertex(
        id=group_id,
        op="cell" if inside and level == "cell" else "layer" if inside else "module",
        kind="cell" if inside and kinds != {"cut"} else kinds.pop() if len(kinds) == 1 else "op",
        label=label, shape=last.shape, dtype=last.dtype, module=last.module, layer=last.layer,
        direction=last.direction, time=last.time if level != "layer" and len(times) == 1 else None,
        backward=all(v.backward for v in members), members=tuple(v.id for v in members),
    )  # fmt: skip


# -- from the tape -------------------------------------------------------------------------------------


class Naming:
    """Gives every node, input and cut of a tape its name; the same tape always gets the same names."""

    def __init__(self, nodes: list[Node], outputs: Iterable[Node]) -> None:
        """Read the names off the nodes, in recorded order."""
        self._taken: Counter[str] = Counter()
        self.ids: dict[Any, str] = {}
        modules = {n.scope.module for n in nodes if n.scope.layer is not None}
        self._several = len(modules) > 1
        users: dict[Node, Node] = {}
        for node in nodes:
            for parent in node.parents:
                if isinstance(parent, Node):
                    users.setdefault(parent, node)
        leaves = Counter(n.label for n in nodes if n.plan is None)
        self.outputs = set(outputs)
        for node in nodes:
            if node.index is not None:
                self.ids[node] = self.ids[node.parents[0]]
            elif node.plan is None:
                module = users[node].scope.module if node in users and leaves[node.label] > 1 else ""
                self._give(node, f"{module}." * bool(module) + (node.label or "leaf"))
            elif _is_step_input(node):
                module = f"{node.scope.module}." if self._several and node.scope.module else ""
                self._give(node, f"{module}{node.label}.t{node.scope.time}")
            else:
                name = "loss" if node in self.outputs and node.shape == () and not node.label else node.label
                self._give(node, self._place(node.scope) + (name or node.plan.name))
            for parent in node.parents:
                if isinstance(parent, Origin) and parent not in self.ids:
                    suffix = f".t{parent.scope.time}" if parent.scope.time is not None and parent.name else ""
                    if parent.cut or not parent.name:
                        name = self._place(parent.scope) + (parent.name or "constant") + ".cut" * parent.cut
                    else:
                        name = parent.name + suffix
                    self._give(parent, name)

    def _place(self, scope: Any) -> str:
        module = f"{scope.module}." if scope.module and (self._several or scope.layer is None) else ""
        layer = f"l{scope.layer}." if scope.layer is not None else ""
        direction = f"{SHORT[scope.direction]}." if scope.direction is not None else ""
        time = f"t{scope.time}." if scope.time is not None else ""
        back = "d." if scope.backward else ""
        return f"{module}{layer}{direction}{time}{back}".replace("/", "_").replace(":", "_")

    def _give(self, what: Any, name: str) -> None:
        self._taken[name] += 1
        count = self._taken[name]
        self.ids[what] = name if count == 1 else f"{name}.{count}"


Words = dict[Any, tuple[str, tuple[str, ...]]]
"""An operation with its parameters → its formula, and its rules'."""


def trace(*outputs: Tensor, values: bool = False) -> Graph:
    """The tape behind the outputs, as a Graph at level "op".

    Args:
        outputs: recorded Tensors, whose tape has not been freed.
        values: add to each vertex a summary (min, mean, max, norm) of its value, where the tape still has it.

    Raises:
        ValueError: an output was not recorded. FreedTapeError: its tape has been freed.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True); x.name = "x"
    >>> graph = tg.trace((tg.ops.tanh(x) * x).sum())
    >>> [(v.id, v.formula) for v in graph.nodes][1:]
    [('tanh', 'tanh(x)'), ('multiply', 'a·b'), ('loss', 'sum(x)')]
    >>> [(e.source, e.target) for e in graph.edges]
    [('x', 'tanh'), ('tanh', 'multiply'), ('x', 'multiply'), ('multiply', 'loss')]
    """
    return tape_graph(outputs, values)[0]


def tape_graph(outputs: Sequence[Tensor], values: bool = False) -> tuple[Graph, Naming, list[Tensor]]:
    """The Graph, how the tape's nodes are called in it, and the outputs on that tape, fused layers opened."""
    for output in outputs:
        if not isinstance(output, Tensor) or output.node is None:
            tensor = isinstance(output, Tensor)
            came = f"a tensor of shape {output.shape} that was not" if tensor else type(output).__name__
            raise ValueError(f"expected a recorded Tensor (one that requires grad) to trace, got {came}")
    opened, _, notes = unfused(outputs)
    roots = [output.node for output in opened if output.node is not None]
    nodes = ancestors(roots)[::-1]
    naming = Naming(nodes, roots)
    ids = naming.ids
    seen = _values(nodes) if values else {}
    vertices: dict[str, Vertex] = {}
    edges: list[Edge] = []
    words: Words = {}
    for node in nodes:
        if node.index is not None:
            continue
        for slot, parent in enumerate(node.parents):
            if parent is None:
                continue
            source = ids[parent]
            cut = isinstance(parent, Origin) and parent.cut
            if isinstance(parent, Origin) and source not in vertices:
                vertices[source] = _origin_vertex(parent, source)
            edges.append(Edge(source, ids[node], via=source, slot=slot, cut=cut))
        vertices[ids[node]] = _vertex(node, ids[node], node in naming.outputs, seen.get(node), words)
    return Graph(tuple(vertices.values()), tuple(edges), notes=(*notes, *_again(vertices))), naming, opened


AGAIN = "runs that share their times share their cells; tg.at(time=…) around the later one sets it apart"


def _again(vertices: Mapping[str, Vertex]) -> tuple[str, ...]:
    """What a reader must be told where a network ran twice over the same times."""
    states = Counter((v.module, v.layer, v.direction, v.time) for v in vertices.values() if v.gate == "h")
    return (AGAIN,) if max(states.values(), default=0) > 1 else ()


def _vertex(node: Node, name: str, is_output: bool, value: Array | None, words: Words) -> Vertex:
    scope = node.scope
    label = node.label or ""
    place: dict[str, Any] = {
        "module": scope.module, "layer": scope.layer, "direction": scope.direction, "time": scope.time,
        "backward": scope.backward, "value": _summary(value),
    }  # fmt: skip
    if node.plan is None:
        dtype = _named(node.dtype)
        return Vertex(name, "parameter", "parameter", label or name, shape=node.shape, dtype=dtype)
    saved = dict(zip(node.plan.names, node.saved or (), strict=True))
    formula, rules = _formulas(node.plan.primitive, saved, words)
    kind = "output" if is_output else "input" if _is_step_input(node) else "op"
    if scope.direction is not None and label:
        kind = "state" if label in ("h", "c") else "gate"
    shape, dtype = node.shape[0] if node.is_bundle else (node.shape, node.dtype)
    return Vertex(
        name, node.plan.primitive.name, kind, label or ("loss" if name == "loss" else ""),
        formula=formula, rules=rules, shape=shape, dtype=_named(dtype),
        gate=scope.gate or (label if scope.direction else "") or None, **place,
    )  # fmt: skip


_named = cache(str)
"""NumPy works out a dtype's name anew each time."""


def _formulas(primitive: Any, saved: Mapping[str, Any], words: Words) -> tuple[str, tuple[str, ...]]:
    """The operation and its rules, printed once for all nodes with the same parameters."""
    params = {p.name: saved[p.name] for p in primitive.params if p.name in saved}
    key = primitive, repr(params)
    if key not in words:
        rules = primitive.rule_formulas().items()
        words[key] = primitive.formula(**params), tuple(f"∂{x} = {rule}" for x, rule in rules)
    return words[key]


def _is_step_input(node: Node) -> bool:
    """A named value with a time but no layer: what a recurrent network reads at that step."""
    return bool(node.label) and node.scope.layer is None and node.scope.time is not None and not node.is_leaf


def _origin_vertex(origin: Origin, name: str) -> Vertex:
    scope = origin.scope
    kind = "cut" if origin.cut else "input" if origin.name else "constant"
    return Vertex(
        name, kind, kind, origin.name, module=scope.module, layer=scope.layer, direction=scope.direction,
        time=scope.time,
    )  # fmt: skip


def _values(nodes: list[Node]) -> dict[Node, Array]:
    """The values that the tape still holds, by the node that made them."""
    found: dict[Node, Array] = {}
    for node in nodes:
        if node.plan is None or node.index is not None:
            continue
        for value, kind in zip(node.saved or (), node.plan.kinds, strict=True):
            owner = node if kind == -1 else node.parents[kind] if kind is not None else None
            if isinstance(owner, Node) and type(value) in SPACES:
                found[owner] = value
    return found


def _summary(value: Array | None) -> dict[str, float] | None:
    if value is None or value.size == 0:
        return None
    host = to_numpy(value).astype(np.float64)
    return {
        "min": float(host.min()), "mean": float(host.mean()), "max": float(host.max()),
        "norm": float(np.linalg.norm(host)),
    }  # fmt: skip
