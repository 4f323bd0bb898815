"""How long a picture takes, and how large it is: T = 10 … 10,000, two layers, bidirectional, with gradients.

    python -m benchmarks.pictures [LONGEST]

CPU times of drawing and writing SVG from a measured Graph; the goals for T = 10,000 at cell level are 1 s and
1 MB folded, and 5 s for the full grid, with time linear in T. The second table draws a network that ran fused
at every level; replaying its definition and measuring its gradients come before, and are timed apart.
"""

from __future__ import annotations

import sys
import time

import tinygrad_rnn as tg
import visual
from tinygrad_rnn import nn
from tinygrad_rnn.trace import Edge, Graph, Level, Vertex
from tinygrad_rnn.unfuse import unfused

LEVELS: tuple[Level, ...] = ("cell", "gate", "op")


def network(steps: int, layers: int = 2) -> Graph:
    """A stacked bidirectional network at cell level, whose gradient fades."""
    nodes = [Vertex(f"x.t{t}", "input", "input", "x", time=t) for t in range(steps)]
    edges = []
    for layer in range(layers):
        for way, short, step in (("forward", "fwd", 1), ("reverse", "rev", -1)):
            tail = f"_l{layer}" + "_reverse" * (step < 0)
            weights = [f"{name}{tail}" for name in ("weight_ih", "weight_hh")]
            nodes += [Vertex(w, "parameter", "parameter", w) for w in weights]
            for t in range(steps)[::step]:
                norm = 0.999 ** (steps - t)
                name = f"l{layer}.{short}.t{t}"
                nodes.append(Vertex(name, "cell", "cell", layer=layer, direction=way, time=t, norm=norm))
                below = [f"l{layer - 1}.{d}.t{t}" for d in ("fwd", "rev")] if layer else [f"x.t{t}"]
                before = [f"l{layer}.{short}.t{t - step}"] if 0 <= t - step < steps else []
                for source in [*below, *before, *weights]:
                    edges.append(Edge(source, name, source, norm=norm, projection=norm / 2))
    return Graph(tuple(nodes), tuple(edges), "cell")


def drawn(graph: Graph, fold: str | bool) -> str:
    """The CPU time that drawing and writing take, and the size of the SVG."""
    began = time.process_time()
    try:
        size = len(visual.draw(graph, graph.level, gradients=True, fold=fold).pipe("svg"))
    except ValueError:
        return f"{'refused':>8}  {'':>9}"
    return f"{time.process_time() - began:>6.2f} s  {size / 1e6:>6.2f} MB"


def row(level: str, steps: int, graph: Graph) -> None:
    """Print one graph's row: folded, then in full."""
    size = len(graph.nodes) + len(graph.edges)
    print(f"{level:<5} {steps:>6} {size:>8}  {drawn(graph, 'auto')}  {drawn(graph, False)}", flush=True)


def main() -> int:
    longest = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    head = f"{'level':<5} {'T':>6} {'parts':>8}  {'folded':>8}  {'size':>9}  {'full':>8}  {'size':>9}"
    print(head)
    for steps in (10, 100, 1_000, 10_000):
        if steps <= longest:
            row("cell", steps, network(steps))
    print(f"\nan LSTM that ran fused, replayed and measured\n{head}")
    for steps in (10, 100, 1_000):
        if steps <= longest:
            rnn = nn.LSTM(4, 8, num_layers=2, bidirectional=True)
            h, _ = rnn(tg.randn(steps, 1, 4))
            loss, began = (h * h).mean(), time.process_time()
            unfused([loss])
            replayed = time.process_time()
            measured = tg.flow(loss)
            print(
                f"replay {replayed - began:.2f} s; replay and measure {time.process_time() - replayed:.2f} s"
            )
            for level in LEVELS:
                row(level, steps, measured.graph(level))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
