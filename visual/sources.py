"""What a picture may be asked of: a Graph, a Flow, or a Tensor with all that led to it.

Every view takes any of them, and measures a loss where it needs gradients; only a heatmap and an influence
matrix ask for a loss or its Flow.
"""

from __future__ import annotations

from typing import Any

from tinygrad_rnn.trace import Graph
from visual.svg import token

LEVELS = ("cell", "gate", "op", "layer")


def flow_of(what: Any) -> Any:
    """The Flow given, or that of the scalar loss given."""
    if hasattr(what, "h"):
        return what
    if isinstance(what, Graph):
        raise TypeError("expected a scalar loss or its Flow, got a Graph: give tinygrad_rnn.flow(loss)")
    from tinygrad_rnn.flow import flow

    return flow(what)


def graph_of(what: Any, level: str | None, gradients: bool) -> Graph:
    """The Graph behind whatever was given, at the level that was asked for, or as it is."""
    if not isinstance(what, Graph) and not hasattr(what, "graph"):
        from tinygrad_rnn.flow import flow
        from tinygrad_rnn.trace import trace

        what = flow(what) if gradients else trace(what)
    if not isinstance(what, Graph):
        what = what.graph(level or "cell")
    graph: Graph = what
    has_cells = any(v.time is not None and v.layer is not None for v in graph.nodes)
    if graph.level == "op" and (level not in (None, "op") or (level is None and has_cells)):
        return told_apart(graph.quotient(level or "cell"))  # type: ignore[arg-type]  # checked there
    if level is not None and level != graph.level:
        raise ValueError(f"a Graph at level {graph.level!r} cannot be drawn at {level!r}; trace one at 'op'")
    return told_apart(graph)


def told_apart(graph: Graph) -> Graph:
    """The graph with ids that every writer can write: "a:b" beside "a_b" is called "a_b.2".

    >>> from tinygrad_rnn.trace import Edge, Vertex
    >>> nodes = [Vertex(name, "input", "input") for name in ("a:b", "a_b")]
    >>> [v.id for v in told_apart(Graph(tuple(nodes), ())).nodes]
    ['a_b.2', 'a_b']
    """
    taken = {v.id for v in graph.nodes if token(v.id) == v.id}
    if len(taken) == len(graph.nodes):
        return graph
    names: dict[str, str] = {}
    for v in graph.nodes:
        name, k = token(v.id), 1
        while v.id not in taken and name in taken:
            k += 1
            name = f"{token(v.id)}.{k}"
        names[v.id] = name
        taken.add(name)
    nodes = (v._replace(id=names[v.id]) for v in graph.nodes)
    edges = (e._replace(source=names[e.source], target=names[e.target]) for e in graph.edges)
    return graph._replace(nodes=tuple(nodes), edges=tuple(edges))
