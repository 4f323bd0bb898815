"""SVG without Graphviz: the picture's own positions, written out.

A machine without `dot` still gets its pictures, and a page gets one `<g>` per node and edge, with an id and
class tokens that a stylesheet, a link or a test can rely on. Labels come from users, so every text and every
attribute passes through `escape`, nothing is a link, and nothing is fetched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache

from visual.picture import Arrow, Box, Element, Group, Picture, Point, Strip, Text, plain


def write(picture: Picture) -> str:
    """The picture as an SVG document.

    >>> from visual.picture import Box
    >>> "<script>" in write(Picture(9, 9, (Box("a", 5, 5, 4, 4, "<script>"),)))
    False
    """
    width, height = number(picture.width), number(picture.height)
    prefix = escape(token(picture.prefix))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="{prefix}-title {prefix}-desc" '
        f'class="theme-{escape(token(picture.theme))}" font-family="{escape(picture.font)}">\n'
        f'<title id="{prefix}-title">{escape(picture.title)}</title>\n'
        f'<desc id="{prefix}-desc">{escape(picture.desc)}</desc>\n'
        f'<rect width="{width}" height="{height}" fill="{escape(picture.page)}"/>\n'
    )
    pen = _Pen(prefix, picture.height)
    return head + "\n".join(line for element in picture.elements for line in pen.draw(element)) + "\n</svg>\n"


_MARKUP = re.compile("[&<>\"']")


class _Pen:
    """Knows the page's height, because SVG's y runs down."""

    def __init__(self, prefix: str, height: float) -> None:
        self.prefix, self.height = prefix, height

    def draw(self, element: Element) -> Iterator[str]:
        match element:
            case Box():
                yield self.opening(element)
                yield self.frame(element) + self.label(element) + "</g>"
            case Arrow():
                yield self.opening(element)
                yield self.curve(element) + "</g>"
            case Group():
                yield self.opening(element)
                yield self.frame(element) + "</g>"
            case Strip():
                yield self.opening(element) + '<g shape-rendering="crispEdges">'
                for x, y, width, height, colour in element.cells():
                    yield self.rect(
                        x,
                        y,
                        min(width + 0.4, element.x + element.width - x),
                        height,
                        f'fill="{escape(colour)}"',
                    )
                yield "</g></g>"
            case Text():
                yield self.text(element)

    def opening(self, element: Box | Arrow | Group | Strip) -> str:
        name = f' id="{self.prefix}-{escape(token(element.id))}"' if element.id else ""
        classes = escape(" ".join(map(token, element.classes)))
        title = f"<title>{escape(element.title)}</title>" if element.title else ""
        return f'<g{name} class="{classes}">{title}'

    def frame(self, element: Box | Group) -> str:
        dash, width = "", 1.0
        if isinstance(element, Box):
            width = element.weight
        if element.dash != "solid":
            dash = f' stroke-dasharray="{dashes(element.dash, width)}"'
        colours = f'fill="{escape(element.fill)}" stroke="{escape(element.line)}"'
        paint = f'{colours} stroke-width="{number(width)}"{dash}'
        if isinstance(element, Box) and element.shape == "circle":
            x, y = self.place(element.x, element.y)
            return f'<circle cx="{x}" cy="{y}" r="{number(element.width / 2)}" {paint}/>'
        radius = 0 if isinstance(element, Box) and element.shape == "box" else min(7.0, element.height / 3)
        left, bottom = element.x - element.width / 2, element.y - element.height / 2
        return self.rect(left, bottom, element.width, element.height, f'rx="{number(radius)}" {paint}')

    def rect(self, left: float, bottom: float, width: float, height: float, paint: str) -> str:
        x, y = self.place(left, bottom + height)
        return f'<rect x="{x}" y="{y}" width="{number(width)}" height="{number(height)}" {paint}/>'

    def label(self, box: Box) -> str:
        lines = box.label.split("\n") if box.label else []
        top = box.y + (len(lines) - 1) * box.size * 0.6 - box.size * 0.35
        return "".join(
            self.text(Text(box.x, top - k * box.size * 1.2, line, box.ink, box.size))
            for k, line in enumerate(lines)
        )

    def text(self, text: Text) -> str:
        x, y = self.place(text.x, text.y)
        bold = ' font-weight="bold"' if text.bold else ""
        classes = f' class="{escape(" ".join(map(token, text.classes)))}"' if text.classes else ""
        return (
            f'<text x="{x}" y="{y}" font-size="{number(text.size)}" text-anchor="{text.anchor}" '
            f'fill="{escape(text.colour)}"{bold}{classes}>{escape(text.text)}</text>'
        )

    def curve(self, arrow: Arrow) -> str:
        size = head_size(arrow.width) if arrow.head != "none" else 0.0
        points = shortened(arrow.points, size)
        path = "M" + ",".join(self.place(*points[0]))
        for k in range(1, len(points), 3):
            path += " C" + " ".join(",".join(self.place(*p)) for p in points[k : k + 3])
        dash = f' stroke-dasharray="{dashes(arrow.dash, arrow.width)}"' if arrow.dash != "solid" else ""
        colour = escape(arrow.colour)
        drawn = f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{number(arrow.width)}"{dash}/>'
        if arrow.head == "none":
            return drawn
        corners = " ".join(",".join(self.place(*p)) for p in arrow_head(points[-1], arrow.points[-1], size))
        fill = colour if arrow.head == "full" else "none"
        return drawn + f'<polygon points="{corners}" fill="{fill}" stroke="{colour}" stroke-width="1"/>'

    def place(self, x: float, y: float) -> tuple[str, str]:
        return number(x), number(self.height - y)


def dashes(dash: str, width: float) -> str:
    """Lengths of stroke and gap, longer on a wide line so that both styles stay apart."""
    if dash == "dotted":
        return f"{number(max(width, 1.5))} {number(max(1.6 * width, 3.0))}"
    return f"{number(max(1.8 * width, 6.0))} {number(max(width, 3.5))}"


def head_size(width: float) -> float:
    """The length of an arrow head on a line of this width."""
    return 5.0 + 1.2 * width


def shortened(points: tuple[Point, ...], length: float) -> tuple[Point, ...]:
    """The curve with its end drawn back by `length`, where the arrow head begins."""
    if length == 0.0:
        return points
    (x0, y0), (x1, y1) = points[-2], points[-1]
    if math.hypot(x1 - x0, y1 - y0) < 1e-6:
        x0, y0 = points[-4]
    size = math.hypot(x1 - x0, y1 - y0) or 1.0
    dx, dy = (x1 - x0) / size * length, (y1 - y0) / size * length
    return (*points[:-2], (points[-2][0] - dx, points[-2][1] - dy), (x1 - dx, y1 - dy))


def arrow_head(base: Point, tip: Point, size: float) -> tuple[Point, Point, Point]:
    """The three corners of the head between `base` and `tip`."""
    ux, uy = (tip[0] - base[0]) / size, (tip[1] - base[1]) / size
    half = size * 0.42
    return tip, (base[0] - uy * half, base[1] + ux * half), (base[0] + uy * half, base[1] - ux * half)


def number(value: float) -> str:
    """A coordinate to a tenth of a point."""
    return f"{value:.1f}".removesuffix(".0")


@lru_cache(maxsize=1 << 16)
def token(text: str) -> str:
    """A class token or id: letters, digits, dot, dash and underscore; every other character as "_".

    >>> token("rnn.weight_hh l0")
    'rnn.weight_hh_l0'
    """
    return re.sub(r"[^\w.\-]", "_", plain(text))


def escape(text: str) -> str:
    """The text with what XML reads as markup written out, and what XML forbids left out."""
    if text.isprintable() and not _MARKUP.search(text):
        return text
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#39;")
