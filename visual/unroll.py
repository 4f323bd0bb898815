"""From a Graph to a Picture: the unrolled network, with BPTT beside it.

`unrolled` is the whole recipe: fold what is too long, plan the places, draw frames, rails, arrows and boxes,
and close with the time axis, the title and the key. A graph that knows no time gets `layered_drawing`
instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, NamedTuple

from tinygrad_rnn.trace import Graph, Vertex
from visual import alike, rail
from visual.fold import Fold, Folded, folded
from visual.gradients import Look, measure
from visual.grid import Grid, Rect, Slot, grid
from visual.page import blocks, caption, classes, describe, edge_names, finished, named_within, node_box
from visual.picture import (
    Box,
    Copies,
    Element,
    Group,
    Part,
    Picture,
    Strip,
    Text,
    fit,
    shown,
    text_width,
    without_collector,
)
from visual.style import Style
from visual.upward import layered_drawing
from visual.wires import wires

HEAT = 11.0
"""Height of a row of the heatmap under the grid."""
LARGEST = 500_000
"""So many vertices and edges are drawn at most: some ten seconds and a quarter of a gigabyte of SVG."""
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

    `look` gives the scales that several pictures share; otherwise they are this picture's own. Drawing takes
    time linear in what is drawn, so ValueError refuses more than `LARGEST` before the work begins.
    """
    if not any(v.time is not None and v.layer is not None for v in graph.nodes):
        _refuse_huge(len(graph.nodes) + len(graph.edges))
        return layered_drawing(graph, style, gradients, title, look)
    whole = _with_tokens(folded(graph, fold, focus), tokens)
    _refuse_huge(len(whole.nodes) + len(whole.links))
    plan, short, laid, runs, weights, beside, initial = _planned(whole)
    vertices = {v.id: v for v in whole.nodes}
    margin = rail.margins(plan, whole.links, laid, weights, initial)
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

    free = [n for n in laid if n not in margin.on_rail]
    ways = dict(zip(free, wires(plan, [whole.links[n] for n in free]), strict=True))
    ends = ((whole.links[n].edge, wire.route) for n, wire in ways.items())
    framed = blocks(short.nodes, plan.place, beside, ((e.source, e.target, way) for e, way in ends))
    vertices |= named_within((v for v in short.nodes if v.time is None), framed)

    parts: list[Part] = list(_frames(plan, style))
    parts += [e for block in framed for e in block.drawn(style)]
    parts += rail.rails(plan, margin, whole.links, names, runs, look, sigma)
    for links in alike.together(plan, runs, ways, attrgetter("links")):
        e, wire = whole.links[links.members[0]].edge, ways[links.members[0]]
        for members, way, shifts in alike.wired(plan, links, (e.source, e.target), wire):
            parts += look.edges([whole.links[n] for n in members], [names[n] for n in members], way, shifts)
    for steps in alike.together(plan, runs, plan.place, attrgetter("names")):
        name = steps.members[0]
        if name in whole.folds:
            parts += _fold(vertices[name], plan.place[name], whole.folds[name], look)
        else:
            parts += _nodes([vertices[n] for n in steps.members], plan.place[name], steps.shifts, look)
    left = min([rect.left for rect in plan.place.values()] + [sigma]) - 92.0
    for row in range(len(plan.rows)):
        parts += rail.row_label(plan, row, left, look)
    has_inputs = any(v.kind == "input" and v.time is not None for v in short.nodes)
    parts += _axis(plan, style, None if has_inputs else tokens, left)
    if gradients and graph.level == "cell":
        parts += _heat(plan, whole, look, left)
    return finished(parts, graph, whole, look, title or _title(plan, graph), style)


def _refuse_huge(count: int) -> None:
    if count > LARGEST:
        raise ValueError(
            f"expected at most {LARGEST:,} vertices and edges to draw, got {count:,}: fold the steps (fold=, "
            "with focus= for those to keep), draw a coarser level=, or a part by Graph.window"
        )


class _Planned(NamedTuple):
    """The plan, what of the network was laid out for it, and the copies that complete it."""

    plan: Grid
    short: Folded
    laid: Sequence[int]
    """Indices of the links laid out."""
    runs: Sequence[alike.Run]
    weights: set[str]
    """The parameters on rails."""
    beside: Mapping[str, str]
    """The other parameters, each with the operation that it stands in front of."""
    initial: set[str]


def _planned(whole: Folded) -> _Planned:
    short, laid, runs = alike.thinned(whole)
    (weights, beside), initial = rail.parameters(short), rail.initial_states(short)
    before = rail.stacks(beside, {v.id: v for v in short.nodes})
    room = {user: rail.room(width, names) for user, (width, names) in before.items()}
    plan = grid(short, {*weights, *beside, *initial}, room)
    if not alike.fits(plan, runs):
        short, laid, runs = whole, [*range(len(whole.links))], []
        plan = grid(short, {*weights, *beside, *initial}, room)
    alike.place(plan, runs)
    rail.place_beside(plan.place, before)
    plan.home.update((weight, plan.home[user]) for weight, user in beside.items())
    return _Planned(plan, short, laid, runs, weights, beside, initial)


def _with_tokens(short: Folded, tokens: Sequence[str] | None) -> Folded:
    """The token of its step as the label of every input."""
    if tokens is None:
        return short
    nodes = tuple(
        v._replace(label=shown(tokens[v.time]))
        if v.kind == "input" and v.time is not None and 0 <= v.time < len(tokens)
        else v
        for v in short.nodes
    )
    return replace(short, nodes=nodes)


def _nodes(twins: Sequence[Vertex], rect: Rect, shifts: Sequence[float], look: Look) -> Iterator[Part]:
    """The boxes of vertices that look alike, with tabs in the colours of their gradients."""
    v = twins[0]
    box = node_box(v, rect, look.style)
    if v.op == "cell" and (not v.label or text_width(v.label, 15) > 40):
        box.size = 15.0
        labels = ["h" + str(v.time).translate(SUBSCRIPT) for v in twins]
    else:
        labels = [caption(v, rect.width, box.size) for v in twins]
    columns: dict[str, Sequence[Any]] = {
        "id": [v.id for v in twins],
        "label": labels,
        "classes": [classes(v) for v in twins],
        "title": [describe(v) for v in twins],
    }
    yield Copies(box, shifts, columns)
    if v.kind in ("gate", "state"):
        yield from look.tabs(box, [v.norm for v in twins], shifts)


def _fold(v: Vertex, rect: Rect, fold: Fold, look: Look) -> Iterator[Element]:
    """A fold's box: its range, its numbers, and per bin the largest norm over the median."""
    box, inner = node_box(v, rect, look.style), v.layer is not None
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


def _frames(plan: Grid, style: Style) -> Iterator[Part]:
    """A band behind every other column, and a frame around each open cell."""
    low, high = 22.0, plan.top + 24.0
    for width, slots in _by_width(plan.slots[::2] if len(plan.slots) > 1 else []):
        x, y = slots[0].x, (low + high) / 2
        band = Group("", x, y, width, high - low, style["band"], classes=("column",))
        yield Copies(band, [slot.x - x for slot in slots])
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


def _by_width(slots: Sequence[Slot]) -> Iterator[tuple[float, Sequence[Slot]]]:
    """The columns of each width."""
    found: dict[float, list[Slot]] = {}
    for slot in slots:
        found.setdefault(slot.width, []).append(slot)
    yield from found.items()


def _axis(plan: Grid, style: Style, tokens: Sequence[str] | None, left: float) -> Iterator[Part]:
    """The time under each column, and the tokens where no input box can hold them."""
    yield Text(left, 2, "time t", style["quiet"], 11, "start", classes=("axis",))
    first, shifts = plan.slots[0].x, [slot.x - plan.slots[0].x for slot in plan.slots]
    times = [str(s.time) if s.last == s.time else f"{s.time} … {s.last}" for s in plan.slots]
    time = Text(first, 2, max(times, key=len), style["quiet"], 11, classes=("axis",))
    yield Copies(time, shifts, {"text": times})
    for slot in plan.slots:
        if tokens is not None and slot.last == slot.time and 0 <= slot.time < len(tokens):
            yield Text(
                slot.x,
                22,
                fit(shown(tokens[slot.time]), slot.width - 6, 14),
                style["ink"],
                14,
                bold=True,
                classes=("token",),
            )


def _heat(plan: Grid, whole: Folded, look: Look, left: float) -> Iterator[Part]:
    """‖∂L/∂h_t‖ of every row, each step under its column; a fold's bins under the fold."""
    style, count = look.style, len(plan.rows)
    nothing: tuple[str, ...] = ("none",)
    colours = {slot.time: [nothing] * count for slot in plan.slots}
    for v in whole.nodes:
        if v.layer is not None and v.id in plan.home:
            row, column = plan.home[v.id]
            norms = [high for _, high in whole.folds[v.id].bins] if v.id in whole.folds else [v.norm]
            colours[plan.slots[column].time][int(row)] = (*map(look.heat, norms),)
    y = -14.0 - count * HEAT
    for width, slots in _by_width(plan.slots):
        times = [slot.time for slot in slots]
        columns: dict[str, Sequence[Any]] = {
            "id": [f"heat.t{t}" for t in times],
            "colours": [tuple(colours[t]) for t in times],
            "classes": [("heat", f"t-{t}") for t in times],
            "title": [f"‖∂L/∂h‖ at t = {t}, lowest layer below" for t in times],
        }
        strip = Strip("", slots[0].left, y, width, count * HEAT, ())
        yield Copies(strip, [slot.left - strip.x for slot in slots], columns)
    width, middle = plan.right - plan.slots[0].left, (plan.right + plan.slots[0].left) / 2
    y_middle, line = y + count * HEAT / 2, style["faint"]
    yield Box("", middle, y_middle, width, count * HEAT, "", "box", line=line, weight=1.0, classes=("mark",))
    for row, (layer, direction) in enumerate(plan.rows):
        arrow = "←" if direction == "reverse" else "→"
        yield Text(left, y + row * HEAT + 2, f"‖∂L/∂h‖ {layer} {arrow}", style["quiet"], 9, "start")


def _title(plan: Grid, graph: Graph) -> str:
    count = len({layer for layer, _ in plan.rows})
    both = "bidirectional, " if plan.halves == 2 else ""
    steps = plan.slots[-1].last - plan.slots[0].time + 1
    words = f"{count} layer{'s' * (count > 1)}, {steps} step{'s' * (steps > 1)}"
    return f"{both}{words}, {graph.level} level".capitalize()
