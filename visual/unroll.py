"""From a Graph to a Picture: the unrolled network, with BPTT beside it.

`unrolled` is the whole recipe: fold what is too long, plan the places, draw frames, rails, arrows and boxes,
and close with the time axis, the title and the key. A graph that knows no time gets `layered_drawing`
instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from tinygrad_rnn.trace import Graph, Vertex
from visual import alike, rail
from visual.cells import WORDS, label
from visual.fold import Fold, Folded, Link, folded
from visual.gradients import Look, measure
from visual.grid import BOX_HEIGHT, Grid, Rect, grid
from visual.layered import layers
from visual.legend import legend
from visual.paths import Wire
from visual.picture import (
    Arrow,
    Box,
    Element,
    Group,
    Picture,
    Strip,
    Text,
    fit,
    moved,
    text_width,
    without_collector,
)
from visual.style import Style, number
from visual.wires import wires

MARGIN = 28.0
NARROWEST = 560.0
"""A picture is at least so wide, so that its key has room."""
SUBSCRIPT = str.maketrans("0123456789-", "₀₁₂₃₄₅₆₇₈₉₋")


@without_collector()
def unrolled(
    graph: Graph,
    style: Style,
    gradients: bool = False,
    fold: str | bool | int = "auto",
    focus: int | Sequence[int] | None = None,
    tokens: Sequence[str] | None = None,
    title: str | None = None,
    look: Look | None = None,
) -> Picture:
    """The picture of a recurrent graph at its level; of any other graph, a layered drawing.

    `look` gives the scales that several pictures share; otherwise they are this picture's own.
    """
    if not any(v.time is not None and v.layer is not None for v in graph.nodes):
        return layered_drawing(graph, style, gradients, title, look)
    whole = _with_tokens(folded(graph, fold, focus), tokens)
    plan, short, runs, weights, initial = _planned(whole)
    vertices = {v.id: v for v in whole.nodes}
    margin = rail.margins(plan, whole, weights, initial)
    sigma = rail.place_margins(plan, margin, vertices)
    look = look or measure(
        style,
        gradients,
        whole.links,
        (v.norm for v in graph.nodes if v.time is not None),
        whole.folds.values(),
        frozenset(weights),
    )
    names = edge_names(whole.links)

    elements: list[Element] = list(_frames(plan, style))
    elements += rail.rails(plan, margin, whole, look, sigma, names)
    free = {id(link): n for n, link in enumerate(whole.links) if n not in margin.on_rail}
    laid = [link for link in short.links if id(link) in free]
    ways = {free[id(link)]: wire for link, wire in zip(laid, wires(plan, laid), strict=True)}
    for n, wire, dx in alike.spread_out(plan, whole, runs, ways):
        elements += look.edge(whole.links[n], names[n], wire, dx)
    for name, rect in plan.place.items():
        elements += _node(vertices[name], rect, look, whole.folds.get(name))
    left = min([rect.left for rect in plan.place.values()] + [sigma]) - 92.0
    for row in range(len(plan.rows)):
        elements += rail.row_label(plan, row, left, look)
    has_inputs = any(v.kind == "input" and v.time is not None for v in short.nodes)
    elements += _axis(plan, style, None if has_inputs else tokens, left)
    return finished(elements, graph, whole, look, title or _title(plan, graph), style)


class _Planned(NamedTuple):
    """The plan, what of the network was laid out for it, and the copies that complete it."""

    plan: Grid
    short: Folded
    runs: Sequence[alike.Run]
    weights: set[str]
    """The parameters on rails."""
    initial: set[str]


def _planned(whole: Folded) -> _Planned:
    short, runs = alike.thinned(whole)
    (weights, beside), initial = rail.parameters(short), rail.initial_states(short)
    plan = grid(short, {*weights, *beside, *initial})
    if not alike.fits(plan, runs):
        short, runs = whole, []
        plan = grid(short, {*weights, *beside, *initial})
    alike.place(plan, runs)
    rail.place_beside(plan, beside, {v.id: v for v in short.nodes})
    return _Planned(plan, short, runs, weights, initial)


def layered_drawing(
    graph: Graph,
    style: Style,
    gradients: bool = False,
    title: str | None = None,
    look: Look | None = None,
) -> Picture:
    """Any graph without time: inputs below, results above, every operation with its shape."""
    links = [Link(e) for e in graph.edges]
    sizes = {v.id: max(text_width(label(v), 11), text_width(_shape(v), 9), 24.0) + 18 for v in graph.nodes}
    plan = layers(sizes, [(e.source, e.target) for e in graph.edges], gap=26.0)
    pitch = 74.0
    places = {
        v.id: Rect(plan.across[v.id], plan.depth[v.id] * pitch, sizes[v.id], 36.0 if v.shape else BOX_HEIGHT)
        for v in graph.nodes
    }
    look = look or measure(style, gradients, links, (v.norm for v in graph.nodes), (), frozenset())
    doors: dict[tuple[str, bool], list[tuple[float, int]]] = {}
    for k, e in enumerate(graph.edges):
        doors.setdefault((e.source, True), []).append((plan.across[e.target], k))
        doors.setdefault((e.target, False), []).append((plan.across[e.source], k))
    shift = {}
    for (name, up), ends in doors.items():
        step = min(16.0, (sizes[name] - 12) / max(len(ends) - 1, 1))
        for n, (_, k) in enumerate(sorted(ends)):
            shift[k, up] = (n - (len(ends) - 1) / 2) * step
    elements: list[Element] = []
    for k, (link, name) in enumerate(zip(links, edge_names(links), strict=True)):
        e = link.edge
        a, b = places[e.source], places[e.target]
        lanes = [(x, depth * pitch) for depth, x in plan.bends[e.source, e.target]]
        route = [(a.x + shift[k, True], a.top), *lanes, (b.x + shift[k, False], b.bottom)]
        elements += look.edge(link, name, Wire(route))
    for v in graph.nodes:
        box = node_box(v, places[v.id], style)
        text = box.label + (f"\n{_shape(v)}" if v.shape else "")
        elements.append(replace(box, label=text, size=10.5))
        elements += [mark for mark in [look.tab(box, v.norm)] if mark]
    short = Folded(graph.nodes, tuple(links), {})
    return finished(elements, graph, short, look, title or "Operations, inputs below", style)


def finished(
    elements: list[Element], graph: Graph, short: Folded, look: Look, title: str, style: Style
) -> Picture:
    """Title above, key below, everything moved so that the page begins at (0, 0)."""
    left, bottom, right, top = _extent(elements)
    right = max(right, left + NARROWEST)
    kinds = {v.kind for v in short.nodes}
    bars = any(isinstance(e, Arrow) and "weight" in e.classes for e in elements)
    cuts = any(link.edge.cut for link in short.links)
    key, height = legend(look, sorted(kinds), bars, cuts, min(right - left, 1400.0))
    notes = [*graph.notes]
    if look.gradients and look.scale is None and "gradients not computed" not in notes:
        notes.append("gradients not computed")
    head = 34.0 + 16.0 * len(notes)
    bottom -= height + 22.0
    elements = [*elements, *(moved(e, left, bottom + height) for e in key)]
    elements.append(
        Text(left, top + head - 8, title, style["ink"], 17, "start", bold=True, classes=("title",))
    )
    for k, note in enumerate(notes):
        elements.append(
            Text(left, top + head - 27 - 16 * k, note, style["quiet"], 11, "start", classes=("note",))
        )
    top += head + 10
    for e in elements:
        e.x += MARGIN - left
        e.y += MARGIN - bottom
    desc = f"{len(short.nodes)} nodes and {len(short.links)} edges at {graph.level} level. " + " ".join(notes)
    return Picture(
        right - left + 2 * MARGIN,
        top - bottom + 2 * MARGIN,
        tuple(elements),
        title,
        desc.strip(),
        style.theme,
        style["page"],
        style["font"],
        facts=lambda: _rows(short),
    )


def edge_names(links: Sequence[Link]) -> list[str]:
    """An id for each edge, "source--target", numbered where the same pair is joined more than once."""
    seen: dict[str, int] = {}
    names = []
    for link in links:
        name = f"{link.edge.source}--{link.edge.target}"
        seen[name] = seen.get(name, -1) + 1
        names.append(name if not seen[name] else f"{name}--{seen[name]}")
    return names


def node_box(v: Vertex, rect: Rect, style: Style) -> Box:
    """The box of a vertex, without what only its view adds."""
    fill, line = style.kind(v.kind)
    classes = ["node", f"kind-{v.kind}"]
    classes += [f"layer-{v.layer}"] if v.layer is not None else []
    classes += [f"dir-{'rev' if v.direction == 'reverse' else 'fwd'}"] if v.direction else []
    classes += [f"t-{v.time}"] if v.time is not None else []
    classes += [f"gate-{v.gate}"] if v.gate else []
    size = 15.0 if v.kind in ("cell", "gate", "state") else 10.0 if v.kind == "parameter" else 11.0
    size = 13.0 if v.kind == "input" else size
    text = rail.short(v) if v.kind == "parameter" else label(v)
    return Box(
        v.id,
        rect.x,
        rect.y,
        rect.width,
        rect.height,
        fit(text, rect.width - 6, size),
        "box" if v.kind in ("op", "constant") else "round",
        fill,
        line,
        style["ink"],
        size,
        dash="dashed" if v.backward else "solid",
        classes=tuple(classes),
        title=describe(v),
    )


def describe(v: Vertex) -> str:
    """A vertex in words, for its title."""
    words = [v.id, WORDS.get(v.gate or "", ""), v.formula, *v.rules, _shape(v), v.dtype]
    if v.value:
        words.append(", ".join(f"{name} {number(value)}" for name, value in v.value.items()))
    if v.norm is not None:
        words.append(f"‖∂L/∂value‖ = {number(v.norm)}")
    return "; ".join(word for word in words if word)


def _with_tokens(short: Folded, tokens: Sequence[str] | None) -> Folded:
    """The token of its step as the label of every input."""
    if tokens is None:
        return short
    nodes = tuple(
        replace(v, label=str(tokens[v.time]))
        if v.kind == "input" and v.time is not None and 0 <= v.time < len(tokens)
        else v
        for v in short.nodes
    )
    return replace(short, nodes=nodes)


def _node(v: Vertex, rect: Rect, look: Look, fold: Fold | None) -> Iterator[Element]:
    box = node_box(v, rect, look.style)
    if fold is not None:
        yield from _fold(box, fold, look, v.layer is not None)
        return
    if v.kind == "cell" and (not v.label or text_width(v.label, 15) > 40):
        box.label = "h" + str(v.time).translate(SUBSCRIPT)
    yield box
    mark = look.tab(box, v.norm) if v.kind in ("cell", "gate", "state") else None
    if mark:
        yield mark


def _fold(box: Box, fold: Fold, look: Look, inner: bool) -> Iterator[Element]:
    """A fold's box: its range, its numbers, and per bin the largest norm over the median."""
    style, x = look.style, box.x
    title = f"{box.id}; t = {fold.first} … {fold.last}, {fold.steps} steps; {fold.norms} {fold.counts}"
    yield Group("", x, box.y, box.width, box.height, style["fold.fill"], classes=("mark",))
    lines = [f"t = {fold.first} … {fold.last}, {fold.steps} steps"]
    if not inner:
        lines = [f"{box.label} × {fold.steps}"]
    elif look.gradients and fold.norms.low is not None:
        low, middle, high = (f"{n or 0.0:.2g}" for n in (fold.norms.low, fold.norms.median, fold.norms.high))
        lines.append(f"min {low} · med {middle} · max {high}")
    if inner and fold.counts:
        lines.append(fold.counts)
    y = box.y + box.height / 2 - 15 if inner else box.y - 4
    for k, line in enumerate(lines):
        colour = style["alarm"] if line == fold.counts else style["quiet"] if k else style["ink"]
        yield Text(
            x, y - 12.5 * k, fit(line, box.width, 9.5 - 0.5 * k), colour, 9.5 - 0.5 * k, bold=not k and inner
        )
    if inner and look.gradients and fold.bins:
        rows = tuple(tuple(look.colour(pair[k]) for pair in fold.bins) for k in (0, 1))
        strip = x - box.width / 2 + 8, box.y - box.height / 2 + 6
        yield Strip("", *strip, box.width - 16, 10, rows, ("mark", "bins"), title)
    yield replace(box, label="", fill="none", line=style["fold.line"], dash="dashed", title=title)


def _frames(plan: Grid, style: Style) -> Iterator[Element]:
    """A band behind every other column, and a frame around each open cell."""
    low, high = 22.0, plan.top + 24.0
    for k, slot in enumerate(plan.slots):
        if k % 2 == 0 and len(plan.slots) > 1:
            yield Group(
                "", slot.x, (low + high) / 2, slot.width, high - low, style["band"], classes=("column",)
            )
    for (row, column), rect in plan.frames.items():
        layer = plan.rows[int(row)][0]
        name = f"l{layer}.{'rev' if plan.reverse(row) else 'fwd'}.t{plan.slots[column].time}.frame"
        yield Group(
            name,
            rect.x,
            rect.y,
            rect.width,
            rect.height,
            style["page"],
            style["faint"],
            classes=("cell", f"layer-{layer}"),
        )


def _axis(plan: Grid, style: Style, tokens: Sequence[str] | None, left: float) -> Iterator[Element]:
    """The time under each column, and the tokens where no input box can hold them."""
    yield Text(left, 2, "time t", style["quiet"], 11, "start", classes=("axis",))
    for slot in plan.slots:
        text = str(slot.time) if slot.last == slot.time else f"{slot.time} … {slot.last}"
        yield Text(slot.x, 2, text, style["quiet"], 11, classes=("axis",))
        if tokens is not None and slot.last == slot.time and 0 <= slot.time < len(tokens):
            yield Text(
                slot.x,
                22,
                fit(str(tokens[slot.time]), slot.width - 6, 14),
                style["ink"],
                14,
                bold=True,
                classes=("token",),
            )


def _title(plan: Grid, graph: Graph) -> str:
    count = len({layer for layer, _ in plan.rows})
    both = "bidirectional, " if plan.halves == 2 else ""
    steps = plan.slots[-1].last - plan.slots[0].time + 1
    words = f"{count} layer{'s' * (count > 1)}, {steps} step{'s' * (steps > 1)}"
    return f"{both}{words}, {graph.level} level".capitalize()


def _extent(elements: Sequence[Element]) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of everything drawn."""
    left = bottom = right = top = 0.0
    curves: dict[int, tuple[float, float, float, float]] = {}
    for e in elements:
        match e:
            case Arrow():
                if id(e.curve) not in curves:
                    xs, ys = zip(*e.curve, strict=True)
                    curves[id(e.curve)] = min(xs), min(ys), max(xs), max(ys)
                x0, y0, x1, y1 = curves[id(e.curve)]
            case Text():
                width = text_width(e.text, e.size)
                start = {"start": 0.0, "middle": -0.5, "end": -1.0}[e.anchor]
                x0, y0, x1, y1 = start * width, -e.size * 0.3, (1 + start) * width, e.size
            case Strip():
                x0, y0, x1, y1 = 0.0, 0.0, e.width, e.height
            case _:
                x0, y0, x1, y1 = -e.width / 2, -e.height / 2, e.width / 2, e.height / 2
        left = e.x + x0 if e.x + x0 < left else left
        right = e.x + x1 if e.x + x1 > right else right
        bottom = e.y + y0 if e.y + y0 < bottom else bottom
        top = e.y + y1 if e.y + y1 > top else top
    return left, bottom, right, top


def _shape(v: Vertex) -> str:
    return " × ".join(map(str, v.shape))


def _rows(short: Folded) -> Iterator[tuple[str, ...]]:
    """The text table: nodes with their gradients, then edges with theirs."""
    times: Mapping[str, Fold] = short.folds
    yield "what", "from", "to", "norm", "projection"
    for v in short.nodes:
        norm = str(times[v.id].norms) if v.id in times else number(v.norm)
        yield v.kind, v.id, "", norm, ""
    for link in short.links:
        e = link.edge
        norm = "cut" if e.cut else str(link.spread) if link.spread else number(e.norm)
        yield "edge", e.source, e.target, norm, "" if e.projection is None else f"{e.projection:+.3g}"
