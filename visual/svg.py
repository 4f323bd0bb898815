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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from visual.picture import (
    Arrow,
    Box,
    Copies,
    Group,
    Part,
    Picture,
    Point,
    Strip,
    Text,
    plain,
    without_collector,
)

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
    pen = _Pen(prefix, picture.height)
    return b"".join([head.encode(), *map(pen.draw, _portions(picture.parts)), b"\n</svg>\n"])


def _portions(parts: Iterable[Part]) -> Iterator[list[Copies]]:
    """What is written at a time: a portion of elements, or however many copies one of them has."""
    portion, size = [], 0
    for part in parts:
        portion.append(part if isinstance(part, Copies) else Copies(part, (0.0,)))
        size += len(portion[-1].shifts)
        if size >= PORTION:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


_FOREIGN = re.compile(r"[^\w.\-]")
_NO_NAME = bytes({*range(256)} - {*string.ascii_letters.encode(), *string.digits.encode(), *b"_.-"})
_NO_TEXT = bytes({*range(32), *b"&<>\"'\x7f", 0xC2, 0xEF})
"""Bytes of UTF-8 that are markup, control characters, or may begin a character that XML forbids."""


FRAME = "y", "width", "height", "shape", "fill", "line", "weight", "dash", "ink", "size"
"""A box's fields that say how its frame looks."""
STROKE = "curve", "y", "width", "dash", "head", "classes"
"""An arrow's fields that say how its line looks."""


class _Pen:
    """Knows the page's height, because SVG's y runs down, and the shapes that it has drawn before.

    Hardly any name or text needs escaping: whether one does is asked once for a portion of elements.
    """

    def __init__(self, prefix: str, height: float) -> None:
        self.prefix, self.height = prefix, height
        self.token: Callable[[str], str] = token
        self.tokens: Callable[[tuple[str, ...]], str] = tokens
        self.escape: Callable[[str], str] = escape
        self.strokes: dict[object, tuple[float, str, str, str]] = {}
        self.of: dict[type, Callable[[Any], Iterable[str]]] = {
            Arrow: self.arrows, Box: self.boxes, Text: self.texts, Group: self.groups, Strip: self.strips
        }  # fmt: skip

    def draw(self, portion: Sequence[Copies]) -> bytes:
        names: list[str] = []
        said: list[str] = []
        for copies in portion:
            if not isinstance(copies.of, Text):
                names += copies.column("id")
                names += itertools.chain.from_iterable(copies.column("classes"))
                said += copies.column("title")
            if isinstance(copies.of, Box):
                said += copies.column("label")
        if lacks("".join(names), _NO_NAME):
            self.token, self.tokens = str, " ".join
        else:
            self.token, self.tokens = token, tokens
        self.escape = str if lacks("".join(said), _NO_TEXT) else escape
        texts = itertools.chain.from_iterable(self.of[type(copies.of)](copies) for copies in portion)
        return b"".join(map(str.encode, texts))

    def opening(self, id: str, classes: tuple[str, ...], title: str, paint: str = "") -> str:
        name = f' id="{self.prefix}-{self.token(id)}"' if id else ""
        title = f"<title>{self.escape(title)}</title>" if title else ""
        return f'\n<g{name} class="{self.tokens(classes)}"{paint}>{title}'

    def groups(self, groups: Copies) -> Iterator[str]:
        g: Any = groups.of
        size = g.x, g.y, g.width, g.height
        box = Box(g.id, *size, "", "round", g.fill, g.line, "", 0.0, 1.0, g.dash, g.classes, g.title)
        return self.boxes(replace(groups, of=box))

    def strips(self, strips: Iterable[Strip]) -> Iterator[str]:
        for strip in strips:
            opening = self.opening(strip.id, strip.classes, strip.title, ' shape-rendering="crispEdges"')
            yield f"{opening}{self.cells(strip)}</g>"

    def boxes(self, boxes: Copies) -> Iterator[str]:
        kind: object = None
        words = boxes.rows("id", "x", "y", "label", "ink", "size", "classes", "title")
        for row, own in zip(words, boxes.rows(*FRAME), strict=True):
            name, x, y, label, ink, size, classes, title = row
            if own != kind:
                kind, (along, before, after, place) = own, frame(self.height, *own)
            text = f'<text x="{number(x)}{place}{self.escape(label)}</text>' if label else ""
            if "\n" in label:
                text = self.lines(x, y, label, ink, size)
            yield f"{self.opening(name, classes, title)}{before}{number(x + along)}{after}{text}</g>"

    def lines(self, x: float, y: float, label: str, ink: str, size: float) -> str:
        """A label of several lines around (x, y)."""
        lines = label.split("\n")
        top = y + (len(lines) - 1) * size * 0.6 - size * 0.35
        return "".join(self.words(x, top - k * size * 1.2, line, ink, size) for k, line in enumerate(lines))

    def cells(self, strip: Strip) -> str:
        right = strip.x + strip.width
        return "\n".join(
            f'<rect x="{number(x)}" y="{number(self.height - y - height)}" '
            f'width="{number(min(width + 0.4, right - x))}" height="{number(height)}" '
            f'fill="{escape(colour)}"/>'
            for x, y, width, height, colour in strip.cells()
        )

    def texts(self, texts: Iterable[Text]) -> Iterator[str]:
        for text in texts:
            more = f' text-anchor="{text.anchor}"' if text.anchor != "middle" else ""
            more += ' font-weight="bold"' if text.bold else ""
            more += f' class="{tokens(text.classes)}"' if text.classes else ""
            yield "\n" + self.words(text.x, text.y, text.text, text.colour, text.size, more)

    def words(self, x: float, y: float, text: str, colour: str, size: float, more: str = "") -> str:
        place = f'x="{number(x)}" y="{number(self.height - y)}"'
        return f'<text {place} font-size="{number(size)}" fill="{escape(colour)}"{more}>{escape(text)}</text>'

    def arrows(self, arrows: Copies) -> Iterator[str]:
        kind: object = None
        for row, own in zip(arrows.rows("id", "x", "colour", "title"), arrows.rows(*STROKE), strict=True):
            name, x, colour, title = row
            if own != kind:
                kind, (along, classes, line, head) = own, self.stroke(*own)
            opening = f'\n<g id="{self.prefix}-{self.token(name)}"{classes}' if name else f"\n<g{classes}"
            paint, start = escape(colour), f"{x + along:.1f}"
            opening += f' stroke="{paint}" fill="{paint}">' if head else f' stroke="{paint}">'
            if title:
                yield opening + "<title>"
                yield self.escape(title)
                opening = "</title>"
            if head:
                yield f'{opening}<path d="M{start}{line}<path d="M{start}{head}</g>'
            else:
                yield f'{opening}<path d="M{start}{line}</g>'

    def stroke(
        self, curve: tuple[Point, ...], y: float, width: float, dash: str, head: str, classes: tuple[str, ...]
    ) -> tuple[float, str, str, str]:
        """The x where an arrow begins, its classes, and the rest of its line's path and of its head's."""
        key = id(curve), y, width, dash, head, classes
        known = self.strokes.get(key)
        if known is not None:
            return known
        size = head_size(width) if head != "none" else 0.0
        points = shortened(curve, size)
        (x, top), tip, path = points[0], curve[-1], ""
        start = f",{number(self.height - y - top)}"
        line = f'{start}{relative(points)}" fill="none"{thick(width)}{dashes(dash, width)}/>'
        if size:
            corners = f"m{steps([(x, top), tip])}l{steps(arrow_head(points[-1], tip, size))}z"
            path = f'{start}{corners}"' + (' fill="none"/>' if head == "open" else "/>")
        known = self.strokes[key] = x, f' class="{tokens(classes)}"', line, path
        return known


@lru_cache(maxsize=1 << 10)
def frame(
    page: float, y: float, width: float, height: float, shape: str, fill: str, line: str, weight: float,
    dash: str, ink: str, size: float,
) -> tuple[float, str, str, str]:  # fmt: skip
    """From a box's centre to its frame's own x, what comes before and after that, and after its label's x."""
    along, paint = -width / 2, f'fill="{escape(fill)}"'
    if line != "none":
        paint += f' stroke="{escape(line)}"{thick(weight)}{dashes(dash, weight)}'
    if shape == "circle":
        along, before = 0.0, '<circle cx="'
        after = f'" cy="{number(page - y)}" r="{number(width / 2)}" {paint}/>'
    else:
        paint = (f'rx="{number(min(7.0, height / 3))}" ' if shape == "round" else "") + paint
        extent = f'y="{number(page - y - height / 2)}" width="{number(width)}" height="{number(height)}"'
        before, after = '<rect x="', f'" {extent} {paint}/>'
    place = f'y="{number(page - y + size * 0.35)}" font-size="{number(size)}"'
    return along, before, after, f'" {place} fill="{escape(ink)}">'


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


@lru_cache(maxsize=1 << 12)
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
