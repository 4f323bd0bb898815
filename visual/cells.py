"""The inside of one cell: where its gates and operations stand.

A reader who has found the forget gate once should find it in the same place at every step, so each kind of
cell has a fixed template: LSTM, GRU and RNN by hand, with the state that carries the gradient on a straight
rail; any other set of gates, and the operations at op level, by layers from left to right.

Templates are drawn for time running right. A reverse row mirrors them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tinygrad_rnn.trace import Vertex
from visual.layered import layers
from visual.picture import Point, text_width

Sides = tuple[str, str]
"""Where an arrow leaves and enters: "top", "bottom", "ahead" (with time) or "behind"."""
Place = tuple[float, float, float, float]
"""Centre, width and height."""


@dataclass(frozen=True)
class Template:
    """Size of a cell's frame, and places and arrows inside it, by the members' names within the cell."""

    width: float
    height: float
    places: Mapping[str, Place]
    elbows: Mapping[tuple[str, str], Sides] = field(default_factory=dict)
    """Inner edges that turn a right angle, by the gates they join."""
    bends: Mapping[tuple[str, str], Sequence[Point]] = field(default_factory=dict)
    """Corners of inner edges that pass other members."""
    doors: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    """The lane from the frame's edge to a member that reads from outside."""
    exits: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    """The lane from a member that is read outside to the frame's other edge."""


def _gate(x: float, y: float) -> Place:
    return x, y, 36.0, 28.0


TEMPLATES: dict[frozenset[str], Template] = {
    frozenset("ifgoch"): Template(
        304, 214,
        {
            "f": _gate(38, 100), "i": _gate(94, 100), "g": _gate(150, 100), "o": _gate(206, 100),
            "c": (94, 176, 44, 44), "h": (268, 100, 40, 44),
        },
        {("c", "h"): ("ahead", "top")},
    ),
    frozenset("rznh"): Template(
        254, 200,
        {"r": _gate(38, 100), "n": _gate(94, 100), "z": _gate(150, 100), "h": (216, 152, 40, 60)},
        {("z", "h"): ("ahead", "bottom"), ("n", "h"): ("top", "behind")},
    ),
    frozenset("h"): Template(104, 92, {"h": (52, 46, 44, 44)}),
}  # fmt: skip
"""The cells that are drawn by hand, by their gates; pre-activations stand as flat bars below the gates."""

CUT = {"c": (36, 176), "h": (96, 100)}
"""Where the detached state of an LSTM stands: at the heights of its next step's."""

WORDS = {
    "i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate", "c": "cell state",
    "h": "hidden state", "r": "reset gate", "z": "update gate", "n": "candidate",
}  # fmt: skip
BAR_HEIGHT = 24.0


def template(
    members: Sequence[Vertex],
    inner: Sequence[tuple[str, str]],
    names: Mapping[str, str],
    readers: Sequence[str],
    sources: Sequence[str],
) -> Template:
    """The template for a cell: members, their names in it, inner edges, who reads and who is read outside."""
    if len(members) == 1 and closed(members[0]):
        return Template(46, 46, {names[members[0].id]: (23, 23, 46, 46)})
    if sorted(v.label for v in members if v.kind == "cut") == ["c", "h"] and len(members) == 2:
        return Template(132, 214, {names[v.id]: _gate(*CUT[v.label]) for v in members})
    gates = [v for v in members if v.gate is not None]
    known = TEMPLATES.get(frozenset(v.gate for v in gates if v.gate))
    rest = [v for v in members if v.gate is None]
    if (
        known is None
        or len({v.gate for v in gates}) < len(gates)
        or any(v.kind in ("op", "constant") for v in rest)
    ):
        return _by_layers(members, inner, names, readers, sources)
    named = {v.gate or "": names[v.id] for v in gates}
    lift = 60.0 if rest and len(gates) == 1 else 0.0
    places = {named[gate]: (x, y + lift, w, h) for gate, (x, y, w, h) in known.places.items()}
    edge = max(known.width - 74, 84.0)
    wide = (edge - 10) / max(len(rest), 1)
    for k, v in enumerate(reversed(rest)):
        places[names[v.id]] = (20 + (k + 0.5) * wide, 34, wide - 10, BAR_HEIGHT)
    elbows = {(named[a], named[b]): sides for (a, b), sides in known.elbows.items()}
    return Template(known.width, known.height + lift, places, elbows)


def _by_layers(
    members: Sequence[Vertex],
    inner: Sequence[tuple[str, str]],
    names: Mapping[str, str],
    readers: Sequence[str],
    sources: Sequence[str],
) -> Template:
    """Layers from left to right, as the data runs, with lanes for what comes from outside or goes there."""
    wide = {names[v.id]: max(36.0, text_width(label(v), 10) + 14) for v in members}
    tall = 28.0
    doors = {f"\0{name}": name for name in readers}
    exits = {name: f"{name}\0" for name in sources}
    plan = layers(
        {**dict.fromkeys(doors, 12.0), **dict.fromkeys(wide, tall), **dict.fromkeys(exits.values(), 12.0)},
        [*doors.items(), *inner, *exits.items()], gap=14.0, fixed=[*doors, *exits.values()],
    )  # fmt: skip
    columns = dict.fromkeys(plan.depth.values(), 0.0)
    for name, width in wide.items():
        depth = plan.depth[name]
        columns[depth] = max(columns.get(depth, 0.0), width)
    centre, left = {}, 8.0
    for depth in sorted(columns):
        centre[depth] = left + columns[depth] / 2
        left += columns[depth] + (32 if columns[depth] else 10)
    places = {name: (centre[plan.depth[name]], plan.across[name] + 24, wide[name], tall) for name in wide}
    corners = {pair: [(centre[d], y + 24) for d, y in lanes] for pair, lanes in plan.bends.items()}
    lanes = {
        name: [(0.0, plan.across[door] + 24), *corners.pop((door, name))] for door, name in doors.items()
    }
    width = left - 10
    ways = {name: [*corners.pop((name, out)), (width, plan.across[out] + 24)] for name, out in exits.items()}
    return Template(width, plan.breadth + 48, places, {}, corners, lanes, ways)


def closed(v: Vertex) -> bool:
    """Whether the vertex is a whole step of a layer, or several: a cell, a cut one, a fold."""
    return v.kind in ("cell", "fold") or v.op == "cell"


def label(v: Vertex) -> str:
    """What stands in the vertex's box."""
    return v.label or v.gate or v.op
