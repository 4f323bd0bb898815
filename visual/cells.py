"""The inside of one cell: where its gates and operations stand.

A reader who has found the forget gate once should find it in the same place at every step, so each kind of
cell has a fixed template: LSTM, GRU and RNN by hand, with the state that carries the gradient on a straight
rail; any other set of gates, and the operations at op level, by layers from left to right.

Templates are drawn for time running right. A reverse row mirrors them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinygrad_rnn.trace import Vertex
from visual.layered import layers
from visual.picture import Point, text_width

GATE = (36.0, 28.0)
TEMPLATES: dict[frozenset[str], tuple[float, float, Mapping[str, Point]]] = {
    frozenset("ifgoch"): (
        286, 172,
        {"f": (36, 88), "i": (90, 88), "g": (144, 88), "o": (198, 88), "c": (228, 146), "h": (256, 44)},
    ),
    frozenset("rznh"): (
        230, 150,
        {"r": (36, 56), "n": (92, 56), "z": (148, 56), "h": (198, 122)},
    ),
    frozenset("h"): (84, 72, {"h": (42, 36)}),
}  # fmt: skip
"""Gates → width, height and places. Where a cell holds more than its gates (pre-activations), the template is
lifted and these stand in a row below."""

WORDS = {
    "i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate", "c": "cell state",
    "h": "hidden state", "r": "reset gate", "z": "update gate", "n": "candidate",
}  # fmt: skip


@dataclass(frozen=True)
class Template:
    """Size of a cell's frame, and place and size of each member by its name within the cell."""

    width: float
    height: float
    places: Mapping[str, tuple[float, float, float, float]]
    bends: Mapping[tuple[str, str], Sequence[Point]]
    """Corners of the inner edges that pass other members."""


def template(members: Sequence[Vertex], inner: Sequence[tuple[str, str]], names: Mapping[str, str]) -> Template:
    """The template for a cell with these members and inner edges; `names` gives each id's name in the cell."""
    if len(members) == 1 and members[0].kind == "cell":
        return Template(46, 46, {names[members[0].id]: (23, 23, 46, 46)}, {})
    gates = [v for v in members if v.gate is not None and v.kind in ("gate", "state")]
    known = TEMPLATES.get(frozenset(v.gate for v in gates if v.gate))
    if known is None or len({v.gate for v in gates}) != len(gates) or any(v.kind == "op" for v in members):
        return _by_layers(members, inner, names)
    width, height, places = known
    rest = [v for v in members if v not in gates]
    lift = 50.0 if rest else 0.0
    sizes = {names[v.id]: (*places[v.gate or ""], *GATE) for v in gates}
    placed = {name: (x, y + lift, w, h) for name, (x, y, w, h) in sizes.items()}
    pitch = (width - 60) / max(len(rest), 1)
    for k, v in enumerate(rest):
        wide = max(36.0, min(text_width(v.label or v.op, 10) + 12, pitch - 6))
        placed[names[v.id]] = ((width - 60) / 2 + (k - (len(rest) - 1) / 2) * pitch + 10, 40, wide, 24)
    return Template(width, height + lift, placed, {})


def _by_layers(members: Sequence[Vertex], inner: Sequence[tuple[str, str]], names: Mapping[str, str]) -> Template:
    """Layers from left to right, as the data runs."""
    wide = {names[v.id]: max(36.0, text_width(label(v), 10) + 14) for v in members}
    tall = 26.0
    plan = layers(dict.fromkeys(wide, tall), inner, gap=12.0)
    columns: dict[int, float] = {}
    for name, depth in plan.depth.items():
        columns[depth] = max(columns.get(depth, 0.0), wide[name])
    centre, left = {}, 16.0
    for depth in sorted(columns):
        centre[depth] = left + columns[depth] / 2
        left += columns[depth] + 34
    height = plan.breadth + 44
    placed = {name: (centre[plan.depth[name]], plan.across[name] + 22, wide[name], tall) for name in wide}
    bends = {pair: [(centre[d], y + 22) for d, y in lanes] for pair, lanes in plan.bends.items()}
    return Template(left - 34 + 16, height, placed, bends)


def label(v: Vertex) -> str:
    """What stands in the vertex's box."""
    return v.label or v.gate or v.op
