"""What the signs mean: every picture carries its own key, with ranges and units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from visual.gradients import TALLEST, THIN, WIDE, Look
from visual.picture import Arrow, Box, Element, Strip, Text, bezier, moved, text_width
from visual.style import number

ROW = 26.0
SIZE = 11.0
KINDS = {
    "cell": "cell", "gate": "gate", "state": "state", "op": "operation", "parameter": "weight",
    "input": "input", "constant": "constant", "output": "loss or output", "fold": "folded steps",
}  # fmt: skip


Entry = tuple[Sequence[Element], float, str]
"""A sample drawn around (0, 0), its width, and what it means."""


def legend(
    look: Look, kinds: Sequence[str], bars: bool, cuts: bool, strip: bool, width: float
) -> tuple[list[Element], float]:
    """The key's elements below y = 0, wrapped at `width`, and its height."""
    elements: list[Element] = []
    x, y = 0.0, -ROW / 2
    for sample, wide, text in _entries(look, kinds, bars, cuts, strip):
        whole = wide + 8 + text_width(text, SIZE) * 0.88 + 24
        if x > 0 and x + whole > width:
            x, y = 0.0, y - ROW
        elements += [moved(e, x, y) for e in sample]
        elements.append(
            Text(x + wide + 8, y - 4, text, look.style["ink"], SIZE, "start", classes=("legend",))
        )
        x += whole
    return elements, -y + ROW / 2


def ramp(look: Look, width: float = 150.0) -> list[Element]:
    """The colour scale with its two ends and its middle, in the sample's own coordinates."""
    style, scale = look.style, look.scale
    if scale is None:
        return []
    colours = tuple(style.shade(k / 63) for k in range(64))
    ends = (scale.low, (scale.low * scale.high) ** 0.5, scale.high)
    words = [ends[0]] if scale.low == scale.high else list(ends)
    marks: list[Element] = [Strip("", 0, -1, width, 9, (colours,), ("legend", "ramp"))]
    for k, value in enumerate(words):
        x = (14, width / 2, width - 10)[k]
        marks.append(Text(x, -12, number(value), style["quiet"], 9, classes=("legend",)))
    return marks


def _entries(look: Look, kinds: Sequence[str], bars: bool, cuts: bool, strip: bool) -> Iterator[Entry]:
    style = look.style
    for kind in KINDS:
        if kind in kinds:
            fill, line = style.kind(kind)
            yield [Box("", 9, 0, 18, 13, "", "round", fill, line, classes=("legend",))], 18, KINDS[kind]
    yield [_line(look, style["forward"])], 30, "data, forward"
    if cuts:
        yield (
            [_line(look, style["cut"], 1.3), Text(13, -4.5, "✂", style["cut"], 13, classes=("legend",))],
            30,
            "cut: forward passes, BPTT stops",
        )
    if not look.gradients:
        if bars:
            yield [_bar(look, 8, style["weight"])], 6, "one use of a shared weight (dW = Σ_t dW_t)"
        return
    if look.scale is None:
        yield [_line(look, style["faint"], dash="dotted")], 30, "gradients not computed"
        return
    yield ramp(look), 150, "‖g_edge‖" + " and, in the strip, ‖∂L/∂h‖" * strip + ", log scale"
    ink = style["quiet"]
    if not strip:
        tab = Box(
            "", 5, 0, 10, 5, "", "box", style.shade(0.6), style.shade(0.6), weight=0.8, classes=("legend",)
        )
        yield [tab], 10, "tab on a box: ‖∂L/∂value‖, same scale"
    thick = [_line(look, ink, WIDE, "dashed", True)]
    yield thick, 38, f"BPTT; width = |projection|, its share of ‖g‖; this wide: {number(look.widest)}"
    yield [_line(look, ink, 2.5, "dotted", True)], 38, "negative projection"
    yield [_line(look, style["zero"], THIN, "solid", True, "open")], 38, "exactly zero"
    yield [_line(look, style["alarm"], 3.0, "solid", True)], 38, "NaN or ∞"
    yield [_line(look, style["faint"], dash="dotted")], 30, "not computed"
    if bars:
        yield [_bar(look, TALLEST, ink)], 6, f"‖dW_t‖, one bar per step; this high: {number(look.tallest)}"


def _line(
    look: Look, colour: str, width: float = 1.0, dash: str = "solid", back: bool = False, head: str = "full"
) -> Arrow:
    ends = [(38.0, 0.0), (0.0, 0.0)] if back else [(0.0, 0.0), (30.0, 0.0)]
    return Arrow("", "", "", bezier(ends), colour, width, dash, head, ("legend",))  # type: ignore[arg-type]  # literals


def _bar(look: Look, height: float, colour: str) -> Arrow:
    return Arrow(
        "", "", "", bezier([(3, -height / 2), (3, height / 2)]), colour, 3.0, head="none", classes=("legend",)
    )
