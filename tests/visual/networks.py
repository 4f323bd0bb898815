"""Graphs as `tinygrad_rnn.trace` makes them, with made-up norms: of any kind, level and length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tinygrad_rnn.trace import Edge, Graph, Level, Vertex
from visual.picture import Arrow

INNER = {
    "lstm": ["i>c", "f>c", "g>c", "c>h", "o>h"],
    "gru": ["r>n", "n>h", "z>h"],
    "rnn": [],
}
"""Edges between the gates of one cell."""
READERS = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}
"""The gates that read the input and the hidden state."""
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass
class Network:
    """Collects vertices and edges; the gradient fades by `rate` per step back from the last."""

    kind: str
    layers: int
    ways: list[str]
    steps: int
    level: str
    measured: bool
    cut: int | None
    pre: bool
    rate: float = 0.6
    nodes: list[Vertex] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)

    def norm(self, t: int, share: float = 1.0) -> float | None:
        return 0.8 * self.rate ** (self.steps - 1 - t) * share if self.measured else None

    def vertex(self, id: str, op: str, kind: str, label: str = "", **place) -> None:
        t = place.get("time")
        norm = self.norm(t) if t is not None and kind in ("cell", "gate", "state") else None
        self.nodes.append(Vertex(id, op, kind, label, norm=norm, **place))

    def edge(
        self, source: str, target: str, t: int, share: float = 1.0, cut: bool = False, via: str = ""
    ) -> None:
        norm = None if cut else self.norm(t, share)
        projection = None if norm is None else norm * (0.9 if share > 0.4 else -0.4)
        self.edges.append(Edge(source, target, via, 0, cut, norm, projection))

    def name(self, layer: int, way: str, t: int, gate: str = "") -> str:
        return f"l{layer}.{'rev' if way == 'reverse' else 'fwd'}.t{t}" + (f".{gate}" if gate else "")

    def doors(self) -> list[str]:
        """What in a cell reads data from outside."""
        if self.level == "cell":
            return [""]
        return ["pre"] if self.pre else list(READERS[self.kind])

    def cell(self, layer: int, way: str, t: int) -> None:
        place = {"layer": layer, "direction": way, "time": t}
        if self.level == "cell":
            self.vertex(self.name(layer, way, t), "cell", "cell", "", **place)
            return
        gates = {"lstm": "ifgoch", "gru": "rznh", "rnn": "h"}[self.kind]
        if self.pre:
            self.vertex(self.name(layer, way, t, "pre"), "linear", "gate", "W·x + U·h", **place)
        for gate in gates:
            kind = "state" if gate in "ch" else "gate"
            self.vertex(self.name(layer, way, t, gate), "gates", kind, gate, gate=gate, **place)
        inner = INNER[self.kind] + ([f"pre>{g}" for g in READERS[self.kind]] if self.pre else [])
        for pair in inner:
            a, _, b = pair.partition(">")
            self.edge(self.name(layer, way, t, a), self.name(layer, way, t, b), t, 0.8)

    def row(self, layer: int, way: str) -> None:
        order = range(self.steps) if way == "forward" else range(self.steps - 1, -1, -1)
        before = None
        tail = f"_l{layer}" + ("_reverse" if way == "reverse" else "")
        for t in order:
            self.cell(layer, way, t)
            for n, weight in enumerate(WEIGHTS):
                self.edge(weight + tail, self.name(layer, way, t, self.doors()[0]), t, 1.0 / (n + 1))
            if before is not None:
                self.step(layer, way, before, t)
            for door in self.doors():
                if layer == 0:
                    self.edge(f"x.t{t}", self.name(layer, way, t, door), t, 0.3)
                else:
                    for below in self.ways:
                        source = self.name(layer - 1, below, t, "" if self.level == "cell" else "h")
                        self.edge(source, self.name(layer, way, t, door), t, 0.35)
            before = t

    def step(self, layer: int, way: str, before: int, t: int) -> None:
        cut = self.cut == t and way == "forward"
        if self.level == "cell":
            for state in ("h", "c") if self.kind == "lstm" else ("h",):
                source = self.name(layer, way, before)
                self.edge(source, self.name(layer, way, t), before, 0.7, cut, f"{source}.{state}")
            return
        for door in self.doors():
            self.edge(self.name(layer, way, before, "h"), self.name(layer, way, t, door), before, 0.5, cut)
        carried = {"lstm": "c", "gru": "h"}.get(self.kind)
        if carried:
            self.edge(
                self.name(layer, way, before, carried), self.name(layer, way, t, carried), before, 0.9, cut
            )


def network(
    kind: str = "gru",
    layers: int = 1,
    bidirectional: bool = False,
    steps: int = 3,
    level: Level = "cell",
    measured: bool = True,
    cut: int | None = None,
    every: bool = False,
    pre: bool = False,
    rate: float = 0.6,
) -> Graph:
    """A stacked recurrent network with a readout, at the last or at `every` step; `cut` before a step."""
    ways = ["forward", "reverse"] if bidirectional else ["forward"]
    net = Network(kind, layers, ways, steps, level, measured, cut, pre, rate)
    for layer in range(layers):
        for way in ways:
            for weight in WEIGHTS:
                name = f"{weight}_l{layer}" + ("_reverse" if way == "reverse" else "")
                net.vertex(name, "parameter", "parameter", name)
    for t in range(steps):
        net.vertex(f"x.t{t}", "input", "input", "x", time=t)
    for layer in range(layers):
        for way in ways:
            net.row(layer, way)
    net.vertex("linear.weight", "parameter", "parameter", "linear.weight")
    h = "" if level == "cell" else "h"
    if every:
        for t in range(steps):
            net.vertex(f"linear.t{t}", "linear", "op", time=t)
            net.vertex(f"cross_entropy.t{t}", "cross_entropy", "output", time=t)
            for way in ways:
                net.edge(net.name(layers - 1, way, t, h), f"linear.t{t}", t)
            net.edge("linear.weight", f"linear.t{t}", t)
            net.edge(f"linear.t{t}", f"cross_entropy.t{t}", t)
    else:
        net.vertex("linear", "linear", "op")
        net.vertex("cross_entropy", "cross_entropy", "output")
        for way in ways:
            net.edge(net.name(layers - 1, way, steps - 1 if way == "forward" else 0, h), "linear", steps - 1)
        net.edge("linear.weight", "linear", steps - 1)
        net.edge("linear", "cross_entropy", steps - 1)
    return Graph(tuple(net.nodes), tuple(net.edges), level)


def along(arrow: Arrow, steps: int = 12) -> Iterator[tuple[float, ...]]:
    """Points on the arrow's curve."""
    points = arrow.points
    for k in range(0, len(points) - 1, 3):
        for n in range(steps + 1):
            s = n / steps
            weights = ((1 - s) ** 3, 3 * s * (1 - s) ** 2, 3 * s**2 * (1 - s), s**3)
            yield tuple(
                sum(w * p[i] for w, p in zip(weights, points[k : k + 4], strict=True)) for i in (0, 1)
            )
