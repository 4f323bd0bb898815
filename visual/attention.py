"""Where a decoder looked: one row for each word that it wrote, one column for each that it read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from visual.picture import Element, Group, Picture, Strip, Text, text_width
from visual.style import number
from visual.style import style as style_of

HIGH = 26.0
"""Height of one entry; it is as wide as the longest word."""


def attention(
    weights: Any,
    source: Sequence[str],
    target: Sequence[str],
    theme: str = "light",
    title: str | None = None,
    style: Mapping[str, str] | None = None,
) -> Picture:
    """Attention weights (U, S) as a matrix: the written words from top to bottom, the read ones to the right.

    Colour is the weight itself, from 0 to 1. ValueError where words and weights are not equally many.
    (Bahdanau, Cho & Bengio 2015, figure 3)

    >>> attention([[0.9, 0.1]], ["la", "luz"], ["light"]).table.splitlines()[1]
    'light  la   0.9'
    """
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (len(target), len(source)) or not values.size:
        raise ValueError(f"expected weights ({len(target)}, {len(source)}), got {values.shape}")
    table = style_of(theme, style)
    title = title or "Where the decoder looked"
    left = 24 + max(text_width(word, 13) for word in target)
    wide = 12 + max(text_width(word, 13) for word in source)
    width, height = wide * len(source), HIGH * len(target)
    low, high = 64.0, 64.0 + height
    colours = tuple(tuple(table.shade(share) for share in row) for row in values[::-1].tolist())
    ramp = tuple(table.shade(k / 63) for k in range(64))
    elements: list[Element] = [
        Group("", left + width / 2, (low + high) / 2, width + 2, height + 2, "none", table["faint"]),
        Strip("attention", left, low, width, height, colours, ("heat",), title),
        Text(16, high + 44, title, table["ink"], 16, "start", bold=True),
        Strip("scale", left, 22, 180, 9, (ramp,), ("legend", "ramp")),
        Text(left, 37, "attention weight", table["ink"], 10.5, "start"),
        *(Text(left + 180 * share, 9, number(share), table["quiet"], 9.5) for share in (0.0, 0.5, 1.0)),
        *(
            Text(left + (s + 0.5) * wide, high + 10, word, table["ink"], 13)
            for s, word in enumerate(source)
        ),
        *(
            Text(left - 8, high - (u + 0.5) * HIGH - 4, word, table["ink"], 13, "end")
            for u, word in enumerate(target)
        ),
    ]

    def facts() -> Iterator[tuple[str, ...]]:
        yield "written", "read", "weight"
        for word, row in zip(target, values.tolist(), strict=True):
            yield from ((word, read, number(share)) for read, share in zip(source, row, strict=True))

    return Picture(
        max(left + width + 24, left + 240, 40 + text_width(title, 16)), high + 76, tuple(elements), title,
        f"{title}: {len(target)} words written, {len(source)} read, colour is the weight.",
        table.theme, table["page"], table["font"], facts=facts,
    )  # fmt: skip
