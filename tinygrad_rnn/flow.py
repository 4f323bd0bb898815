"""BPTT, measured: how much gradient comes back along every edge of the unrolled network.

`flow(loss)` sweeps the loss's own tape once, as `backward` does (and leaves the tape and every `.grad` as
they are), and weighs what passes. Vectors add, their norms do not; so an edge gets two numbers: the norm of
the gradient that comes back along it, and its projection on the whole gradient of the value it comes back
to. The projections of all edges into a value sum to the norm of its gradient, whatever the cancellations.

Edges are weighed at every level of the picture (operation, gate, cell), since the gradient between two
cells is a sum of vectors that cannot be had from norms.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.levels import group
from tinygrad_rnn.namespaces import namespace, to_numpy
from tinygrad_rnn.sweep import sweep
from tinygrad_rnn.tape import Node
from tinygrad_rnn.tensor import Tensor
from tinygrad_rnn.trace import Edge, Graph, Level, Naming, Vertex, tape_graph

_LEVELS: tuple[Level, ...] = ("op", "gate", "cell", "layer")
_DIRECTIONS = {"forward": 0, "reverse": 1, "fwd": 0, "rev": 1}


class FlowEdge(NamedTuple):
    """Gradient on its way back: from `source` (the user of a value) to `target` (its maker)."""

    source: str
    target: str
    norm: float
    projection: float


class _Share(NamedTuple):
    """What one use of a value sends back to it."""

    user: str
    slot: int
    part: int
    gradient: Any


class _Weighed(NamedTuple):
    """What was measured of one value: its gradient's norm, and its edges' at each level."""

    norm: float
    edges: dict[Level, dict[tuple[str, int], tuple[float, float]]]
    local: float
    future: float
    """Of a state h: what comes from its own step, and from the next one."""
    by_time: dict[int | None, float]


def _dot(a: dict[int, Any], b: dict[int, Any]) -> float:
    """The product of two long vectors."""
    total: float = sum((part @ b[k]).item() for k, part in a.items())
    return total


def _long(parts: dict[int, Any]) -> dict[int, Any]:
    """A value with several outputs as one long vector, in float64."""
    return {k: part.astype(np.float64).ravel() for k, part in parts.items()}


def _add(shares: Iterable[_Share]) -> dict[int, Any]:
    """The sum of shares, output by output."""
    total: dict[int, Any] = {}
    for share in shares:
        total[share.part] = share.gradient if share.part not in total else total[share.part] + share.gradient
    return _long(total)


class _Scale:
    """Stands beside the sweep and weighs what each value's users send back to it."""

    def __init__(self, ids: dict[Any, str], graph: Graph) -> None:
        self.ids = ids
        self.groups = {level: group(graph, level) for level in _LEVELS}
        self.vertices = {v.id: v for v in graph.nodes}
        self.shares: dict[Node, list[_Share]] = defaultdict(list)
        self.parts: dict[Node, dict[int, Any]] = defaultdict(dict)
        self.found: dict[str, _Weighed] = {}

    def __call__(self, node: Node, g: Any, contributions: Sequence[Any]) -> None:
        received = self.shares.pop(node, [])
        if node.index is not None:
            bundle = node.parents[0]
            self.parts[bundle][node.index] = g
            self.shares[bundle] += [share._replace(part=node.index) for share in received]
            return
        name = self.ids[node]
        gradient = self.parts.pop(node, None) or {0: g}
        self.found[name] = self._weigh(self.vertices[name], gradient, received)
        for slot, (parent, d) in enumerate(zip(node.parents, contributions, strict=False)):
            if d is not None and isinstance(parent, Node):
                self.shares[parent].append(_Share(name, slot, 0, d))

    def _weigh(self, vertex: Vertex, gradient: dict[int, Any], received: list[_Share]) -> _Weighed:
        gradient = _long(gradient)
        norm = _dot(gradient, gradient) ** 0.5
        seen: dict[tuple[int, ...], tuple[float, float]] = {}

        def measured(shares: list[_Share]) -> tuple[float, float]:
            which = tuple(map(id, shares))
            if which not in seen:
                total = _add(shares)
                size = _dot(total, total) ** 0.5
                along = _dot(total, gradient)
                seen[which] = size, along / norm if norm else 0.0 if norm == 0 else float("nan")
            return seen[which]

        edges = {
            level: {key: measured(shares) for key, shares in self._sorted(received, level).items()}
            for level in _LEVELS
        }
        local = future = float("nan")
        if vertex.label == "h":
            future = measured([s for s in received if self._is_next_step(s.user, vertex)])[0]
            local = measured([s for s in received if not self._is_next_step(s.user, vertex)])[0]
        by_time: dict[int | None, float] = {}
        if vertex.kind == "parameter":
            steps: dict[int | None, list[_Share]] = defaultdict(list)
            for share in received:
                steps[self.vertices[share.user].time].append(share)
            by_time = {t: measured(shares)[0] for t, shares in steps.items()}
        return _Weighed(norm, edges, local, future, by_time)

    def _sorted(self, received: list[_Share], level: Level) -> dict[tuple[str, int], list[_Share]]:
        kinds: dict[tuple[str, int], list[_Share]] = defaultdict(list)
        for share in received:
            user = self.groups[level].get(share.user)
            if user is not None:
                kinds[user, share.slot if level == "op" else 0].append(share)
        return kinds

    def _is_next_step(self, user: str, vertex: Vertex) -> bool:
        u = self.vertices[user]
        same_row = (u.module, u.layer, u.direction) == (vertex.module, vertex.layer, vertex.direction)
        return same_row and u.time != vertex.time


class Flow:
    """The gradient of one loss, measured along its tape. Arrays are float64, (layers, directions, T).

    Attributes:
        h, c: ‖∂L/∂h_t‖ and ‖∂L/∂c_t‖ over batch and features; NaN where no gradient was computed; `c` is None
            where there is no cell state. Time is the input's index, in both directions.
        local, future: the two parts of δh_t, as norms: what comes from this step's loss and the layer above,
            and what comes back from the next step (of that direction).
        edges: every edge at op level, as `FlowEdge`s in the order of the tape.
        weights: parameter → (T,), ‖dW_t‖ of each step's share in the gradient.
    """

    def __init__(self, loss: Tensor, module: str | None = None) -> None:
        """Measure; see `flow`."""
        self.loss = loss
        graph, naming, (opened,) = tape_graph([loss], values=True)
        if loss.size != 1:
            raise ValueError(f"expected a scalar loss, got shape {loss.shape}: take its sum or mean")
        self._naming, self._opened = naming, opened
        scale = _Scale(naming.ids, graph)
        _sweep(opened, watch=scale)
        self._found = scale.found
        self._graph = graph
        states = [
            v for v in graph.nodes if v.label in ("h", "c") and v.direction is not None and v.time is not None
        ]
        modules = list(dict.fromkeys(v.module for v in states))
        if module is not None and module not in modules:
            raise ValueError(f"expected a recurrent module of this tape, one of {modules}, got {module!r}")
        self._module = module if module is not None else modules[0] if modules else ""
        self._states = [v for v in states if v.module == self._module]
        shape = (0, 0, 0)
        if self._states:
            layers, directions, times = zip(*map(_index, self._states), strict=True)
            shape = 1 + max(layers), 1 + max(directions), 1 + max(times)
        self.h = self._table("h", shape, lambda w: w.norm)
        has_c = any(v.label == "c" for v in self._states)
        self.c = self._table("c", shape, lambda w: w.norm) if has_c else None
        self.local = self._table("h", shape, lambda w: w.local)
        self.future = self._table("h", shape, lambda w: w.future)
        self.weights = {
            v.id: np.array([self._found[v.id].by_time.get(t, 0.0) for t in range(shape[2])])
            for v in graph.nodes
            if v.kind == "parameter" and v.id in self._found and set(self._found[v.id].by_time) - {None}
        }
        self.edges = [
            FlowEdge(e.target, e.source, e.norm, e.projection)
            for e in self.graph("op").edges
            if e.norm is not None and e.projection is not None
        ]

    def __repr__(self) -> str:
        """What it measured."""
        layers, directions, steps = self.h.shape
        return f"Flow({layers} layers, {directions} directions, {steps} steps, {len(self.edges)} edges)"

    def _table(self, label: str, shape: tuple[int, ...], read: Any) -> np.ndarray[Any, Any]:
        table = np.full(shape, np.nan)
        for v in self._states:
            if v.label == label and v.id in self._found:
                table[_index(v)] = read(self._found[v.id])
        return table

    def graph(self, level: Level = "op") -> Graph:
        """The traced graph at that level, with a norm and a projection on every edge that a gradient took."""
        whole = self._graph.quotient(level)
        if level == "layer":
            return self._layers(whole)

        def weighed(e: Edge) -> Edge:
            made = self._found.get(e.via)
            pair = made.edges[level].get((e.target, e.slot if level == "op" else 0)) if made else None
            return e if pair is None or e.cut else e._replace(norm=pair[0], projection=pair[1])

        def measured(v: Vertex) -> Vertex:
            states = (m for m in reversed(v.members) if self._is_state(m))
            shown = v.id if v.id in self._found else next(states, None)
            return v._replace(norm=self._found[shown].norm) if shown in self._found else v

        return Graph(tuple(map(measured, whole.nodes)), tuple(map(weighed, whole.edges)), level, whole.notes)

    def _layers(self, whole: Graph) -> Graph:
        """The norms of whole sequences: what passes at different steps is one long vector."""
        groups = group(self._graph, "layer")
        passed: dict[tuple[str, str], tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        left: dict[str, float] = defaultdict(float)
        for name, made in self._found.items():
            ways = {to: pair for (to, _), pair in made.edges["layer"].items() if to != groups.get(name)}
            for to, (norm, projection) in ways.items():
                square, along = passed[groups[name], to]
                passed[groups[name], to] = square + norm**2, along + projection * made.norm
            if ways:
                left[groups[name]] += made.norm**2

        def weighed(e: Edge) -> Edge:
            if e.cut or (e.source, e.target) not in passed:
                return e
            (square, along), norm = passed[e.source, e.target], left[e.source] ** 0.5
            return e._replace(norm=square**0.5, projection=along / norm if norm else 0.0)

        nodes = (v._replace(norm=left[v.id] ** 0.5) if v.id in left else v for v in whole.nodes)
        return whole._replace(nodes=tuple(nodes), edges=tuple(map(weighed, whole.edges)))

    def _is_state(self, vertex: str) -> bool:
        return vertex in self._found and vertex.rpartition(".")[2] == "h"

    def weight_share(self, name: str) -> np.ndarray[Any, Any]:
        """Each step's share in a parameter's gradient, (T, *shape); summed over T it is the gradient.

        Raises KeyError for a parameter that no time step uses.
        """
        if name not in self.weights:
            known = sorted(self.weights)
            raise KeyError(f"expected a parameter used by time steps, one of {known}, got {name!r}")
        node = next(n for n, i in self._naming.ids.items() if i == name)
        total = np.zeros((self.h.shape[2], *node.shape), dtype=node.dtype)

        def gather(user: Node, _g: Any, contributions: Sequence[Any]) -> None:
            for parent, d in zip(user.parents, contributions, strict=False):
                if parent is node and d is not None:
                    total[user.scope.time] += to_numpy(d)

        _sweep(self._opened, watch=gather)
        return total

    def influence(
        self, losses: Sequence[Tensor], layer: int = -1, direction: str = "fwd"
    ) -> np.ndarray[Any, Any]:
        """‖∂L_s/∂h_t‖ for each of several losses on this tape: (S, T); zero where h_t cannot reach L_s."""
        for s, loss in enumerate(losses):
            if not isinstance(loss, Tensor) or loss.node is None or loss.size != 1:
                raise ValueError(f"expected recorded scalar losses, got number {s} that is none")
        _, naming, (_, *opened) = tape_graph([self.loss, *losses])
        states = self._row("h", layer, direction, naming)
        table = np.zeros((len(losses), self.h.shape[2]))
        for s, loss in enumerate(opened):
            found = _sweep(loss, targets=list(states.values()))
            for t, node in states.items():
                if node in found:
                    table[s, t] = np.linalg.norm(to_numpy(found[node]).astype(np.float64))
        return table

    def jacobians(self, layer: int = 0, direction: str = "fwd", batch: int = 0) -> Jacobians:
        """One step's Jacobian, ∂s_t/∂s_{t-1} for one sequence of the batch; the state s is h, or (h, c).

        Entry t of the result is the step into t; the first step, with no recorded state before it, is NaN.
        Products of these are what makes gradients vanish or explode (Pascanu, Mikolov & Bengio 2013).
        """
        labels = ["h", "c"] if self.c is not None else ["h"]
        rows = [self._row(label, layer, direction) for label in labels]
        steps = sorted(rows[0], reverse=_DIRECTIONS[direction] == 1)
        sizes = [rows[k][steps[0]].shape[-1] for k in range(len(rows))]
        matrices = np.full((self.h.shape[2], sum(sizes), sum(sizes)), np.nan)
        xp = namespace(self.loss.data)
        for before, now in pairwise(steps):
            ins = [row[before] for row in rows]
            matrices[now] = _step_jacobian(xp, [row[now] for row in rows], ins, sizes, batch)
        return Jacobians(matrices)

    def _row(
        self, label: str, layer: int, direction: str, naming: Naming | None = None
    ) -> dict[int, Node]:
        """The nodes of one layer and direction's states, by time."""
        if direction not in _DIRECTIONS:
            raise ValueError(f"expected direction 'fwd' or 'rev', got {direction!r}")
        layers, directions, _ = self.h.shape
        if not -layers <= layer < layers or _DIRECTIONS[direction] >= directions:
            there = f"{layers} layers and {directions} directions"
            raise ValueError(f"expected one of {there}, got {layer}, {direction!r}")
        ids = {v.id: v for v in self._states if v.label == label}
        return {
            ids[i].time: n  # type: ignore[misc]  # every state has a time
            for n, i in (naming or self._naming).ids.items()
            if i in ids and isinstance(n, Node) and not n.is_bundle
            and _index(ids[i])[:2] == (layer % layers, _DIRECTIONS[direction])
        }  # fmt: skip

    def to_json(self) -> str:
        """Norms, weights and edges as JSON text; NaN as null."""

        def plain(a: Any) -> Any:
            if isinstance(a, list):
                return [plain(x) for x in a]
            return None if a != a else a

        tables = {name: getattr(self, name) for name in ("h", "c", "local", "future")}
        import json

        return json.dumps(
            {
                **{k: None if a is None else plain(a.tolist()) for k, a in tables.items()},
                "weights": {k: plain(a.tolist()) for k, a in self.weights.items()},
                "edges": [e._asdict() for e in self.edges],
            }
        )


class Jacobians(NamedTuple):
    """One matrix per step, (T, S, S); NaN for the first."""

    matrices: np.ndarray[Any, Any]

    @property
    def norms(self) -> np.ndarray[Any, Any]:
        """Spectral norm of each: the most that one step back can stretch a gradient."""
        return np.array([np.nan if np.isnan(m).any() else np.linalg.norm(m, 2) for m in self.matrices])

    @property
    def radii(self) -> np.ndarray[Any, Any]:
        """Spectral radius of each: what repeated steps tend to."""
        return np.array(
            [np.nan if np.isnan(m).any() else abs(np.linalg.eigvals(m)).max() for m in self.matrices]
        )


def _sweep(loss: Tensor, **how: Any) -> dict[Node, Any]:
    """The gradients of a scalar loss; its tape is kept."""
    assert loss.node is not None
    xp = namespace(loss.data)
    return sweep({loss.node: xp.ones_like(loss.data)}, xp, keep=True, **how)


def _index(v: Vertex) -> tuple[int, int, int]:
    assert v.layer is not None and v.direction is not None and v.time is not None
    return v.layer, _DIRECTIONS[v.direction], v.time


def _step_jacobian(
    xp: Any, outs: list[Node], ins: list[Node], sizes: list[int], batch: int
) -> np.ndarray[Any, Any]:
    """∂outs/∂ins through one step alone, for one row of the batch."""
    matrix = np.zeros((sum(sizes), sum(sizes)))
    row = 0
    for out, size in zip(outs, sizes, strict=True):
        for i in range(size):
            seed = xp.zeros(out.shape, dtype=out.dtype)
            seed.reshape(-1, size)[batch if len(out.shape) > 1 else 0, i] = 1
            found = sweep({out: seed}, xp, keep=True, targets=ins, stop=ins)
            column = 0
            for node, width in zip(ins, sizes, strict=True):
                if node in found:
                    part = to_numpy(found[node]).reshape(-1, width)
                    matrix[row, column : column + width] = part[batch if len(node.shape) > 1 else 0]
                column += width
            row += 1
    return matrix


def flow(loss: Tensor, module: str | None = None) -> Flow:
    """Measure BPTT on this loss's own tape; see `Flow` for what there is to read.

    Args:
        loss: a recorded scalar whose tape has not been freed (call this before `backward`).
        module: which recurrent module `h`, `c` and the rest speak of, where the tape has several.

    Raises:
        ValueError: not a scalar, not recorded, or no such module. FreedTapeError: backward came first.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([[0.5]], requires_grad=True); w.name = "w"
    >>> h = tg.tensor([[1.0]], requires_grad=True)
    >>> for t in range(3):
    ...     with tg.at(layer=0, direction="forward", time=t):
    ...         h = tg.label(h=h @ w)
    >>> tg.flow(h.sum()).h[0, 0]
    array([0.25, 0.5 , 1.  ])
    """
    return Flow(loss, module)
