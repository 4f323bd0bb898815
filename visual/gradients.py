"""How an edge looks: data forward, the gradient beside it, and four looks that are never mixed up.

Vectors add, their norms don't. So an edge's colour is ‖g_edge‖ on a log scale, and its width is the part of
the gradient that it brings, |⟨g_edge, g⟩|/‖g‖, with the sign in the line style: the signed widths into one
target sum to its ‖g‖.

"Not computed", exactly zero, NaN or infinite, and cut are no small numbers: each has a look of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tinygrad_rnn.trace import Edge
from visual.fold import Fold, Link
from visual.paths import Route, beside, middle, smooth
from visual.picture import Arrow, Box, Dash, Element, Text, bezier
from visual.style import Scale, Style, look, number, scale_of

THIN, WIDE = 1.0, 5.5
BESIDE = 3.5
"""Half the distance between the forward arrow and the gradient's."""
TALLEST = 15.0
"""Height of the tallest bar on a weight's rail."""


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
        match look(norm):
            case "missing":
                return self.style["faint"]
            case "zero":
                return self.style["zero"]
            case "broken":
                return self.style["alarm"]
            case _:
                return self.style.shade(self.scale.share(norm or 1.0) if self.scale else 1.0)

    def edge(self, link: Link, name: str, route: Route, stub: Route | None = None) -> Iterator[Element]:
        """The forward arrow on the route and, where gradients are drawn, BPTT's beside it (or the stub)."""
        e, style = link.edge, self.style
        said = describe(link)
        if not self.gradients:
            yield from self._forward(link, name, route, said)
            return
        seen = look(e.norm)
        if e.cut or seen == "missing":
            yield from self._forward(link, name, route, said)
            return
        yield from self._forward(link, name, beside(route, BESIDE), said)
        back = beside(list(reversed(stub or route)), BESIDE)
        dash: Dash = "dashed" if (e.projection or 0.0) >= 0.0 else "dotted"
        width = THIN + (WIDE - THIN) * min(abs(e.projection or 0.0) / (self.widest or 1.0), 1.0)
        arrow = Arrow(
            f"{name}.g",
            e.target,
            e.source,
            smooth(back),
            self.colour(e.norm),
            width,
            dash,
            classes=("edge", "backward", seen),
            title=said,
        )
        if seen == "zero":
            arrow = replace(arrow, width=THIN, dash="solid", head="open")
        if seen == "broken":
            arrow = replace(arrow, width=3.0, dash="solid")
            x, y = middle(arrow.points)
            yield Text(x, y + 7, number(e.norm), style["alarm"], 10, bold=True, classes=("mark",))
        yield arrow

    def _forward(self, link: Link, name: str, route: Route, said: str) -> Iterator[Element]:
        e, style = link.edge, self.style
        points = smooth(route)
        if e.cut:
            yield Arrow(
                name, e.source, e.target, points, style["cut"], 1.3, classes=("edge", "cut"), title=said
            )
            x, y = middle(points)
            yield Text(x, y - 4.5, "✂", style["cut"], 13, classes=("mark",))
            return
        missing = self.gradients and look(e.norm) == "missing"
        yield Arrow(
            name,
            e.source,
            e.target,
            points,
            style["faint"] if missing else style["forward"],
            THIN,
            "dotted" if missing else "solid",
            classes=("edge", "forward", *(["missing"] if missing else [])),
            title=said,
        )

    def bar(self, link: Link, name: str, x: float, y: float) -> Arrow:
        """One step's share in a weight's gradient, standing on the rail at (x, y)."""
        e, style = link.edge, self.style
        height, colour = 5.0, style["weight"]
        seen = look(e.norm)
        if self.gradients:
            colour = self.colour(e.norm)
            if seen == "number":
                height = max(2.0, TALLEST * (e.norm or 0.0) / (self.tallest or 1.0))
            elif seen == "broken":
                height = TALLEST
            elif seen == "zero":
                height = 1.0
        points = bezier([(x, y), (x, y + height)])
        classes = ("edge", "weight", *([seen] if self.gradients else []))
        dash: Dash = "dotted" if seen == "missing" and self.gradients else "solid"
        return Arrow(
            name, e.source, e.target, points, colour, 3.0, dash, "none", classes, describe(link, "‖dW_t‖")
        )

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


def measure(
    style: Style,
    gradients: bool,
    links: Iterable[Link],
    norms: Iterable[float | None],
    folds: Iterable[Fold],
    weights: frozenset[str],
) -> Look:
    """The picture's common scales, over everything that it will draw, hidden steps included."""
    low, high, widest, tallest = math.inf, 0.0, 0.0, 0.0
    for link in links:
        e = link.edge
        spread = link.spread
        known = [e.norm] if spread is None else [spread.low, spread.high]
        for n in known:
            if n is not None and 0.0 < n < math.inf:
                low, high = min(low, n), max(high, n)
                if e.source in weights:
                    tallest = max(tallest, n)
        if e.projection is not None and math.isfinite(e.projection):
            widest = max(widest, abs(e.projection))
    hidden = [n for fold in folds for n in (fold.norms.low, fold.norms.high)]
    for n in [*norms, *hidden]:
        if n is not None and 0.0 < n < math.inf:
            low, high = min(low, n), max(high, n)
    return Look(style, gradients, scale_of(low, high), widest, tallest)


def describe(link: Link, norm: str = "‖g_edge‖") -> str:
    """An edge in words, for its title."""
    e: Edge = link.edge
    words = f"{e.source} → {e.target}" + (f" via {e.via}" if e.via else "")
    if e.cut:
        return f"{words}; cut: forward passes, BPTT stops"
    if link.spread is not None:
        return f"{words}; {link.spread.count} edges, {norm} {link.spread}"
    if e.norm is None:
        return f"{words}; gradient not computed"
    share = "" if e.projection is None else f", projection {e.projection:+.3g}"
    return f"{words}; {norm} = {number(e.norm)}{share}"
