"""Any graph that is not unrolled in time: inputs below, results above.

Drawn so are a feedforward net, the operations of anything at all, and the layer level, where a whole sequence
is one vertex.
"""

from __future__ import annotations

import itertools

from tinygrad_rnn.trace import Graph, Vertex
from visual import rail
from visual.cells import label
from visual.fold import Folded, Link
from visual.gradients import Look, measure
from visual.grid import BOX_HEIGHT, NOWHERE, Rect
from visual.layered import layers
from visual.page import blocks, edge_names, finished, named_within, node_box, shape
from visual.paths import Route, Wire
from visual.picture import Part, Picture, fit, text_width
from visual.style import Style

PITCH = 74.0
"""From one layer to the next."""


def layered_drawing(
    graph: Graph,
    style: Style,
    gradients: bool = False,
    title: str | None = None,
    look: Look | None = None,
) -> Picture:
    """Any graph without time: inputs below, results above, every operation with its shape."""
    links, names = [Link(e) for e in graph.edges], {v.id: v for v in graph.nodes}
    beside = _beside(graph)
    before = rail.stacks(beside, names)
    sizes = {
        v.id: max(text_width(_said(v), 11), text_width(shape(v.shape), 9), 24.0) + 18
        for v in graph.nodes
        if v.id not in beside
    }
    room = {user: rail.room(width, weights) for user, (width, weights) in before.items()}
    wide = {name: size + 2 * room.get(name, NOWHERE).wide for name, size in sizes.items()}
    edges = [(e.source, e.target) for e in graph.edges if e.source not in beside]
    plan = layers(wide, edges, gap=26.0, passing=0.1)
    tall = [0.0] * (1 + max(plan.depth.values(), default=0))
    for name, depth in plan.depth.items():
        tall[depth] = max(tall[depth], room.get(name, NOWHERE).tall)
    heights = [0.0]
    for below, above in itertools.pairwise(tall):
        heights.append(heights[-1] + PITCH + below + above)
    places = {}
    for name, size in sizes.items():
        height = 36.0 if names[name].shape else BOX_HEIGHT
        places[name] = Rect(plan.across[name], heights[plan.depth[name]], size, height)
    rail.place_beside(places, before, plan.breadth / 2 + 1.0)
    look = look or measure(style, gradients, links, (v.norm for v in graph.nodes), (), frozenset())
    doors: dict[tuple[str, bool], list[tuple[float, int]]] = {}
    for k, e in enumerate(graph.edges):
        if e.source not in beside:
            doors.setdefault((e.source, True), []).append((plan.across[e.target], k))
            doors.setdefault((e.target, False), []).append((plan.across[e.source], k))
    shift = {}
    for (name, up), ends in doors.items():
        step = min(16.0, (sizes[name] - 12) / max(len(ends) - 1, 1))
        for n, (_, k) in enumerate(sorted(ends)):
            shift[k, up] = (n - (len(ends) - 1) / 2) * step
    parts: list[Part] = []
    ways: list[tuple[str, str, Route]] = []
    for k, (link, name) in enumerate(zip(links, edge_names(links), strict=True)):
        e = link.edge
        a, b = places[e.source], places[e.target]
        if e.source in beside:
            start, end = (a.right, b.left) if a.x < b.x else (a.left, b.right)
            parts += look.edges([link], [name], Wire([(start, a.y), (end, b.y + (a.y - b.y) / 2)]))
            continue
        lanes = [
            (x, heights[depth] + up * (tall[depth] + BOX_HEIGHT))
            for depth, x in plan.bends[e.source, e.target]
            for up in (-0.8, 0.8)
        ]
        route = [(a.x + shift[k, True], a.top), *lanes, (b.x + shift[k, False], b.bottom)]
        parts += look.edges([link], [name], Wire(route))
        ways.append((e.source, e.target, route))
    framed = blocks(graph.nodes, places, beside, ways)
    parts = [*(e for block in framed for e in block.drawn(style)), *parts]
    for v in named_within(graph.nodes, framed).values():
        box = node_box(v, places[v.id], style)
        parts.append(box)
        if v.id in beside:
            continue
        text = fit(_said(v), box.width - 6, 10.5)
        box.label, box.size = (f"{text}\n{shape(v.shape)}" if v.shape else text), 10.5
        parts += look.tabs(box, [v.norm], [0.0])
    short = Folded(graph.nodes, tuple(links), {})
    words = "Layers" if graph.level == "layer" else "Operations"
    return finished(parts, graph, short, look, title or f"{words}, inputs below", style)


def _said(v: Vertex) -> str:
    return rail.short(v) if v.kind == "parameter" else label(v)


def _beside(graph: Graph) -> dict[str, str]:
    """The parameters that one vertex uses beside its data, and which; a module has data, drawn or not."""
    kinds = {v.id: v.kind for v in graph.nodes}
    users: dict[str, list[str]] = {}
    fed = {v.id for v in graph.nodes if v.module}
    for e in graph.edges:
        if kinds[e.source] == "parameter":
            users.setdefault(e.source, []).append(e.target)
        else:
            fed.add(e.target)
    return {weight: found[0] for weight, found in users.items() if len(found) == 1 and found[0] in fed}
