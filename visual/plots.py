"""Heatmaps: a gradient's norm over the whole sequence at once, as a Picture and with matplotlib.

Where the unrolled picture shows how the gradient splits at each step, these show where it vanishes. Rows run
from the lowest layer up, columns are time, colour is the logarithm of the norm. What was not computed stays
empty, an exact zero and a NaN among numbers each have a look of their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visual.gradients import Look
from visual.picture import Box, Element, Group, Picture, Strip, Text, fit, shown
from visual.sources import flow_of
from visual.style import number, scale_of
from visual.style import style as style_of

Norms = NDArray[np.float64]
Panel = tuple[str, Norms, Sequence[str]]
"""What is shown, its rows from bottom to top, and their names."""

CELL = 26.0
"""Side of one entry; narrower where there are many."""
WIDEST = 960.0
ROWS = 200
"""More losses than this share rows, which then hold the largest norm of several."""
BESIDE = 6
"""More names than this stand beside the lines, not on them."""
MOST = 400
"""Longer sequences are binned: the largest norm of each bin over its median, since a mean hides spikes."""


def heatmap(
    flow: Any,
    theme: str = "light",
    title: str | None = None,
    style: Mapping[str, str] | None = None,
    tokens: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> Picture:
    """‖∂L/∂h_t‖ and ‖∂L/∂c_t‖ by (layer, direction, t) on one log scale.

    Reads `flow.h` and `flow.c` (layers, directions, T), the latter None where there is no cell state; NaN
    means "not computed". A scalar loss is measured first. `tokens` holds one label per step, written under
    the columns. A list of flows over equally many steps is drawn one above the other on one scale, the first
    on top, with their `names`.

    >>> from types import SimpleNamespace
    >>> heatmap(SimpleNamespace(h=[[[0.1, 1.0]]], c=None)).table.splitlines()[1]
    '‖∂L/∂h‖ layer 0 →  0  0.1'
    """
    several = isinstance(flow, list | tuple) and not hasattr(flow, "nodes")
    flows = [flow_of(what) for what in (flow if several else [flow])]
    if any(np.size(found.h) == 0 for found in flows):
        raise ValueError("expected a recurrent network, got a loss that reaches no state h at any step")
    if names is not None and len(names) != len(flows):
        raise ValueError(f"expected {len(flows)} names, one for each flow, got {len(names)}")
    panels = []
    for k in reversed(range(len(flows))):
        head = f"{names[k]}, " if names is not None else ""
        values = _rows(flows[k].h)
        rows = _row_names(np.asarray(flows[k].h))
        panels.append((f"{head}‖∂L/∂h‖", values, rows))
        if flows[k].c is not None:
            panels.append((f"{head}‖∂L/∂c‖", _rows(flows[k].c), rows))
    lengths = {values.shape[1] for _, values, _ in panels}
    if len(lengths) > 1:
        raise ValueError(f"expected flows over equally many steps, got {sorted(lengths)}")
    return _drawn(panels, theme, title or "The gradient's norm at every step", style, tokens)


def influence(
    what: Any,
    losses: Sequence[Any] | None = None,
    theme: str = "light",
    title: str | None = None,
    style: Mapping[str, str] | None = None,
    layer: int = -1,
    direction: str = "fwd",
) -> Picture:
    """‖∂L_s/∂h_t‖ as a matrix (S, T): which loss reaches which step; s runs upward, t to the right.

    `what` is the matrix; or a Flow, or the loss to measure, with `losses` on its tape and the row of states
    to look at.

    >>> influence([[1.0, 0.0], [0.5, 1.0]]).title
    'Which loss reaches which step'
    """
    values = _matrix(what, losses, layer, direction)
    each = -(-len(values) // ROWS)
    rows = [_largest(values[s : s + each]) for s in range(0, len(values), each)]
    names = [f"L at {k * each}" if len(rows) <= 24 or k % 10 == 0 else "" for k in range(len(rows))]
    label = "‖∂L_s/∂h_t‖" + (f", in each row the largest of {each} losses" if each > 1 else "")
    return _drawn([(label, np.stack(rows), names)], theme, title or "Which loss reaches which step", style)


def plot_heatmap(flow: Any, ax: Any = None) -> Any:
    """`heatmap` with matplotlib, into `ax` (or new axes), which is returned; rows of c above those of h."""
    flow = flow_of(flow)
    h, names = _rows(flow.h), _row_names(np.asarray(flow.h))
    if flow.c is None:
        ax = _image(h, ax, "‖∂L/∂h_t‖")
    else:
        ax = _image(np.concatenate([h, _rows(flow.c)]), ax, "‖∂L/∂h_t‖, ‖∂L/∂c_t‖")
        names = [f"{state}, {name}" for state in "hc" for name in names]
    ax.set_yticks(range(len(names)), names)
    ax.set_title("The gradient's norm at every step")
    return ax


def plot_influence(
    what: Any, ax: Any = None, losses: Sequence[Any] | None = None, layer: int = -1, direction: str = "fwd"
) -> Any:
    """`influence` with matplotlib, into `ax` (or new axes), which is returned."""
    ax = _image(_matrix(what, losses, layer, direction), ax, "‖∂L_s/∂h_t‖")
    ax.locator_params(axis="y", integer=True)
    ax.set_ylabel("loss s")
    ax.set_title("Which loss reaches which step")
    return ax


def plot_weight_gradients(flow: Any, ax: Any = None) -> Any:
    """‖dW_t‖, each step's share in each weight's gradient, as lines into `ax` (or new axes); returns it.

    Vectors add, norms don't: the lines of a weight do not sum to the norm of its gradient.
    """
    ax, flow = _axes(ax), flow_of(flow)
    for k, (name, norms) in enumerate(flow.weights.items()):
        positive = np.where(np.asarray(norms) > 0, norms, np.nan)
        ax.plot(positive, marker=".", linestyle=("-", "--", ":", "-.")[k // 10 % 4], label=name)
    if any(np.any(np.asarray(norms) > 0) for norms in flow.weights.values()):
        ax.set_yscale("log")
    if len(flow.weights) > BESIDE:
        ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    elif flow.weights:
        ax.legend(fontsize="small")
    ax.set_xlabel("time t")
    ax.set_ylabel("‖dW_t‖")
    ax.set_title("Each step's share in the weights' gradients")
    return ax


def _matrix(what: Any, losses: Sequence[Any] | None, layer: int, direction: str) -> Norms:
    if losses is not None or hasattr(what, "nodes"):
        what = flow_of(what).influence(losses, layer, direction)
    elif hasattr(what, "influence"):
        raise ValueError("expected losses, one for each row of the matrix, along with a Flow")
    values: Norms = np.asarray(what, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"expected a matrix (S, T), got shape {values.shape}")
    return values


def _axes(ax: Any) -> Any:
    try:
        from matplotlib import pyplot
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise ImportError("this plot needs matplotlib: pip install 'tinygrad-rnn[plots]'") from None
    ax = pyplot.subplots(layout="constrained")[1] if ax is None else ax
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def _image(values: Norms, ax: Any, label: str) -> Any:
    ax = _axes(ax)
    from matplotlib.colors import ListedColormap, LogNorm, to_rgba

    number = np.isfinite(values) & (values > 0)
    seen = values[number]
    norm = LogNorm(seen.min(), max(seen.max(), seen.min() * 1.001)) if seen.size else None
    *shade, opaque = to_rgba(ax.get_facecolor())
    style = style_of("dark" if opaque and sum(shade) < 1.5 else "light")
    ramp = {"dark": "cividis", "light": "cividis_r"}[style.theme]
    how = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    shown = ax.imshow(np.ma.masked_where(~number, values), norm=norm, cmap=ramp, **how)
    if seen.size:
        ax.figure.colorbar(shown, ax=ax, label=f"{label}, log scale")
    words = ["time t"]
    for where, name, word in (
        (values == 0, "faint", "grey: exactly zero"),
        (np.isinf(values), "alarm", "orange: infinite"),
    ):
        if where.any():
            ax.imshow(np.ma.masked_where(~where, where), cmap=ListedColormap([style[name]]), **how)
            words.append(word)
    ax.set_xlabel("; ".join(words))
    return ax


def _rows(values: Any) -> Norms:
    """(layers, D, T) as rows, lowest layer first, forward before reverse."""
    array: Norms = np.asarray(values, dtype=np.float64)
    if array.ndim != 3:
        raise ValueError(f"expected an array (layers, directions, T), got shape {array.shape}")
    return array.reshape(-1, array.shape[-1])


def _row_names(values: Norms) -> list[str]:
    layers, directions = values.shape[:2]
    return [f"layer {k} {arrow}" for k in range(layers) for arrow in "→←"[:directions]]


def _drawn(
    panels: Sequence[Panel],
    theme: str,
    title: str,
    changes: Mapping[str, str] | None,
    tokens: Sequence[str] | None = None,
) -> Picture:
    style = style_of(theme, changes)
    everything = np.concatenate([values.ravel() for _, values, _ in panels])
    seen = everything[np.isfinite(everything) & (everything > 0)]
    look = Look(style, True, scale_of(float(seen.min()), float(seen.max())) if seen.size else None)
    steps = panels[0][1].shape[1]
    binned = steps > MOST
    columns = min(steps, MOST)
    width = max(min(columns * CELL, WIDEST), 260.0)
    pitch = width / max(columns, 1)
    left, y = 110.0, 104.0 if tokens is None else 124.0

    elements: list[Element] = []
    for n, (label, values, names) in enumerate(panels):
        high = CELL if len(names) <= 24 else max(4.0, 600.0 / len(names))
        height = high * len(names)
        middle, faint = (left + width / 2, y + height / 2), style["faint"]
        elements.append(Box("", *middle, width + 1, height + 1, "", "box", line=faint, weight=1.0))
        colours = tuple(
            tuple(look.heat(None if math.isnan(n) else n) for n in row)
            for row in (_binned(values, columns) if binned else values).tolist()
        )
        again = sum(other == label for other, *_ in panels[:n])
        name = f"strip.{label}" + f".{again}" * bool(again)
        elements.append(Strip(name, left, y, width, height, colours, ("heat",), label))
        for k, name in enumerate(names):
            elements.append(Text(left - 8, y + (k + 0.5) * high - 4, name, style["ink"], 11, "end"))
        if pitch >= 18 and high >= 18:
            for k, row in enumerate(values):
                for t in np.flatnonzero((row == 0) | np.isinf(row)).tolist():
                    sign = "0" if row[t] == 0 else "∞"
                    elements.append(
                        Text(left + (t + 0.5) * pitch, y + (k + 0.5) * high - 4, sign, style["quiet"], 10)
                    )
        y += height + 12
        elements.append(Text(left, y, label, style["ink"], 13, "start", bold=True))
        y += 34
    steps_apart = (m * 10**k for k in range(12) for m in (1, 2, 5))
    every = next(s for s in steps_apart if s * width / max(steps, 1) >= 26)
    if tokens is not None and pitch >= 12 and not binned:
        for t, token in enumerate(tokens[:steps]):
            x = left + (t + 0.5) * pitch
            elements.append(Text(x, 105, fit(shown(token), pitch, 13), style["ink"], 13, bold=True))
    for t in range(0, steps, every):
        elements.append(Text(left + (t + 0.5) * width / steps, 86, str(t), style["quiet"], 10))
    elements.append(Text(left - 8, 86, "time t", style["quiet"], 10, "end"))
    elements.append(Text(28, y + 6, title, style["ink"], 16, "start", bold=True))
    elements += _key(look, left, 52.0, binned)
    count = sum(len(names) for _, _, names in panels)
    desc = f"{title}: {count} rows, {steps} steps, colour is the norm on a log scale."
    whole = max(left + width + 40, left + 580.0, 56 + len(title) * 10.0)
    return Picture(
        whole,
        y + 40,
        tuple(elements),
        title,
        desc,
        style.theme,
        style["page"],
        style["font"],
        facts=lambda: _facts(panels),
    )


def _facts(panels: Sequence[Panel]) -> Iterator[tuple[str, ...]]:
    """The text table: one line for each entry."""
    yield "row", "t", "norm"
    for label, values, names in panels:
        for name, row in zip(names, values, strict=True):
            for t, norm in enumerate(row.tolist()):
                yield f"{label} {name}", str(t), "not computed" if math.isnan(norm) else number(norm)


def _key(look: Look, left: float, y: float, binned: bool) -> list[Element]:
    """The colour scale with its range, and the looks that are no magnitude."""
    style = look.style
    elements: list[Element] = []
    if look.scale is not None:
        colours = tuple(style.shade(k / 63) for k in range(64))
        elements.append(Strip("scale", left, y, 180, 9, (colours,), ("legend", "ramp")))
        for share, value in (
            (0.0, look.scale.low),
            (0.5, (look.scale.low * look.scale.high) ** 0.5),
            (1.0, look.scale.high),
        ):
            elements.append(Text(left + 180 * share, y - 13, number(value), style["quiet"], 9.5))
        elements.append(
            Text(
                left,
                y - 29,
                "norm, log scale" + (" (each row: bin's largest over its median)" if binned else ""),
                style["ink"],
                10.5,
                "start",
            )
        )
    x = left + 216
    for colour, text in (
        ("none", "not computed"),
        (style["faint"], "exactly zero"),
        (style["alarm"], "infinite"),
    ):
        elements.append(Group("", x + 6, y + 4, 12, 10, colour, style["faint"], classes=("legend",)))
        elements.append(Text(x + 18, y, text, style["ink"], 10.5, "start"))
        x += 34 + len(text) * 6.0
    return elements


def _binned(values: Norms, columns: int) -> Norms:
    """Two rows for each: the medians of the bins below their largest."""
    bounds = np.linspace(0, values.shape[1], columns + 1).astype(int)
    bins = [values[:, a:b] for a, b in itertools.pairwise(bounds)]
    pairs = [(_median(b), _largest(b.T)) for b in bins]
    return np.stack([np.stack(column, axis=1) for column in zip(*pairs, strict=True)], axis=1).reshape(
        -1, columns
    )


def _largest(values: Norms) -> Norms:
    """The largest of each column, NaN where nothing was computed."""
    largest: Norms = np.where(np.isnan(values), -1.0, values).max(axis=0)
    return np.where(largest < 0, math.nan, largest)


def _median(values: Norms) -> Norms:
    counts = (~np.isnan(values)).sum(axis=1)
    ordered = np.sort(values, axis=1)
    rows = np.arange(len(values))
    low, high = (
        ordered[rows, np.maximum(counts - 1, 0) // 2],
        ordered[rows, np.minimum(counts // 2, values.shape[1] - 1)],
    )
    middle: Norms = np.where(counts > 0, (low + high) / 2, math.nan)
    return middle
