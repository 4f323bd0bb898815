"""DOT, for Graphviz and for every tool that reads it; the only file that imports graphviz.

Graphviz's own ranking is not made for long unrolled networks, so it is never asked to place anything: each
node and curve is pinned, and `neato -n2` only draws. The graph's vertices and edges are DOT's nodes and
edges, with their classes. Bands, bars and the key's samples are painted behind them as Graphviz's
`_background`; loose texts are nodes of class "mark" (Graphviz 2.43 crashes on text in a background).

Labels come from users. python-graphviz would read <…> as HTML and Graphviz would expand \\N and \\L: both are
escaped, control characters are dropped, and nothing ever goes through a shell.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import graphviz

from visual.picture import Arrow, Box, Element, Group, Picture, Point, Strip, Text, plain, text_width
from visual.svg import arrow_head, head_size, shortened, token

PIXEL_LIMIT = 32_767
"""Cairo draws no image that is wider or higher; Graphviz would shrink it without a word."""
PAGE_LIMIT = 14_400
"""Points; many readers open no larger PDF page."""
TIME_LIMIT = 60.0
"""Seconds that Graphviz may take."""
FONT = "Helvetica"


def write(picture: Picture) -> str:
    """The picture in the DOT language.

    >>> from visual.picture import Box
    >>> 'pos="5,5!"' in write(Picture(9, 9, (Box("a", 5, 5, 4, 4, "a", classes=("node",)),)))
    True
    """
    graph = graphviz.Digraph("picture")
    graph.attr(
        "graph",
        bgcolor=picture.page,
        pad="0",
        margin="0",
        outputorder="edgesfirst",
        tooltip=quoted(picture.title),
        bb=f"0,0,{number(picture.width)},{number(picture.height)}",
        _background=background(picture),
    )
    graph.attr("node", fixedsize="true", margin="0", fontname=FONT)
    for element in picture.elements:
        if isinstance(element, Box) and "node" in element.classes:
            _node(graph, element)
        elif isinstance(element, Arrow) and "edge" in element.classes:
            _edge(graph, element)
        elif isinstance(element, Text):
            _text(graph, element, f"mark {len(graph.body)}")
        elif isinstance(element, Box) and element.label:
            _text(graph, Text(element.x, element.y - element.size * 0.35, element.label, element.ink,
                              element.size), f"mark {len(graph.body)}")  # fmt: skip
    return str(graph.source)


def render(picture: Picture, format: str) -> bytes:
    """The picture drawn by Graphviz as png or pdf; RuntimeError where it is missing or takes too long."""
    options = []
    if format == "png":
        options = [f"-Gdpi={resolution(picture)}"]
    elif max(picture.width, picture.height) > PAGE_LIMIT:
        options = [f"-Gsize={PAGE_LIMIT / 72:g},{PAGE_LIMIT / 72:g}"]
    engine = shutil.which("neato")
    if engine is None:
        raise RuntimeError(
            f"{format} needs Graphviz, which is not installed: apt install graphviz (Debian, Ubuntu), "
            "brew install graphviz (macOS) or graphviz.org/download; svg and dot work without it"
        )
    source = write(picture).encode()
    try:
        done = subprocess.run(
            [engine, "-n2", f"-T{format}", *options],
            input=source,
            capture_output=True,
            timeout=TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"Graphviz took more than {TIME_LIMIT:g} seconds for {len(picture.elements)} elements; "
            "write svg, or fold the picture"
        ) from None
    if done.returncode != 0 or not done.stdout:
        raise RuntimeError(
            f"Graphviz could not draw the picture: {done.stderr.decode(errors='replace').strip()}"
        )
    return done.stdout


def resolution(picture: Picture) -> int:
    """Dots per inch for a png: 144 where that fits, at least 72; ValueError if even that is too large."""
    points = max(picture.width, picture.height)
    for dpi in (144, 96, 72):
        if points * dpi / 72 <= PIXEL_LIMIT:
            return dpi
    raise ValueError(
        f"a png of {picture.width:.0f} × {picture.height:.0f} pixels is past the limit of {PIXEL_LIMIT}: "
        "write svg or pdf, or fold the picture"
    )


def _node(graph: graphviz.Digraph, box: Box) -> None:
    style = ["filled"] if box.fill != "none" else []
    style += ["rounded"] if box.shape == "round" else []
    style += [box.dash] if box.dash != "solid" else []
    graph.node(
        quoted(token(box.id)),
        label=quoted(box.label),
        id=quoted(token(box.id)),
        pos=f"{number(box.x)},{number(box.y)}!",
        width=inches(box.width),
        height=inches(box.height),
        shape="circle" if box.shape == "circle" else "box",
        style=",".join(style),
        fillcolor=box.fill if box.fill != "none" else "transparent",
        color=box.line if box.line != "none" else "transparent",
        fontcolor=box.ink,
        fontsize=number(box.size),
        penwidth=number(box.weight),
        tooltip=quoted(box.title or box.label),
        **{"class": " ".join(map(token, box.classes))},
    )


def _text(graph: graphviz.Digraph, text: Text, name: str) -> None:
    """A loose text as a node without a frame, as wide as it may get, and justified within."""
    width = 1.2 * text_width(text.text, text.size) + 4
    shift = {"start": width / 2, "middle": 0.0, "end": -width / 2}[text.anchor]
    justified = {"start": r"\l", "middle": "", "end": r"\r"}[text.anchor]
    graph.node(
        name,
        label=graphviz.nohtml(quoted(text.text) + justified),
        pos=f"{number(text.x + shift)},{number(text.y + text.size * 0.35)}!",
        width=inches(width),
        height=inches(text.size * 1.6),
        shape="plaintext",
        fontname=FONT + ("-Bold" if text.bold else ""),
        fontcolor=text.colour,
        fontsize=number(text.size),
        **{"class": "mark"},
    )


def _edge(graph: graphviz.Digraph, arrow: Arrow) -> None:
    points = arrow.points
    head = ""
    if arrow.head != "none":
        points = shortened(points, head_size(arrow.width))
        head = "e," + ",".join(map(number, arrow.points[-1])) + " "
    graph.edge(
        quoted(token(arrow.source)),
        quoted(token(arrow.target)),
        id=quoted(token(arrow.id)),
        pos=head + " ".join(f"{number(x)},{number(y)}" for x, y in points),
        color=arrow.colour,
        penwidth=number(arrow.width),
        style=arrow.dash,
        tooltip=quoted(arrow.title),
        arrowsize=f"{head_size(arrow.width) / 10:.2f}",
        arrowhead={"full": "normal", "open": "onormal", "none": "none"}[arrow.head],
        **{"class": " ".join(map(token, arrow.classes))},
    )


def background(picture: Picture) -> str:
    """All marks but texts as one xdot drawing, which Graphviz paints behind the graph.

    Graphviz reads at most 16,384 characters of a string at once, so each line of it is continued.
    """
    page = Box("", picture.width / 2, picture.height / 2, picture.width, picture.height, fill=picture.page)
    marks = [e for e in picture.elements if not isinstance(e, Text) and not {"node", "edge"} & {*e.classes}]
    return " \\\n".join(words for mark in [page, *marks] for words in _xdot(mark))


def _xdot(mark: Element) -> Iterator[str]:
    match mark:
        case Strip():
            for left, bottom, width, height, colour in mark.cells():
                yield f"c {_counted(colour)} C {_counted(colour)} " + _polygon(
                    "P", left, bottom, width, height
                )
        case Arrow():
            yield from _line(mark)
        case Box() | Group():
            left, bottom = mark.x - mark.width / 2, mark.y - mark.height / 2
            if mark.fill != "none":
                yield f"c {_counted(mark.fill)} C {_counted(mark.fill)} "
                yield _outline(mark, "P", left, bottom)
            if mark.line != "none":
                width = mark.weight if isinstance(mark, Box) else 1.0
                yield f"S {_counted(f'setlinewidth({number(width)})')} S {_counted(mark.dash)}"
                yield f"c {_counted(mark.line)} " + _outline(mark, "p", left, bottom)


def _outline(mark: Box | Group, letter: str, left: float, bottom: float) -> str:
    if isinstance(mark, Box) and mark.shape == "circle":
        letter = {"P": "E", "p": "e"}[letter]
        return (
            f"{letter} {number(mark.x)} {number(mark.y)} {number(mark.width / 2)} {number(mark.height / 2)}"
        )
    return _polygon(letter, left, bottom, mark.width, mark.height)


def _polygon(letter: str, left: float, bottom: float, width: float, height: float) -> str:
    right, top = left + width, bottom + height
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    return f"{letter} 4 " + " ".join(f"{number(x)} {number(y)}" for x, y in corners)


def _line(arrow: Arrow) -> Iterator[str]:
    points: tuple[Point, ...] = arrow.points
    yield f"S {_counted(f'setlinewidth({number(arrow.width)})')} S {_counted(arrow.dash)}"
    yield f"c {_counted(arrow.colour)}"
    yield f"B {len(points)} " + " ".join(f"{number(x)} {number(y)}" for x, y in points)
    if arrow.head != "none":
        size = head_size(arrow.width)
        (x0, y0), (x1, y1) = points[-2], points[-1]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5 or 1.0
        base = (x1 - (x1 - x0) / length * size, y1 - (y1 - y0) / length * size)
        corners = " ".join(f"{number(x)} {number(y)}" for x, y in arrow_head(base, points[-1], size))
        letter = "P" if arrow.head == "full" else "p"
        yield f"S {_counted('solid')} C {_counted(arrow.colour)} {letter} 3 {corners}"


def _counted(text: str) -> str:
    """A string as xdot wants it: its length in bytes, a dash, itself."""
    return f"{len(text.encode())} -{text}"


def quoted(text: str) -> Any:
    """A text that Graphviz shows letter by letter: the package's `NoHtml`, which a str() would undo."""
    return graphviz.escape(plain(text))


def inches(points: float) -> str:
    """Points as DOT wants sizes."""
    return f"{points / 72:.4f}"


def number(value: float) -> str:
    """A coordinate to a tenth of a point."""
    return f"{value:.1f}".removesuffix(".0")
