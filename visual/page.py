"""What every picture of a graph has in common: its boxes, frames and words, and the page around them.

A layout decides where things stand; `finished` then adds the title above and the key below and moves all of
it onto the page, with a text table beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from tinygrad_rnn.trace import Graph, Vertex
from visual import rail
from visual.cells import WORDS, label
from visual.fold import Fold, Folded, Link
from visual.gradients import Look
from visual.grid import Rect
from visual.legend import legend
from visual.paths import Route
from visual.picture import (
    Arrow,
    Box,
    Copies,
    Element,
    Group,
    Part,
    Picture,
    Strip,
    Text,
    fit,
    moved,
    text_width,
)
from visual.style import Style, number

MARGIN = 28.0
NARROWEST = 560.0
"""A picture is at least so wide, so that its key has room."""


def finished(parts: list[Part], graph: Graph, short: Folded, look: Look, title: str, style: Style) -> Picture:
    """Title above, key below, everything moved so that the page begins at (0, 0)."""
    left, bottom, right, top = _extent(parts)
    right = max(right, left + NARROWEST)
    kinds = {v.kind for v in short.nodes}
    bars = any(isinstance(part, Copies) and "weight" in part.of.classes for part in parts)
    strip = bool(short.times) and graph.level == "cell"
    cuts = any(link.edge.cut for link in short.links)
    key, height = legend(look, sorted(kinds), bars, cuts, strip, min(right - left, 1400.0))
    notes = [*graph.notes]
    if look.gradients and look.scale is None and "gradients not computed" not in notes:
        notes.append("gradients not computed")
    head = 34.0 + 16.0 * len(notes)
    bottom -= height + 22.0
    parts = [*parts, *(moved(e, left, bottom + height) for e in key)]
    parts.append(Text(left, top + head - 8, title, style["ink"], 17, "start", bold=True, classes=("title",)))
    for k, note in enumerate(notes):
        parts.append(
            Text(left, top + head - 27 - 16 * k, note, style["quiet"], 11, "start", classes=("note",))
        )
    top += head + 10
    dx, dy = MARGIN - left, MARGIN - bottom
    for part in parts:
        e = part.of if isinstance(part, Copies) else part
        e.x += dx
        e.y += dy
    desc = f"{len(short.nodes)} nodes and {len(short.links)} edges at {graph.level} level. " + " ".join(notes)
    return Picture(
        right - left + 2 * MARGIN,
        top - bottom + 2 * MARGIN,
        tuple(parts),
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
    names = [f"{link.edge.source}--{link.edge.target}" for link in links]
    if len({*names}) < len(names):
        for k, name in enumerate(names):
            seen[name] = seen.get(name, -1) + 1
            names[k] = f"{name}--{seen[name]}" if seen[name] else name
    return names


def node_box(v: Vertex, rect: Rect, style: Style) -> Box:
    """The box of a vertex, without what only its view adds."""
    fill, line = style.kind(v.kind)
    size = 10.0 if v.kind == "parameter" else 13.0 if v.kind == "input" else 11.0
    if v.kind in ("cell", "gate", "state") and text_width(label(v), 15.0) <= rect.width - 6:
        size = 15.0
    return Box(
        v.id,
        rect.x,
        rect.y,
        rect.width,
        rect.height,
        caption(v, rect.width, size),
        "box" if v.kind in ("op", "constant") else "round",
        fill,
        line,
        style["ink"],
        size,
        dash="dashed" if v.backward else "solid",
        classes=classes(v),
        title=describe(v),
    )


def caption(v: Vertex, width: float, size: float) -> str:
    """What stands in a vertex's box of this width, at this font size."""
    return fit(rail.short(v) if v.kind == "parameter" else label(v), width - 6, size)


def classes(v: Vertex) -> tuple[str, ...]:
    """The class tokens of a vertex."""
    found = _classes(v.kind, v.layer, v.direction)
    found += () if v.time is None else (f"t-{v.time}",)
    return found + ((f"gate-{v.gate}",) if v.gate else ())


@lru_cache(maxsize=1 << 10)
def _classes(kind: str, layer: int | None, direction: str | None) -> tuple[str, ...]:
    found = ["node", f"kind-{kind}"]
    found += [f"layer-{layer}"] if layer is not None else []
    found += [f"dir-{'rev' if direction == 'reverse' else 'fwd'}"] if direction else []
    return tuple(found)


def describe(v: Vertex) -> str:
    """A vertex in words, for its title."""
    words = [v.id, *_about(v.gate, v.formula, v.rules, v.shape, v.dtype)]
    if v.value:
        words.append(", ".join(f"{name} {number(value)}" for name, value in v.value.items()))
    if v.norm is not None:
        words.append(f"‖∂L/∂value‖ = {number(v.norm)}")
    return "; ".join(words)


@lru_cache(maxsize=1 << 10)
def _about(
    gate: str | None, formula: str, rules: tuple[str, ...], size: tuple[int, ...], dtype: str
) -> tuple[str, ...]:
    """What is said of a vertex at every step."""
    words = (WORDS.get(gate or "", ""), formula, *rules, shape(size), dtype)
    return tuple(filter(None, words))


class Block(NamedTuple):
    """A frame around the parts of a module, where nothing else stands in it."""

    name: str
    rect: Rect
    inside: Collection[str]

    def drawn(self, style: Style) -> Iterator[Element]:
        """The frame with its name in the corner."""
        name, quiet, left, top = self.name, style["quiet"], self.rect.left, self.rect.top
        yield Group(f"block.{name}", *self.rect, "none", quiet, "dotted", ("block",), name)
        yield Text(left + 8, top - 12, name, quiet, 11, "start", bold=True, classes=("block",))


def blocks(
    nodes: Sequence[Vertex],
    place: Mapping[str, Rect],
    beside: Mapping[str, str],
    routes: Iterable[tuple[str, str, Route]],
) -> list[Block]:
    """The modules outside the rows of which several parts are drawn, with the ways between these."""
    parts: dict[str, set[str]] = {}
    loose: dict[str, set[str]] = {}
    for v in nodes:
        if v.time is not None or v.kind in ("constant", "input") or v.id not in place:
            continue
        if f"{v.module}.".startswith(f"{v.id}."):
            parts.setdefault(v.id.rpartition(".")[0], set()).add(v.id)
        else:
            loose.setdefault(v.module, set()).add(v.id)
    for name, inside in loose.items():
        if name not in parts or len(parts[name]) > 1:
            parts.setdefault(name, set()).update(inside)
    parts.pop("", None)
    owner = {part: name for name, inside in parts.items() for part in inside}
    corners: dict[str, list[float]] = {}
    for source, target, route in routes:
        if source in owner and owner[source] == owner.get(target):
            corners.setdefault(owner[source], []).extend(x for x, _ in route)
    found = []
    for name, inside in parts.items():
        if len(inside) < 2:
            continue
        inside |= {weight for weight, user in beside.items() if user in inside}
        rects = [place[part] for part in inside]
        left = min([r.left for r in rects] + corners.get(name, [])) - 10
        right = max([r.right for r in rects] + corners.get(name, [])) + 10
        bottom, top = min(r.bottom for r in rects) - 8, max(r.top for r in rects) + 18
        if not any(
            r.right >= left and r.left <= right and r.top >= bottom and r.bottom <= top
            for other, r in place.items()
            if other not in inside
        ):
            rect = Rect((left + right) / 2, (bottom + top) / 2, right - left, top - bottom)
            found.append(Block(name, rect, inside))
    return found


def named_within(nodes: Iterable[Vertex], found: Iterable[Block]) -> dict[str, Vertex]:
    """The vertices by their ids; what stands in a frame does not repeat its name."""
    frame = {part: block.name for block in found for part in block.inside}
    return {v.id: v._replace(label=v.label.removeprefix(f"{frame.get(v.id)}.")) for v in nodes}


def _extent(parts: Iterable[Part]) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of everything drawn, and of (0, 0)."""
    lefts, bottoms, rights, tops = [0.0], [0.0], [0.0], [0.0]
    for part in parts:
        e, shifts = (part.of, part.shifts) if isinstance(part, Copies) else (part, (0.0,))
        left, bottom, right, top = _reach(e)
        lefts.append(e.x + left + min(shifts))
        bottoms.append(e.y + bottom)
        rights.append(e.x + right + max(shifts))
        tops.append(e.y + top)
    return min(lefts), min(bottoms), max(rights), max(tops)


def _reach(e: Element) -> tuple[float, float, float, float]:
    """How far an element reaches from its own place: left, bottom, right and top."""
    match e:
        case Arrow():
            xs, ys = zip(*e.curve, strict=True)
            return min(xs), min(ys), max(xs), max(ys)
        case Text():
            width = text_width(e.text, e.size)
            start = {"start": 0.0, "middle": -0.5, "end": -1.0}[e.anchor]
            return start * width, -e.size * 0.3, (1 + start) * width, e.size
        case Strip():
            return 0.0, 0.0, e.width, e.height
    return -e.width / 2, -e.height / 2, e.width / 2, e.height / 2


def shape(size: Sequence[int]) -> str:
    """A shape in words."""
    return " × ".join(map(str, size))


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
