"""SVG without Graphviz: the picture's own positions, written out.

A machine without `dot` still gets its pictures, and a page gets one `<g>` per node and edge, with an id and
class tokens that a stylesheet, a link or a test can rely on. Labels come from users, so every text and every
attribute passes through `escape`, nothing is a link, and nothing is fetched.
"""

from __future__ import annotations

import itertools
import math
import re
import string
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from visual.picture import Arrow, Box, Element, Group, Picture, Point, Strip, Text, plain, without_collector

PORTION = 512
"""So many elements are written at a time."""


def write(picture: Picture) -> str:
    """The picture as an SVG document.

    >>> from visual.picture import Box
    >>> "<script>" in write(Picture(9, 9, (Box("a", 5, 5, 4, 4, "<script>"),)))
    False
    """
    return encoded(picture).decode()


@without_collector()
def encoded(picture: Picture) -> bytes:
    """The same in UTF-8, portion by portion: a long picture's text need not stand in memory twice."""
    width, height = number(picture.width), number(picture.height)
    prefix = escape(token(picture.prefix))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="{prefix}.title {prefix}.desc" '
        f'class="theme-{escape(token(picture.theme))}" font-family="{escape(picture.font)}" '
        'text-anchor="middle">\n'
        f'<title id="{prefix}.title">{escape(picture.title)}</title>\n'
        f'<desc id="{prefix}.desc">{escape(picture.desc)}</desc>\n'
        f'<rect width="{width}" height="{height}" fill="{escape(picture.page)}"/>'
    )
    pen, elements = _Pen(prefix, picture.height), picture.elements
    portions = [head.encode()]
    for k in range(0, len(elements), PORTION):
        portions.append(pen.draw(elements[k : k + PORTION]).encode())
    return b"\n".join([*portions, b"</svg>\n"])


_FOREIGN = re.compile(r"[^\w.\-]")
_NO_NAME = bytes({*range(256)} - {*string.ascii_letters.encode(), *string.digits.encode(), *b"_.-"})
_NO_TEXT = bytes({*range(32), *b"&<>\"'\x7f", 0xC2, 0xEF})
"""Bytes of UTF-8 that are markup, control characters, or may begin a character that XML forbids."""


class _Pen:
    """Knows the page's height, because SVG's y runs down, and the shapes that it has drawn before.

    Hardly any name or text needs escaping: whether one does is asked once for a portion of elements.
    """

    def __init__(self, prefix: str, height: float) -> None:
        self.prefix, self.height = prefix, height
        self.token: Callable[[str], str] = token
        self.escape: Callable[[str], str] = escape
        self.strokes: dict[object, tuple[float, str, str, str]] = {}
        self.frames: dict[object, tuple[float, str, str, str]] = {}
        self.of: dict[type, Callable[[Any], str]] = {
            Arrow: self.arrow, Box: self.box, Text: self.text, Group: self.group, Strip: self.strip
        }  # fmt: skip

    def draw(self, elements: Sequence[Element]) -> str:
        named = [e for e in elements if not isinstance(e, Text)]
        classes = [name for e in named if not isinstance(e, Arrow) for name in e.classes]
        names = [e.id for e in named] + classes
        said = [e.title for e in named] + [e.label for e in named if isinstance(e, Box)]
        self.token = str if lacks("".join(names), _NO_NAME) else token
        self.escape = str if lacks("".join(said), _NO_TEXT) else escape
        return "\n".join([self.of[type(e)](e) for e in elements])

    def opening(self, element: Box | Group | Strip, paint: str = "") -> str:
        name = f' id="{self.prefix}-{self.token(element.id)}"' if element.id else ""
        title = f"<title>{self.escape(element.title)}</title>" if element.title else ""
        return f'<g{name} class="{" ".join(map(self.token, element.classes))}"{paint}>{title}'

    def group(self, group: Group) -> str:
        along, before, after, _ = self.frame(group)
        return f"{self.opening(group)}{before}{number(group.x + along)}{after}</g>"

    def strip(self, strip: Strip) -> str:
        return self.opening(strip, ' shape-rendering="crispEdges"') + self.cells(strip) + "</g>"

    def box(self, box: Box) -> str:
        paint = box.fill, box.line, box.weight, box.dash, box.ink
        kind = box.y, box.width, box.height, box.shape, box.size, paint
        known = self.frames.get(kind)
        if known is None:
            known = self.frames[kind] = self.frame(box)
        along, before, after, label = known
        frame = f"{self.opening(box)}{before}{number(box.x + along)}{after}"
        if not box.label:
            return f"{frame}</g>"
        if "\n" not in box.label:
            return f'{frame}<text x="{number(box.x)}{label}{self.escape(box.label)}</text></g>'
        lines = box.label.split("\n")
        top = box.y + (len(lines) - 1) * box.size * 0.6 - box.size * 0.35
        return (
            frame
            + "".join(
                self.words(box.x, top - k * box.size * 1.2, line, box.ink, box.size)
                for k, line in enumerate(lines)
            )
            + "</g>"
        )

    def frame(self, element: Box | Group) -> tuple[float, str, str, str]:
        """From the centre to the frame's own x, what comes before and after that, and after its label's x."""
        weight = element.weight if isinstance(element, Box) else 1.0
        paint = f'fill="{escape(element.fill)}"'
        if element.line != "none":
            paint += f' stroke="{escape(element.line)}"{thick(weight)}{dashes(element.dash, weight)}'
        label = ""
        if isinstance(element, Box):
            y = number(self.height - element.y + element.size * 0.35)
            label = f'" y="{y}" font-size="{number(element.size)}" fill="{escape(element.ink)}">'
            if element.shape == "circle":
                y, radius = number(self.height - element.y), number(element.width / 2)
                return 0.0, '<circle cx="', f'" cy="{y}" r="{radius}" {paint}/>', label
        if not (isinstance(element, Box) and element.shape == "box"):
            paint = f'rx="{number(min(7.0, element.height / 3))}" {paint}'
        y = number(self.height - element.y - element.height / 2)
        size = f'width="{number(element.width)}" height="{number(element.height)}"'
        return -element.width / 2, '<rect x="', f'" y="{y}" {size} {paint}/>', label

    def rect(self, left: float, bottom: float, width: float, height: float, paint: str) -> str:
        return (
            f'<rect x="{number(left)}" y="{number(self.height - bottom - height)}" '
            f'width="{number(width)}" height="{number(height)}" {paint}/>'
        )

    def cells(self, strip: Strip) -> str:
        right = strip.x + strip.width
        return "\n".join(
            self.rect(x, y, min(width + 0.4, right - x), height, f'fill="{escape(colour)}"')
            for x, y, width, height, colour in strip.cells()
        )

    def text(self, text: Text) -> str:
        more = f' text-anchor="{text.anchor}"' if text.anchor != "middle" else ""
        more += ' font-weight="bold"' if text.bold else ""
        more += f' class="{tokens(text.classes)}"' if text.classes else ""
        return self.words(text.x, text.y, text.text, text.colour, text.size, more)

    def words(self, x: float, y: float, text: str, colour: str, size: float, more: str = "") -> str:
        place = f'x="{number(x)}" y="{number(self.height - y)}"'
        return f'<text {place} font-size="{number(size)}" fill="{escape(colour)}"{more}>{escape(text)}</text>'

    def arrow(self, arrow: Arrow) -> str:
        kind = id(arrow.curve), arrow.y, arrow.width, arrow.dash, arrow.head, arrow.classes
        known = self.strokes.get(kind)
        if known is None:
            known = self.strokes[kind] = strokes(arrow, self.height)
        along, classes, line, head = known
        name = f' id="{self.prefix}-{self.token(arrow.id)}"' if arrow.id else ""
        title = f"<title>{self.escape(arrow.title)}</title>" if arrow.title else ""
        colour, x = escape(arrow.colour), f"{arrow.x + along:.1f}"
        if not head:
            return f'<g{name}{classes} stroke="{colour}">{title}<path d="M{x}{line}</g>'
        opening = f'<g{name}{classes} stroke="{colour}" fill="{colour}">'
        return f'{opening}{title}<path d="M{x}{line}<path d="M{x}{head}</g>'


def strokes(arrow: Arrow, height: float) -> tuple[float, str, str, str]:
    """The x where an arrow begins, its classes, and the rest of its line's path element and its head's."""
    size = head_size(arrow.width) if arrow.head != "none" else 0.0
    points = shortened(arrow.curve, size)
    (x, y), tip = points[0], arrow.curve[-1]
    classes = f' class="{tokens(arrow.classes)}"'
    start = f",{number(height - arrow.y - y)}"
    paint = f'fill="none"{thick(arrow.width)}{dashes(arrow.dash, arrow.width)}'
    line = f'{start}{relative(points)}" {paint}/>'
    if not size:
        return x, classes, line, ""
    corners = f"m{steps([(x, y), tip])}l{steps(arrow_head(points[-1], tip, size))}z"
    return x, classes, line, f'{start}{corners}"' + (' fill="none"/>' if arrow.head == "open" else "/>")


def relative(points: Sequence[Point]) -> str:
    """A curve's path from its first point on: straight parts as lines."""
    path = ""
    for k in range(0, len(points) - 1, 3):
        a, b, c, d = points[k : k + 4]
        if straight(a, b, d) and straight(a, c, d):
            path += "l" + steps([a, d])
        else:
            path += "c" + " ".join(steps([a, point]) for point in (b, c, d))
    return path


def steps(points: Sequence[Point]) -> str:
    """The way from each point to the next, in tenths that add up to the tenths of the points."""
    tenths = [(round(x, 1), round(y, 1)) for x, y in points]
    return " ".join(f"{number(c - a)},{number(b - d)}" for (a, b), (c, d) in itertools.pairwise(tenths))


def straight(a: Point, b: Point, c: Point) -> bool:
    """Whether `b` stands on the line from `a` to `c`."""
    return abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) < 0.05


def thick(width: float) -> str:
    """The attribute for a line's width, where it is not SVG's own."""
    return f' stroke-width="{number(width)}"' if number(width) != "1" else ""


def dashes(dash: str, width: float) -> str:
    """The attribute for stroke and gap, longer on a wide line so that both styles stay apart."""
    if dash == "solid":
        return ""
    stroke, gap = (1.0, 1.6) if dash == "dotted" else (1.8, 1.0)
    least = (1.5, 3.0) if dash == "dotted" else (6.0, 3.5)
    return f' stroke-dasharray="{number(max(stroke * width, least[0]))} {number(max(gap * width, least[1]))}"'


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
    text = f"{value:.1f}"
    return text[:-2] if text[-1] == "0" else text


def tokens(names: tuple[str, ...]) -> str:
    """Classes as an attribute's text."""
    text = " ".join(names)
    return text if lacks(text.replace(" ", "", len(names) - 1), _NO_NAME) else " ".join(map(token, names))


def token(text: str) -> str:
    """A class token or id: letters, digits, dot, dash and underscore; every other character as "_".

    >>> token("rnn.weight_hh l0")
    'rnn.weight_hh_l0'
    """
    return _FOREIGN.sub("_", plain(text)) if _FOREIGN.search(text) else text


@lru_cache(maxsize=1 << 12)
def escape(text: str) -> str:
    """The text with what XML reads as markup written out, and what XML forbids left out."""
    if lacks(text, _NO_TEXT):
        return text
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#39;")


def lacks(text: str, bytes_of: bytes) -> bool:
    """Whether none of these bytes is in the text's UTF-8.

    >>> lacks("x → h", _NO_TEXT), lacks("x -> h", _NO_TEXT)
    (True, False)
    """
    try:
        written = text.encode()
    except UnicodeEncodeError:
        return False
    return len(written.translate(None, bytes_of)) == len(written)
