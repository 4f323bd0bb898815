"""How an edge looks: data forward, the gradient beside it, and four looks that are never mixed up.

Vectors add, their norms don't. So an edge's colour is ‖g_edge‖ on a log scale, and its width is the part of
the gradient that it brings, |⟨g_edge, g⟩|/‖g‖, with the sign in the line style: the signed widths into one
target sum to its ‖g‖.

"Not computed", exactly zero, NaN or infinite, and cut are no small numbers: each has a look of its own.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from tinygrad_rnn.trace import Edge
from visual.fold import Fold, Link
from visual.paths import Curve, Wire, middle
from visual.picture import Arrow, Box, Copies, Dash, Head, Text, bezier
from visual.style import Scale, Style, look, number, scale_of

THIN, WIDE = 1.0, 5.5
TALLEST = 15.0
"""Height of the tallest bar on a weight's rail."""
HEIGHTS = {"": 5.0, "missing": 5.0, "zero": 1.0, "broken": TALLEST}
"""Height of a bar without a number to show, by what its norm looks like."""

SOLID: Dash = "solid"
FULL: Head = "full"
FORWARD: tuple[str, ...] = ("edge", "forward")
LOOKS = ("", "number", "zero", "broken", "missing")
BACKWARD = {seen: ("edge", "backward", seen) for seen in LOOKS}
WEIGHT = {seen: ("edge", "weight", seen)[: 3 if seen else 2] for seen in LOOKS}
"""The classes of arrows by what their norm looks like, "" where gradients are not drawn."""
ALONE: dict[str, tuple[str, float, Dash, tuple[str, ...]]] = {
    "": ("forward", THIN, SOLID, FORWARD),
    "cut": ("cut", 1.3, SOLID, ("edge", "cut")),
    "missing": ("faint", THIN, "dotted", ("edge", "forward", "missing")),
}
"""Where the data's arrow has no gradient's beside it: its colour's name, width, dash and classes."""


@dataclass(frozen=True)
class Look:
    """The scales that all edges of one picture share, and whether gradients are drawn at all."""

    style: Style
    gradients: bool
    scale: Scale | None = None
    widest: float = 0.0
    tallest: float = 0.0
    """The largest |projection| and the largest ‖dW_t‖."""

    def colour(self, norm: float | None) -> str:
        """The colour of a norm on its four-look scale."""
        if norm is not None and 0.0 < norm < math.inf:
            return self._shades([norm])[0]
        seen = look(norm)
        return self.style[{"missing": "faint", "zero": "zero", "broken": "alarm"}[seen]]

    def _shades(self, norms: Sequence[float | None]) -> list[str]:
        """The colours of norms that are numbers."""
        ramp, steps = self.style.ramp, self._steps
        return [ramp[bisect(steps, norm)] for norm in norms if norm is not None]

    @cached_property
    def _wider(self) -> float:
        return (WIDE - THIN) / (self.widest or 1.0)

    @cached_property
    def _steps(self) -> list[float]:
        colours = len(self.style.ramp)
        return self.scale.steps(colours) if self.scale else [0.0] * (colours - 1)

    def heat(self, norm: float | None) -> str:
        """The same on a heatmap, where what was not computed stays empty and an exact zero is faint."""
        return "none" if norm is None else self.colour(norm) if norm else self.style["faint"]

    def edges(
        self, links: Sequence[Link], names: Sequence[str], wire: Wire, shifts: Sequence[float] = (0.0,)
    ) -> Iterator[Copies]:
        """An edge, at each of its steps moved right by a shift: the data's arrow, and the gradient's."""
        looks = [self._seen(link.edge) for link in links]
        for seen, group, ids, places in _by_look(looks, links, names, shifts):
            drawn = self._alone if seen in ALONE else self._both
            yield from drawn(seen, group, ids, wire, places)

    def _seen(self, e: Edge) -> str:
        return "cut" if e.cut else look(e.norm) if self.gradients else ""

    def _alone(
        self, seen: str, links: Sequence[Link], names: Sequence[str], wire: Wire, shifts: Sequence[float]
    ) -> Iterator[Copies]:
        """Forward arrows alone: BPTT was cut here, or not computed, or is not asked for."""
        name, width, dash, classes = ALONE[seen]
        colour, curve = self.style[name], wire.alone
        if seen == "cut":
            x, y = middle(curve)
            yield Copies(Text(x, y - 4.5, "✂", colour, 13, classes=("mark",)), shifts)
        arrow = Arrow("", "", "", curve, colour, width, dash, FULL, classes)
        yield Copies(arrow, shifts, {**_ends(links, names), "title": [describe(link) for link in links]})

    def _both(
        self, seen: str, links: Sequence[Link], names: Sequence[str], wire: Wire, shifts: Sequence[float]
    ) -> Iterator[Copies]:
        """Forward arrows with BPTT's beside them."""
        ends, norms = _ends(links, names), [link.edge.norm for link in links]
        grey, classes = self.style["forward"], BACKWARD[seen]
        yield Copies(Arrow("", "", "", wire.ahead, grey, THIN, SOLID, FULL, FORWARD), shifts, ends)
        arrow = Arrow("", "", "", wire.back, self.colour(norms[0]), THIN, SOLID, FULL, classes)
        columns: dict[str, Sequence[Any]] = {
            "id": [f"{name}.g" for name in names],
            "source": ends["target"],
            "target": ends["source"],
            "title": [describe(link) for link in links],
        }
        if seen == "number":
            shares = [link.edge.projection or 0.0 for link in links]
            columns["colour"] = self._shades(norms)
            columns["width"] = [self._width(share) for share in shares]
            columns["dash"] = ["dotted" if share < 0.0 else "dashed" for share in shares]
        elif seen == "zero":
            arrow.head = "open"
        else:
            arrow.width, words = 3.0, [number(norm) for norm in norms]
            yield Copies(self._word(wire.back, max(words, key=len)), shifts, {"text": words})
        yield Copies(arrow, shifts, columns)

    def _width(self, share: float) -> float:
        return tenths(min(THIN + self._wider * abs(share), WIDE)) if math.isfinite(share) else THIN

    def _word(self, curve: Curve, said: str) -> Text:
        """What is wrong with a gradient, on that side of its arrow where the data does not run."""
        (x, y), across, up = middle(curve), curve[-1][0] - curve[0][0], curve[-1][1] - curve[0][1]
        alarm, classes = self.style["alarm"], ("mark",)
        if abs(up) <= abs(across):
            return Text(x, y + (7 if across > 0 else -13), said, alarm, 10, "middle", True, classes)
        if up > 0:
            return Text(x - 6, y - 3, said, alarm, 10, "end", True, classes)
        return Text(x + 6, y - 3, said, alarm, 10, "start", True, classes)

    def bars(
        self, links: Sequence[Link], names: Sequence[str], x: float, y: float, shifts: Sequence[float]
    ) -> Iterator[Copies]:
        """Steps' shares in a weight's gradient, standing on the rail: at (x, y), and right of that."""
        looks = [look(link.edge.norm) if self.gradients else "" for link in links]
        for seen, group, ids, places in _by_look(looks, links, names, shifts):
            norms = [link.edge.norm for link in group]
            columns: dict[str, Sequence[Any]] = _ends(group, ids)
            columns["title"] = [describe(link, "‖dW_t‖") for link in group]
            colour = self.colour(norms[0]) if seen else self.style["weight"]
            height, dash = HEIGHTS.get(seen, 0.0), "dotted" if seen == "missing" else SOLID
            if seen == "number":
                heights = [self._height(norm or 0.0) for norm in norms]
                height = max(heights)
                columns["colour"] = self._shades(norms)
                columns["curve"] = [*map(_upright, heights)]
            curve = _upright(height)
            bar = Arrow("", "", "", curve, colour, 3.0, dash, "none", WEIGHT[seen], "", x, y)
            yield Copies(bar, places, columns)

    def _height(self, norm: float) -> float:
        return tenths(max(2.0, TALLEST * norm / (self.tallest or 1.0)))

    def tabs(self, box: Box, norms: Sequence[float | None], shifts: Sequence[float]) -> Iterator[Copies]:
        """Tabs on the upper left corner of `box` and its copies, in the colour of ‖∂L/∂value‖ where known."""
        some = [k for k, norm in enumerate(norms) if self.gradients and norm is not None]
        if not some:
            return
        lines = [self.colour(norms[k]) for k in some]
        x, y = box.x - box.width / 2 + 7, box.y + box.height / 2 + 4
        fills = [line if norms[k] else "none" for k, line in zip(some, lines, strict=True)]
        tab = Box("", x, y, 10, 5, "", "box", weight=0.8, classes=("mark", "norm"))
        yield Copies(tab, [shifts[k] for k in some], {"fill": fills, "line": lines})


def _by_look(
    looks: Sequence[str], links: Sequence[Link], names: Sequence[str], shifts: Sequence[float]
) -> Iterator[tuple[str, list[Link], list[str], list[float]]]:
    """Each look with the links, names and shifts that have it."""
    for seen in dict.fromkeys(looks):
        some = [k for k, other in enumerate(looks) if other == seen]
        yield seen, [links[k] for k in some], [names[k] for k in some], [shifts[k] for k in some]


def _ends(links: Sequence[Link], names: Sequence[str]) -> dict[str, Sequence[Any]]:
    """The columns of forward arrows."""
    edges = [link.edge for link in links]
    return {"id": names, "source": [e.source for e in edges], "target": [e.target for e in edges]}


def tenths(length: float) -> float:
    """The length to a tenth of a point, so that equal strokes can be shared."""
    return int(length * 10 + 0.5) / 10


@lru_cache(maxsize=256)
def _upright(height: float) -> Curve:
    return bezier([(0.0, 0.0), (0.0, height)])


def measure(
    style: Style,
    gradients: bool,
    links: Sequence[Link],
    norms: Iterable[float | None],
    folds: Iterable[Fold],
    weights: frozenset[str],
) -> Look:
    """The picture's common scales, over everything that it will draw, hidden steps included."""
    spreads = [*(link.spread for link in links if link.spread), *(fold.norms for fold in folds)]
    hidden = [n for spread in spreads for n in (spread.low, spread.high)]
    alone = [link.edge for link in links if link.spread is None]
    on_rail = [e.norm for e in alone if e.source in weights]
    on_rail += [link.spread.high for link in links if link.spread and link.edge.source in weights]
    low, high = _range([*norms, *hidden, *(e.norm for e in alone)])
    _, widest = _range([link.edge.projection for link in links])
    _, tallest = _range(on_rail)
    return Look(style, gradients, scale_of(low, high), widest, tallest)


def _range(norms: Sequence[float | None]) -> tuple[float, float]:
    """The smallest and the largest magnitude of those that are numbers; 0, 0 where none is."""
    known = np.abs(np.array(norms, float))
    known = known[(known > 0.0) & (known < math.inf)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)


def describe(link: Link, norm: str = "‖g_edge‖") -> str:
    """An edge in words, for its title."""
    (source, target, via, _, cut, size, share), hidden = link
    words = f"{source} → {target} via {via}" if via and via != source else f"{source} → {target}"
    if cut:
        return f"{words}; cut: forward passes, BPTT stops"
    if hidden is not None:
        return f"{words}; {hidden.count} edges, {norm} {hidden}"
    if size is None:
        return f"{words}; gradient not computed"
    if share is None:
        return f"{words}; {norm} = {number(size)}"
    return f"{words}; {norm} = {number(size)}, projection {share:+.3g}"
