"""Two networks, or one network at two times, side by side: what is there only once, and what differs most.

Both are drawn at the same positions and on one colour scale, so that a colour means the same on either side
and the eye can jump from one to the other. What exists on one side only is marked there; of what exists on
both sides, the largest differences in norm are marked on the right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from tinygrad_rnn.trace import Edge, Graph, Vertex
from visual.fold import NOTABLE, Link, notable
from visual.gradients import measure
from visual.grid import inner_name
from visual.page import edge_names
from visual.paths import middle
from visual.picture import Arrow, Box, Element, Group, Picture, Text, moved
from visual.sources import graph_of
from visual.style import number
from visual.style import style as style_of
from visual.unroll import unrolled

SIDE_BY_SIDE = 760.0
"""Wider pictures stand one above the other."""
LOW = 20.0
"""Boxes no higher than this stand too close for words between them."""
SAME = 1e-6
"""Norms that differ by less, relatively, are the same."""


class Difference(NamedTuple):
    """One difference: `id` is a vertex's or an edge's; `what` says how they differ."""

    id: str
    what: str
    size: float
    """|log(norm on the right / norm on the left)|; infinite where only one side has it."""
    side: str = "b"
    """The side that bears the mark."""


def compare(
    a: Any,
    b: Any,
    names: tuple[str, str] = ("left", "right"),
    level: str | None = None,
    most: int = 5,
    theme: str = "light",
    title: str | None = None,
    style: Mapping[str, str] | None = None,
) -> Picture:
    """Two Flows, Graphs or scalar losses at the same positions and on one colour scale.

    What only one side has is marked, though not the edges of a vertex that is, and the `most` largest
    differences in norm. Open cells of two kinds, an LSTM's and a GRU's gates, each keep their own places.

    >>> from tinygrad_rnn.trace import Graph, Vertex
    >>> one = Graph((Vertex("x", "input", "input"),), ())
    >>> compare(one, one).rows[1]
    ('no difference', '', '', '')
    """
    if most < 0:
        raise ValueError(f"expected most of at least 0, got {most}")
    left, right = (graph_of(what, level, True) for what in (a, b))
    if left.level != right.level:
        raise ValueError(f"expected two graphs at one level, got {left.level!r} and {right.level!r}")
    table = style_of(theme, style)
    both = _joined(left, right), _joined(right, left, order=left)
    if _parts(left) != _parts(right):
        both = left, right
    found = differences(left, right)
    alone = {d.id for d in found if d.what.startswith("only")}
    marked = [d for d in found if "--" not in d.id or not alone.intersection(d.id.split("--")[:2])]
    shown = [d for d in marked if math.isinf(d.size)] + [d for d in marked if math.isfinite(d.size)][:most]
    focus = _open(both)
    shared = _look(both, table)
    pictures = []
    for graph, own in zip(both, (left, right), strict=True):
        whole = unrolled(graph, table, True, focus=focus, look=shared)
        pictures.append(_without(whole, _ids(graph) - _ids(own)))
    return _beside(pictures, names, shown, found, title or "What differs", table["alarm"], table["ink"])


def differences(a: Graph, b: Graph) -> list[Difference]:
    """What only one graph has, then what both have with different facts or norms, largest first."""
    left, right = dict(_facts(a)), dict(_facts(b))
    found = []
    for name in dict.fromkeys([*left, *right]):
        if name not in right:
            found.append(Difference(name, "only left", math.inf, "a"))
        elif name not in left:
            found.append(Difference(name, "only right", math.inf))
        else:
            (facts, norm), (other, after) = left[name], right[name]
            if facts != other:
                was, now = next(pair for pair in zip(facts, other, strict=True) if pair[0] != pair[1])
                found.append(Difference(name, f"{was} → {now}", math.inf))
            elif (size := _ratio(norm, after)) > SAME:
                found.append(Difference(name, _change(norm, after), size))
    return sorted(found, key=lambda d: -d.size)


def _ratio(a: float | None, b: float | None) -> float:
    if a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b)):
        return 0.0
    if not a or not b or not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(math.log(b / a))


def _change(a: float | None, b: float | None) -> str:
    if a and b and math.isfinite(a) and math.isfinite(b):
        return f"× {b / a:.3g}"
    return f"{number(a)} → {number(b)}"


def _key(e: Edge) -> tuple[str, str, str, int]:
    return e.source, e.target, e.via, e.slot


def _facts(graph: Graph) -> Iterator[tuple[str, tuple[tuple[str, ...], float | None]]]:
    """Each vertex and edge by its id, with what makes it what it is, and its norm."""
    for v in graph.nodes:
        yield v.id, ((v.op, v.formula, "×".join(map(str, v.shape))), v.norm)
    links = [Link(e) for e in graph.edges]
    for e, name in zip(graph.edges, edge_names(links), strict=True):
        yield name, (("cut" if e.cut else "passes", e.via), e.norm)


def _parts(graph: Graph) -> set[str]:
    """What stands in the graph's open cells: two kinds of cells have no places in common."""
    return {inner_name(v) for v in graph.nodes if v.layer is not None and v.time is not None}


def _ids(graph: Graph) -> set[str]:
    return {name for name, _ in _facts(graph)}


def _joined(own: Graph, other: Graph, order: Graph | None = None) -> Graph:
    """The union of both, in one order, with `own`'s norms; what it lacks has none."""
    first, second = (own, other) if order is None else (order, own)
    mine: dict[str, Vertex] = {v.id: v for v in own.nodes}
    nodes = {v.id: v._replace(norm=None) for v in [*first.nodes, *second.nodes]}
    nodes.update(mine)
    edges = {_key(e): e._replace(norm=None, projection=None) for e in [*first.edges, *second.edges]}
    edges.update({_key(e): e for e in own.edges})
    place = {name: k for k, name in enumerate(dict.fromkeys(v.id for v in [*first.nodes, *second.nodes]))}
    return Graph(
        tuple(sorted(nodes.values(), key=lambda v: place[v.id])), tuple(edges.values()), own.level, own.notes
    )


def _open(graphs: Iterable[Graph]) -> list[int]:
    """Steps that either side would keep open when folded, so that both fold alike."""
    groups = [group for graph in graphs for group in notable(graph).values()]
    return sorted({t for group in groups if len(group) <= NOTABLE for t in group})


def _look(graphs: Iterable[Graph], style: Any) -> Any:
    graphs = list(graphs)
    nodes = {v.id: v for graph in graphs for v in graph.nodes}
    links = [Link(e) for graph in graphs for e in graph.edges]
    weights = frozenset(v.id for v in nodes.values() if v.kind == "parameter")
    norms = [v.norm for graph in graphs for v in graph.nodes if v.time is not None]
    return measure(style, True, links, norms, (), weights)


def _without(picture: Picture, missing: set[str]) -> Picture:
    gone = missing | {f"{name}.g" for name in missing}
    kept = (e for e in picture.elements if isinstance(e, Text) or e.id not in gone)
    return replace(picture, parts=tuple(kept))


def _beside(
    pictures: list[Picture],
    names: tuple[str, str],
    shown: list[Difference],
    found: list[Difference],
    title: str,
    alarm: str,
    ink: str,
) -> Picture:
    """Both in one picture, with the marks; the key stands once, under the left or lower one."""
    one, two = pictures
    level = one.width <= SIDE_BY_SIDE
    spare = 0.0 if level else max((e.y for e in one.elements if "legend" in e.classes), default=0.0) + 12.0
    shift = (one.width, 0.0) if level else (0.0, two.height - spare)
    moves = ((0.0, 0.0), shift) if level else (shift, (0.0, 0.0))
    elements: list[Element] = []
    for k, (picture, (dx, dy)) in enumerate(zip(pictures, moves, strict=True)):
        side = "ab"[k]
        for e in picture.elements:
            if "title" in e.classes or ("legend" in e.classes and k == (1 if level else 0)):
                continue
            elements.append(moved(_prefixed(e, side), dx, dy))
        elements.append(Text(28 + dx, picture.height - 40 + dy, names[k], ink, 14, "start", bold=True))
        at = {e.id: e for e in picture.elements if not isinstance(e, Text) and e.id}
        for d in shown:
            marked = at.get(d.id)
            if d.side == side and marked is not None:
                elements += [moved(mark, dx, dy) for mark in _mark(marked, d, alarm)]
    height = (max(one.height, two.height) if level else one.height + two.height - spare) + 14.0
    elements.append(Text(28, height - 26, title, ink, 17, "start", bold=True, classes=("title",)))
    said = f"{len(found)} differences, {len(shown)} marked." if found else "No difference."
    rows = [("what", "how", "left to right", "marked")]
    for d in found:
        size = "" if math.isinf(d.size) else f"{d.size:.3g}"
        rows.append((d.id, d.what, size, "yes" if d in shown else ""))
    if not found:
        rows.append(("no difference", "", "", ""))
    return replace(
        one,
        width=one.width + two.width if level else max(one.width, two.width),
        height=height,
        parts=tuple(elements),
        title=title,
        desc=said,
        facts=lambda: rows,
    )


def _prefixed(e: Element, side: str) -> Element:
    if isinstance(e, Text) or not e.id:
        return e
    if isinstance(e, Arrow):
        return replace(e, id=f"{side}.{e.id}", source=f"{side}.{e.source}", target=f"{side}.{e.target}")
    return replace(e, id=f"{side}.{e.id}")


def _mark(e: Element, d: Difference, alarm: str) -> Iterator[Element]:
    said, classes = f"{d.id}: {d.what}", ("mark", "difference")
    if isinstance(e, Arrow) and "weight" in e.classes:
        x, y = e.points[0]
        yield Box("", x, y - 3.5, 3.6, 4, "", "box", alarm, alarm, classes=classes, title=said)
    elif isinstance(e, Arrow):
        x, y = middle(e.points)
        yield Box("", x, y, 15, 15, "≠", "circle", "none", alarm, alarm, 10, 1.8, classes=classes, title=said)
    elif isinstance(e, Box):
        space = 12 if e.height > LOW else 3
        yield Group("", e.x, e.y, e.width + space, e.height + space, "none", alarm, "dashed", classes, said)
        if e.height <= LOW:
            return
        short = d.what if len(d.what) < 22 else "differs"
        yield Text(e.x, e.y + e.height / 2 + 12, short, alarm, 9.5, classes=("mark",))
