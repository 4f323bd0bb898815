"""How long a picture takes, and how large it is: T = 10 … 10,000, two layers, bidirectional, with gradients.

    python -m benchmarks.pictures [LONGEST]

CPU times of drawing and writing SVG from a measured Graph at cell level; the goals for T = 10,000 are 1 s and
1 MB folded, and 5 s for the full grid, with time linear in T.
"""

from __future__ import annotations

import sys
import time

import visual
from tinygrad_rnn.trace import Edge, Graph, Vertex


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


def main() -> int:
    longest = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"{'T':>6}  {'edges':>7}  {'folded':>8}  {'size':>9}  {'full':>8}  {'size':>9}")
    for steps in (10, 100, 1_000, 10_000):
        if steps <= longest:
            graph = network(steps)
            cells = [f"{steps:>6}  {len(graph.edges):>7}"]
            for fold in ("auto", False):
                began = time.process_time()
                size = len(visual.draw(graph, gradients=True, fold=fold).pipe("svg"))
                cells.append(f"{time.process_time() - began:>6.2f} s  {size / 1e6:>6.2f} MB")
            print("  ".join(cells), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
