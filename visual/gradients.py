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
from itertools import chain

from visual.fold import Fold, Link
from visual.paths import Curve, Wire, middle
from visual.picture import Arrow, Box, Dash, Element, Head, Text, bezier
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
            return self.style.ramp[bisect(self._steps, norm)]
        seen = look(norm)
        return self.style[{"missing": "faint", "zero": "zero", "broken": "alarm"}[seen]]

    @cached_property
    def _wider(self) -> float:
        return (WIDE - THIN) / (self.widest or 1.0)

    @cached_property
    def _steps(self) -> list[float]:
        colours = len(self.style.ramp)
        return self.scale.steps(colours) if self.scale else [0.0] * (colours - 1)

    def heat(self, norm: float | None) -> str:
        """The same on a heatmap, where what was not computed stays empty and an exact zero is faint."""
        seen = look(norm)
        return "none" if seen == "missing" else self.style["faint"] if seen == "zero" else self.colour(norm)

    def edge(self, link: Link, name: str, wire: Wire, dx: float = 0.0) -> list[Element]:
        """The forward arrow and, where gradients are drawn, BPTT's beside it; both moved right by `dx`."""
        source, target, _, _, cut, norm, share = link.edge
        if not self.gradients or cut or norm is None:
            return self._unmeasured(link, name, wire, dx)
        ahead, back = wire.ahead, wire.back
        grey = self.style.table["forward"]
        forward = Arrow(name, source, target, ahead, grey, THIN, SOLID, FULL, FORWARD, "", dx)
        seen, colour, said = look(norm), self.colour(norm), describe(link)
        width, dash, head = THIN, SOLID, FULL
        marks: list[Element] = []
        if seen == "number":
            share = share or 0.0
            if math.isfinite(share):
                width = tenths(min(THIN + self._wider * abs(share), WIDE))
            dash = "dotted" if share < 0.0 else "dashed"
        elif seen == "zero":
            head = "open"
        else:
            width = 3.0
            marks.append(self._word(back, number(norm), dx))
        classes = BACKWARD[seen]
        backward = Arrow(f"{name}.g", target, source, back, colour, width, dash, head, classes, said, dx)
        return [forward, *marks, backward]

    def _word(self, curve: Curve, said: str, dx: float) -> Text:
        """What is wrong with a gradient, on that side of its arrow where the data does not run."""
        (x, y), across, up = middle(curve), curve[-1][0] - curve[0][0], curve[-1][1] - curve[0][1]
        alarm, classes = self.style["alarm"], ("mark",)
        if abs(up) <= abs(across):
            return Text(x + dx, y + (7 if across > 0 else -13), said, alarm, 10, "middle", True, classes)
        if up > 0:
            return Text(x + dx - 6, y - 3, said, alarm, 10, "end", True, classes)
        return Text(x + dx + 6, y - 3, said, alarm, 10, "start", True, classes)

    def _unmeasured(self, link: Link, name: str, wire: Wire, dx: float) -> list[Element]:
        """The forward arrow alone: BPTT was cut here, or not computed, or is not asked for."""
        e, style, curve = link.edge, self.style, wire.alone
        marks: list[Element] = []
        colour, width, dash, classes = style["forward"], THIN, SOLID, FORWARD
        if e.cut:
            colour, width, classes = style["cut"], 1.3, ("edge", "cut")
            x, y = middle(curve)
            marks.append(Text(x + dx, y - 4.5, "✂", colour, 13, classes=("mark",)))
        elif self.gradients and look(e.norm) == "missing":
            colour, dash, classes = style["faint"], "dotted", ("edge", "forward", "missing")
        said = describe(link)
        return [*marks, Arrow(name, e.source, e.target, curve, colour, width, dash, FULL, classes, said, dx)]

    def bar(self, link: Link, name: str, x: float, y: float) -> Arrow:
        """One step's share in a weight's gradient, standing on the rail at (x, y)."""
        source, target, _, _, _, norm, _ = link.edge
        seen = look(norm) if self.gradients else ""
        height = HEIGHTS.get(seen) or max(2.0, TALLEST * (norm or 0.0) / (self.tallest or 1.0))
        colour = self.colour(norm) if seen else self.style["weight"]
        dash: Dash = "dotted" if seen == "missing" else "solid"
        curve, said = _upright(tenths(height)), describe(link, "‖dW_t‖")
        return Arrow(name, source, target, curve, colour, 3.0, dash, "none", WEIGHT[seen], said, x, y)

    def tab(self, box: Box, norm: float | None) -> Box | None:
        """A tab on a box's upper left corner in the colour of ‖∂L/∂value‖; none where it was not computed."""
        if not self.gradients or look(norm) == "missing":
            return None
        fill = self.colour(norm) if look(norm) != "zero" else "none"
        return Box(
            "",
            box.x - box.width / 2 + 7,
            box.y + box.height / 2 + 4,
            10,
            5,
            "",
            "box",
            fill,
            self.colour(norm),
            weight=0.8,
            classes=("mark", "norm"),
        )


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
    known = [*_numbers(chain(norms, hidden, (e.norm for e in alone)))]
    widest = max(_numbers(map(abs, (link.edge.projection or 0.0 for link in links))), default=0.0)
    tallest = max(_numbers(on_rail), default=0.0)
    return Look(style, gradients, scale_of(min(known, default=0.0), max(known, default=0.0)), widest, tallest)


def _numbers(norms: Iterable[float | None]) -> Iterator[float]:
    return (n for n in norms if n is not None and 0.0 < n < math.inf)


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
