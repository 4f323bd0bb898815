"""Pictures of how gradients flow through recurrent networks.

    import visual
    visual.draw(loss, level="cell", gradients=True, tokens="hello").render("hello.svg")

A picture is made in three stages. A `Graph` (plain data, from `tinygrad_rnn.trace` or `flow`) gets positions
and becomes a `Picture` (`unroll`, with `fold`, `grid`, `cells`, `wires`, `rail`, `layered`); a Picture is
written as SVG (`svg`) or handed to Graphviz (`dot`). Colours come from `style`; heatmaps are in `plots`, the
loop beside its unrolling is in `rolled`, two networks side by side in `compare`, where a decoder looked in
`attention`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visual.attention import attention
from visual.compare import compare
from visual.picture import Picture
from visual.plots import heatmap, influence
from visual.rolled import rolled
from visual.sources import LEVELS, graph_of
from visual.style import style as _style
from visual.unroll import unrolled

__all__ = ["Picture", "attention", "compare", "draw", "heatmap", "influence", "rolled"]


def draw(
    what: Any,
    level: str | None = None,
    gradients: bool = False,
    fold: str | bool | int = "auto",
    focus: int | Sequence[int] | None = None,
    tokens: Sequence[str] | None = None,
    theme: str = "light",
    title: str | None = None,
    style: Mapping[str, str] | None = None,
) -> Picture:
    """The picture of a Graph, a Flow, or a Tensor and all that led to it.

    `level` is "cell" (the default), "gate", "op" or "layer"; a Graph that is already contracted is drawn as
    it is. With `gradients` the arrows of BPTT run beside the data's; a Tensor is then measured with
    `tinygrad_rnn.flow`, which needs a scalar loss. `fold` shortens long sequences ("auto", True, False or the
    number of steps above which to fold), `focus` is a step or a range that stays open, `tokens` holds one
    label per step, `style` changes names of `visual.style.TABLE`. More than 500,000 vertices and edges in one
    picture raise ValueError, before the work begins.

    >>> from tinygrad_rnn.trace import Graph, Vertex
    >>> draw(Graph((Vertex("x", "input", "input"),), ())).boxes[0].id
    'x'
    """
    if level is not None and level not in LEVELS:
        raise ValueError(f"expected a level among {', '.join(LEVELS)}, got {level!r}")
    table = _style(theme, style)
    graph = graph_of(what, level, gradients)
    return unrolled(graph, table, gradients, fold, focus, tokens, title)
