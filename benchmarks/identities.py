"""What must hold of every picture and every measurement, tried on random networks: the worst error of each.

    python -m benchmarks.identities [NETWORKS]

Each identity is a function from a random generator to its error on one network, all in float64. The tests run
the same functions, and break the code to see them fail.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np

import tinygrad_rnn as tg
import visual
from tinygrad_rnn import nn, ops
from tinygrad_rnn.trace import Graph, Level
from visual.rolled import loops, row_of, unroll

Generator = np.random.Generator


class Random:
    """A random network that has read a random sequence."""

    def __init__(self, rng: Generator, one_way: bool = False) -> None:
        """Draw kind, layers, directions and sizes."""
        tg.manual_seed(int(rng.integers(1 << 30)))
        self.kind = str(rng.choice(["RNN", "LSTM", "GRU"]))
        self.layers, self.steps = int(rng.integers(1, 4)), int(rng.integers(2, 8))
        self.both = bool(rng.integers(2)) and not one_way
        hidden = int(rng.integers(2, 6))
        self.net = getattr(nn, self.kind)(
            3, hidden, self.layers, bidirectional=self.both, dtype="float64"
        )  # fmt: skip
        x = tg.tensor(rng.standard_normal((self.steps, int(rng.integers(1, 4)), 3)))
        self.output = self.net(x)[0]
        self.loss = (self.output * tg.tensor(rng.standard_normal(self.output.shape))).sum()


def projections(rng: Generator) -> float:
    """Signed projections of the edges into a value sum to its gradient's norm (operation, gate, cell)"""
    flow = tg.flow(Random(rng).loss)
    whole = flow.graph("op")
    norms, worst = {v.id: v.norm for v in whole.nodes}, 0.0
    levels: tuple[Level, ...] = ("op", "gate", "cell")
    for level in levels:
        graph = flow.graph(level)
        home = {m: v.id for v in graph.nodes for m in v.members} if level != "op" else {}
        within = {e.source for e in whole.edges if home.get(e.source, "") == home.get(e.target)}
        sums: dict[str, float] = defaultdict(float)
        for e in graph.edges:
            if e.projection is not None and e.via not in within:
                sums[e.via] += e.projection
        for name, total in sums.items():
            worst = max(worst, abs(total - (norms[name] or 0.0)) / max(norms[name] or 0.0, 1e-300))
    return worst


def weight_shares(rng: Generator) -> float:
    """The steps' shares in a weight's gradient sum to it: Σ_t dW_t = W.grad"""
    one = Random(rng)
    flow = tg.flow(one.loss)
    shares = {name: flow.weight_share(name).sum(axis=0) for name in flow.weights}
    one.loss.backward()
    grads = {name: p.grad.numpy() for name, p in one.net.named_parameters()}
    return max(float(np.abs(shares[n] - g).max() / np.abs(g).max()) for n, g in grads.items())


def influence(rng: Generator) -> float:
    """∂L_s/∂h_t is zero where t > s (where t < s in reverse), and only there"""
    one = Random(rng)
    flow, top, worst = tg.flow(one.loss), one.layers - 1, 0.0
    losses = [one.output[s].sum() for s in range(one.steps)]
    for way in ("fwd", "rev")[: 1 + one.both]:
        table = flow.influence(losses, top, way)
        table = table if way == "fwd" else table[::-1, ::-1]
        worst = max(worst, float(np.abs(np.triu(table, 1)).max()))
        if not (table[np.tril_indices(one.steps)] > 0).all():
            return float("inf")
    return worst


def across_cuts(rng: Generator) -> float:
    """Nothing comes back across a detached state"""
    cell, h, states = nn.GRUCell(3, 4, dtype="float64"), tg.zeros(2, 4, dtype="float64"), []
    steps = int(rng.integers(3, 8))
    cut = int(rng.integers(1, steps))
    for t in range(steps):
        h = h.detach() if t == cut else h
        with tg.at(layer=0, direction="forward", time=t):
            h = tg.label(h=cell(tg.tensor(rng.standard_normal((2, 3))), h))
        states.append(h)
    losses = [(h * h).sum() for h in states]
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    table = tg.flow(total).influence(losses)
    inside = table[np.tril_indices(steps)] > 0
    wanted = np.fromfunction(lambda s, t: (s < cut) | (t >= cut), (steps, steps))[np.tril_indices(steps)]
    return float(np.abs(table[cut:, :cut]).max()) if (inside == wanted).all() else float("inf")


def linear(rng: Generator, radius: float | None = None) -> float:
    """In a linear network with W = ρ·(orthogonal), ‖∂L/∂h_t‖ = ρ^(T−t)·‖∂L/∂h_T‖"""
    size, steps = int(rng.integers(2, 7)), int(rng.integers(5, 40))
    radius = float(rng.uniform(0.5, 1.2)) if radius is None else radius
    weight = tg.tensor(radius * np.linalg.qr(rng.standard_normal((size, size)))[0], requires_grad=True)
    h = tg.tensor(rng.standard_normal((1, size)), requires_grad=True)
    for t in range(steps):
        with tg.at(layer=0, direction="forward", time=t):
            h = tg.label(h=ops.matmul(h, weight))
    norms = tg.flow((h * tg.tensor(rng.standard_normal((1, size)))).sum()).h[0, 0]
    closed = norms[-1] * radius ** np.arange(steps - 1, -1, -1)
    return float(np.abs(norms / closed - 1).max())


def orthogonal(rng: Generator) -> float:
    """In a linear network with orthogonal W the gradient keeps its norm"""
    return linear(rng, 1.0)


def rolling(rng: Generator) -> float:
    """Unrolling the rolled network gives the tape's cells and edges (edges too many or too few)"""
    one = Random(rng)
    graph = tg.trace(one.output).quotient("cell")
    cells = {v.id for v in graph.nodes if v.kind == "cell"}
    joins = {v.id for v in graph.nodes if v.op == "concatenate"}
    direct = {(e.source, e.target) for e in graph.edges}
    through = {(a, c) for a, j in direct for k, c in direct if j == k and j in joins}
    wanted = {(a, b) for a, b in direct | through if a in cells and b in cells}
    times = {row_of(v): range(one.steps) for v in graph.nodes if v.kind == "cell"}
    return float(len(unroll(loops(graph), times) ^ wanted))


def svg(rng: Generator) -> float:
    """SVG's nodes and edges, forward and backward, are the Graph's (groups too many or too few)"""
    graph, picture = _drawn(rng)
    root = ElementTree.fromstring(picture.pipe("svg"))
    groups = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("id")]
    found = [(g.get("id", "").removeprefix("p-"), g.get("class", "").split()) for g in groups]
    return _differences(graph, found)


def dot(rng: Generator) -> float:
    """DOT's nodes and edges, forward and backward, are the Graph's (statements too many or too few)"""
    graph, picture = _drawn(rng)
    found = []
    for line in picture.source.splitlines():
        ends = re.match(r'\t"?([^"\[]+?)"?(?: -> "?([^"\[]+?)"?)? \[', line)
        kinds = re.search(r'class="?([\w .-]+)"?', line)
        if ends and kinds:
            back = "backward" in kinds[1]
            a, b = (ends[2], ends[1]) if back else (ends[1], ends[2])
            found.append((f"{a}--{b}" + ".g" * back if b else a, kinds[1].split()))
    return _differences(graph, found)


def _drawn(rng: Generator) -> tuple[Graph, visual.Picture]:
    level: Any = rng.choice(["op", "gate", "cell"])
    graph = tg.flow(Random(rng).loss).graph(level)
    return graph, visual.draw(graph, level, gradients=True, fold=False)


def _differences(graph: Graph, found: list[tuple[str, list[str]]]) -> float:
    """How many nodes, edges and gradients are there too often or too rarely."""
    weights = {v.id for v in graph.nodes if v.kind == "parameter"}
    wanted = Counter(v.id for v in graph.nodes)
    wanted.update(f"{e.source}--{e.target}" for e in graph.edges)
    named = (name for name, kinds in found if {"node", "edge"} & {*kinds})
    shown = Counter(re.sub(r"--\d+(\.g)?$", r"\1", name) for name in named)
    bars = {name.partition("--")[0] for name, kinds in found if "weight" in kinds}
    back = [e for e in graph.edges if e.norm is not None and e.source not in weights & bars]
    wanted.update(f"{e.source}--{e.target}.g" for e in back)
    return float(sum(((wanted - shown) + (shown - wanted)).values()))


IDENTITIES: tuple[Callable[[Generator], float], ...] = (
    projections, weight_shares, influence, across_cuts, linear, orthogonal, rolling, svg, dot,
)  # fmt: skip


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    print(f"{'networks':>8}  {'worst error':>11}  identity")
    for identity in IDENTITIES:
        worst = max(identity(np.random.default_rng(seed)) for seed in range(count))
        print(f"{count:>8}  {worst:>11.2g}  {identity.__doc__}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
