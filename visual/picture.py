"""A picture as plain data: boxes, arrows, groups, strips and texts, with positions.

A layout ends here and a writer begins here. Whatever is drawn is an element with coordinates in points, x to
the right and y up, so that every writer (DOT, SVG, the page) shows the same thing in the same place, and a
test can ask the data instead of the pixels. Time repeats itself, so most elements are copies of a few: they
are kept as `Copies`, and become elements one by one where somebody asks.

An element whose classes contain "node" or "edge" stands for a vertex or an edge of the graph, and bears its
id; every other element is a mark: a band, a legend, a label.
"""

from __future__ import annotations

import gc
import os
import tempfile
import unicodedata
import webbrowser
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from itertools import repeat, starmap
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

Point = tuple[float, float]
Dash = Literal["solid", "dashed", "dotted"]
Head = Literal["full", "open", "none"]

FORMATS = ("svg", "png", "pdf", "dot")


@dataclass(slots=True)
class Box:
    """A rectangle or circle with a label, centred on (x, y)."""

    id: str
    x: float
    y: float
    width: float
    height: float
    label: str = ""
    shape: Literal["round", "box", "circle"] = "round"
    fill: str = "none"
    line: str = "none"
    ink: str = "#000000"
    size: float = 12.0
    weight: float = 1.2
    dash: Dash = "solid"
    classes: tuple[str, ...] = ()
    title: str = ""


@dataclass(slots=True)
class Arrow:
    """A curve of cubic Béziers (1 + 3k points), with a head at its end unless `head` is "none".

    The curve's origin stands at (x, y): a thousand arrows of one shape share one curve.
    """

    id: str
    source: str
    target: str
    curve: tuple[Point, ...]
    colour: str = "#000000"
    width: float = 1.0
    dash: Dash = "solid"
    head: Head = "full"
    classes: tuple[str, ...] = ()
    title: str = ""
    x: float = 0.0
    y: float = 0.0

    @property
    def points(self) -> tuple[Point, ...]:
        """The curve where it stands."""
        return tuple([(self.x + x, self.y + y) for x, y in self.curve])


@dataclass(slots=True)
class Group:
    """A frame behind what belongs together, centred on (x, y)."""

    id: str
    x: float
    y: float
    width: float
    height: float
    fill: str = "none"
    line: str = "none"
    dash: Dash = "solid"
    classes: tuple[str, ...] = ()
    title: str = ""


@dataclass(slots=True)
class Text:
    """One line of text at (x, y), y being its baseline."""

    x: float
    y: float
    text: str
    colour: str = "#000000"
    size: float = 12.0
    anchor: Literal["start", "middle", "end"] = "middle"
    bold: bool = False
    classes: tuple[str, ...] = ()


@dataclass(slots=True)
class Strip:
    """A grid of coloured cells with its lower left corner at (x, y); rows from bottom to top."""

    id: str
    x: float
    y: float
    width: float
    height: float
    colours: tuple[tuple[str, ...], ...]
    classes: tuple[str, ...] = ()
    title: str = ""

    def cells(self) -> Iterator[tuple[float, float, float, float, str]]:
        """Left, bottom, width, height and colour of each run of equal neighbours in a row."""
        height = self.height / max(len(self.colours), 1)
        for row, colours in enumerate(self.colours):
            width = self.width / max(len(colours), 1)
            start = 0
            for k in range(1, len(colours) + 1):
                if k == len(colours) or colours[k] != colours[start]:
                    if colours[start] != "none":
                        yield (
                            self.x + start * width, self.y + row * height, (k - start) * width, height,
                            colours[start],
                        )  # fmt: skip
                    start = k


Element = Box | Arrow | Group | Text | Strip


@dataclass(slots=True)
class Copies:
    """One element many times over, side by side.

    >>> for box in Copies(Box("h0", 10, 5, 8, 8), (0, 20), {"id": ("h0", "h1")}):
    ...     print(box.id, box.x)
    h0 10
    h1 30
    """

    of: Element
    """Reaches as far from its place as any of the copies does."""
    shifts: Sequence[float]
    """How far to the right of `of` each copy stands."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """The fields in which the copies differ, each with a value for every copy."""

    def column(self, name: str) -> Sequence[Any]:
        """What the copies have in a field: one value for each, or one for all."""
        return self.columns.get(name) or (getattr(self.of, name),)

    def rows(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """These fields of each copy; where no copy differs in them, the same tuple again and again."""
        columns = (
            {"x": [self.of.x + dx for dx in self.shifts], **self.columns} if "x" in names else self.columns
        )
        if columns.keys().isdisjoint(names):
            return repeat(tuple(getattr(self.of, name) for name in names), len(self.shifts))
        return zip(*[columns.get(name) or repeat(getattr(self.of, name)) for name in names], strict=False)

    def __iter__(self) -> Iterator[Element]:
        return starmap(type(self.of), self.rows(*(field.name for field in fields(self.of))))


Part = Element | Copies


@dataclass(frozen=True)
class Picture:
    """What `visual` returns: shows itself in a notebook, and is written as svg, png, pdf or dot.

    >>> picture = Picture(100, 50, (Box("a", 50, 25, 40, 20, "a", classes=("node",)),), title="one box")
    >>> picture.pipe("svg")[:4]
    b'<svg'
    """

    width: float
    height: float
    parts: Sequence[Part] = field(repr=False)
    """Everything drawn, from the lowest to the topmost: elements, and copies of one."""
    title: str = ""
    desc: str = ""
    theme: str = "light"
    page: str = field(default="#ffffff", repr=False)
    font: str = field(default="Helvetica, Arial, sans-serif", repr=False)
    prefix: str = field(default="p", repr=False)
    """Comes before every id in SVG, so that two pictures may share a page."""
    facts: Callable[[], Iterable[tuple[str, ...]]] = field(default=tuple, repr=False)
    """Makes the rows of the text table."""

    @cached_property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The text table beside the picture; the first row holds the headings."""
        return tuple(self.facts())

    @cached_property
    def elements(self) -> tuple[Element, ...]:
        """The parts, every copy as an element of its own."""
        return tuple(e for part in self.parts for e in (part if isinstance(part, Copies) else (part,)))

    @property
    def boxes(self) -> list[Box]:
        """The boxes that stand for vertices of the graph."""
        return [e for e in self.elements if isinstance(e, Box) and "node" in e.classes]

    @property
    def arrows(self) -> list[Arrow]:
        """The arrows that stand for edges of the graph, forward and backward."""
        return [e for e in self.elements if isinstance(e, Arrow) and "edge" in e.classes]

    @property
    def source(self) -> str:
        """The picture in the DOT language, every position pinned: for `neato -n2`."""
        from visual import dot

        return dot.write(self)

    @property
    def table(self) -> str:
        """The same facts as a text table, for readers who cannot see the picture."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in self.rows
        )

    def pipe(self, format: str = "svg") -> bytes:
        """The picture's file as bytes; ValueError for an unknown format, RuntimeError without Graphviz."""
        from visual import dot, svg

        if format == "svg":
            return svg.encoded(self)
        if format == "dot":
            return self.source.encode()
        if format in FORMATS:
            return dot.render(self, format)
        raise ValueError(f"expected a format among {', '.join(FORMATS)}, got {format!r}")

    def render(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to `path`, whole or not at all, in the format that its suffix names."""
        path = Path(path)
        write_whole(path, self.pipe(path.suffix.removeprefix(".").lower()))
        return path

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture's DOT source to `path`, as the graphviz package's `save` does."""
        path = Path(path)
        if path.suffix not in (".dot", ".gv"):
            raise ValueError(f"expected a path that ends in .dot or .gv, got {str(path)!r}")
        write_whole(path, self.source.encode())
        return path

    def view(self) -> Path:
        """Write the picture to a temporary SVG file and open it in the browser."""
        path = self.render(Path(tempfile.mkdtemp(prefix="picture-")) / "picture.svg")
        webbrowser.open(path.as_uri())
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        own = replace(self, prefix=f"p{crc32(self.pipe('svg')):08x}")
        return {"image/svg+xml": own.pipe("svg").decode(), "text/plain": self.title or "picture"}


@contextmanager
def without_collector() -> Iterator[None]:
    """Let the garbage collector rest: a long picture is made of a million things that are no garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():  # what was made counts as old, so that it is not looked through now
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def moved(e: Element, dx: float, dy: float) -> Element:
    """The element in another place."""
    return replace(e, x=e.x + dx, y=e.y + dy)


def plain(text: str) -> str:
    """The text without control characters and lone surrogates, which no writer may let through.

    >>> plain("a\\x00b\\x1b[1m")
    'ab[1m'
    """
    if text.isprintable():
        return text
    return "".join(
        c
        for c in text
        if c == "\n" or (unicodedata.category(c) not in ("Cc", "Cs") and c not in "\ufffe\uffff")
    )


@lru_cache(maxsize=1 << 10)
def fit(text: str, width: float, size: float) -> str:
    """The text, shortened with "…" so that it stays within `width` points at font size `size`.

    >>> fit("cross_entropy", 50, 12)
    'cross…'
    """
    text = " ".join(plain(text).split())
    if size * len(text) <= width:
        return text
    room = max(int(width / text_width("x", size)), 1)
    return text if text_width(text, size) <= width else text[: max(room - 1, 1)] + "…"


def shown(token: object) -> str:
    """A token as it can be seen: a blank is no empty box.

    >>> shown("a"), shown(" "), shown("\\n")
    ('a', '␣', '⏎')
    """
    text = str(token)
    return text if text.strip() else text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣")


def text_width(text: str, size: float) -> float:
    """A cautious guess of a line's width: fonts differ by machine, and a label must never spill."""
    if text.isascii():
        return 0.6 * size * len(text)
    return sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.6 for c in text) * size


def bezier(points: Sequence[Point]) -> tuple[Point, ...]:
    """A straight line between two points, as one cubic Bézier."""
    (x0, y0), (x1, y1) = points
    dx, dy = (x1 - x0) / 3, (y1 - y0) / 3
    return (x0, y0), (x0 + dx, y0 + dy), (x1 - dx, y1 - dy), (x1, y1)


def write_whole(path: Path, content: bytes) -> None:
    """Write the file, or leave what was there: under another name first, then renamed."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
