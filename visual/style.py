"""One table of colours, fonts and sizes, so that every picture looks alike and a reader can restyle them all.

Kinds take the Okabe–Ito palette, magnitudes take cividis: both stay apart for readers with any colour vision.
On a light page the ramp runs from pale (small) to dark (large), on a dark page from dark to pale, so that a
vanished gradient fades and a large one stands out; its darkest part would be lost on a dark page and is left
out there. Direction is never told by colour alone.

Read `TABLE` first: every name that a user may change, on a light and on a dark page.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

TABLE: dict[str, tuple[str, ...]] = {
    "page": ("#ffffff", "#12171d"),
    "ink": ("#1f2933", "#e8edf2"),
    "quiet": ("#6b7785", "#9fabb7"),
    "faint": ("#c9d1d9", "#4b5866"),
    "band": ("#f6f8fa", "#192028"),
    "font": ("Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif",),
    "cell.fill": ("#e6f1f8", "#14303f"),
    "cell.line": ("#0072b2", "#56b4e9"),
    "state.fill": ("#e6f1f8", "#14303f"),
    "state.line": ("#0072b2", "#56b4e9"),
    "gate.fill": ("#fdf3df", "#38290f"),
    "gate.line": ("#e69f00",),
    "parameter.fill": ("#e2f3ed", "#0f3329"),
    "parameter.line": ("#009e73", "#2fbf97"),
    "input.fill": ("#ffffff", "#12171d"),
    "input.line": ("#56b4e9",),
    "constant.fill": ("#ffffff", "#12171d"),
    "constant.line": ("#9aa5b1", "#6b7785"),
    "op.fill": ("#ffffff", "#12171d"),
    "op.line": ("#6b7785", "#9fabb7"),
    "output.fill": ("#f8eaf2", "#3a2130"),
    "output.line": ("#cc79a7",),
    "cut.fill": ("#ffffff", "#12171d"),
    "cut.line": ("#d55e00", "#ff8a3d"),
    "fold.fill": ("#f1f3f5", "#1e2731"),
    "fold.line": ("#9aa5b1", "#6b7785"),
    "forward": ("#7d8894", "#77838f"),
    "weight": ("#009e73", "#2fbf97"),
    "cut": ("#d55e00", "#ff8a3d"),
    "alarm": ("#d55e00", "#ff8a3d"),
    "zero": ("#9aa5b1", "#6b7785"),
}
"""Each name with its value on a light page and, where that differs, on a dark one."""

COLOUR = re.compile("#[0-9a-fA-F]{6}|[a-z]+")

THEMES: dict[str, dict[str, str]] = {
    "light": {name: values[0] for name, values in TABLE.items()},
    "dark": {name: values[-1] for name, values in TABLE.items()},
}

CIVIDIS = tuple(
    bytes.fromhex(
        "00224e00285b002e6a0533711a386f273e6e32436d3b496c434e6c4b546c535a6d5a5f6e61656f686a716f70737676767d7c78"
        "8482798c8878938e789b9476a39a74aba072b4a76fbcae6cc4b468cdbb63d5c25edec958e7d150f0d846f9e03afee838"
    )[3 * k : 3 * k + 3]
    for k in range(33)
)
"""The cividis ramp (Nuñez, Anderton and Renslow 2018) at 33 even stops, straight lines between them."""

SHADES = 1024
"""So many steps of the ramp."""


DARKEST = 200
"""The step where the ramp begins on a dark page."""


def _on_ramp(place: int) -> str:
    k, rest = divmod(place * (len(CIVIDIS) - 1), SHADES)
    below, above = CIVIDIS[k], CIVIDIS[min(k + 1, len(CIVIDIS) - 1)]
    shade = (round(a + (b - a) * rest / SHADES) for a, b in zip(below, above, strict=True))
    return "#" + "".join(f"{part:02x}" for part in shade)


RAMP = tuple(map(_on_ramp, range(SHADES + 1)))
"""The ramp's colours, the darkest first."""


@dataclass(frozen=True)
class Style:
    """The table of one theme, with the user's changes.

    >>> style("dark", {"cell.line": "#ffffff"})["cell.line"]
    '#ffffff'
    """

    theme: str
    table: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.table[name]

    def kind(self, kind: str) -> tuple[str, str]:
        """Fill and line of a kind of node; an unknown kind looks like an operation."""
        return self._kinds.get(kind, self._kinds["op"])

    @cached_property
    def _kinds(self) -> dict[str, tuple[str, str]]:
        kinds = [name.removesuffix(".fill") for name in self.table if name.endswith(".fill")]
        return {kind: (self.table[f"{kind}.fill"], self.table[f"{kind}.line"]) for kind in kinds}

    def shade(self, share: float) -> str:
        """The colour at `share` of the ramp, 0 for the smallest magnitude and 1 for the largest.

        >>> style().shade(1.0), style("dark").shade(1.0)
        ('#00224e', '#fee838')
        """
        share = 0.0 if share < 0.0 else 1.0 if share > 1.0 else share
        return self.ramp[int(share * (len(self.ramp) - 1) + 0.5)]

    @cached_property
    def ramp(self) -> tuple[str, ...]:
        """The colours of magnitudes, that of the smallest first."""
        return RAMP[DARKEST:] if self.theme == "dark" else RAMP[::-1]


def style(theme: str = "light", changes: Mapping[str, str] | None = None) -> Style:
    """The style of a theme with `changes` to its table; ValueError for an unknown theme, name or colour.

    >>> style("light", {"cell.lime": "#000000"})
    Traceback (most recent call last):
    ValueError: unknown style name 'cell.lime'; did you mean 'cell.line'?
    """
    if theme not in THEMES:
        raise ValueError(f"expected theme 'light' or 'dark', got {theme!r}")
    table = THEMES[theme]
    for name, value in (changes or {}).items():
        if name not in table:
            near = difflib.get_close_matches(name, table, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"the names are {', '.join(table)}"
            raise ValueError(f"unknown style name {name!r}; {hint}")
        if name != "font" and not COLOUR.fullmatch(value):
            raise ValueError(f"expected {name!r} as '#rrggbb' or a colour's name, got {value!r}")
    return Style(theme, {**table, **(changes or {})})


@dataclass(frozen=True)
class Scale:
    """A log scale of magnitudes, from `low`, the first of a ramp's colours, to `high`, the last.

    >>> [round(norm, 4) for norm in Scale(1e-4, 1e0).steps(3)]
    [0.001, 0.1]
    """

    low: float
    high: float

    def steps(self, colours: int) -> list[float]:
        """The norms from which on a ramp of so many colours shows its second, third, … one."""
        low, span = math.log(self.low), math.log(self.high) - math.log(self.low)
        if not span:
            return [0.0] * (colours - 1)
        return [math.exp(low + span * (k + 0.5) / (colours - 1)) for k in range(colours - 1)]


def scale_of(low: float, high: float) -> Scale | None:
    """The scale between the smallest and largest positive finite norm; None where there was none.

    >>> scale_of(math.inf, 0.0) is None
    True
    """
    return Scale(low, high) if 0.0 < low <= high < math.inf else None


def look(norm: float | None) -> Literal["missing", "zero", "broken", "number"]:
    """Which of the four looks a norm has: not computed, exactly zero, NaN or infinite, or a number.

    >>> [look(n) for n in (None, 0.0, math.nan, 0.5)]
    ['missing', 'zero', 'broken', 'number']
    """
    if norm is None:
        return "missing"
    if 0.0 < norm < math.inf:
        return "number"
    return "broken" if norm else "zero"


def number(value: float | None) -> str:
    """A magnitude as a reader wants it: three digits, "not computed" where there is none.

    >>> number(0.0123456), number(0.0), number(None), number(math.nan)
    ('0.0123', '0', 'not computed', 'NaN')
    """
    if value is None:
        return "not computed"
    text = f"{value:.3g}"
    return text.replace("nan", "NaN").replace("inf", "∞") if text[-1] in "nf" else text
