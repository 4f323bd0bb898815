"""Shared weights: one rail per row instead of a fan of T arrows.

An unrolled network uses the same weight at every step, and its gradient is the sum over them: dW = Σ_t dW_t.
So a row's parameters stand once, at its left, joined at a Σ to a rail that runs along the row; at every step
one bar per weight stands on the rail, as high as ‖dW_t‖. Each bar is that edge of the graph.

The initial states stand at the row's beginning, which is its right end where time runs left.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from tinygrad_rnn.trace import Vertex
from visual.alike import Run, Twins, together
from visual.cells import label
from visual.fold import Folded, Link
from visual.gradients import Look
from visual.grid import Grid, Rect, Room
from visual.picture import Arrow, Box, Part, Text, bezier, text_width

BAR = 4.5
"""From one bar to the next."""
LEAST = 20.0
"""Height of a parameter's box with the space under it."""
BEFORE = 34.0
"""Between a parameter and the operation that it stands in front of."""


@dataclass(frozen=True)
class Margins:
    """What stands outside the columns, and which links the rails have drawn."""

    shelf: Mapping[int, list[str]]
    """Row → its parameters, top to bottom. Row -1 is the foot, row len(rows) + k level k of the head."""
    initial: Mapping[int, list[str]]
    """Row → its initial states."""
    on_rail: Collection[int]
    """Indices of the links laid out that are bars."""


def parameters(folded: Folded) -> tuple[set[str], dict[str, str]]:
    """The parameters that steps use, which belong on a rail, and the others with their first user."""
    timed = {v.id for v in folded.nodes if v.time is not None}
    known = {v.id for v in folded.nodes if v.kind == "parameter"}
    users = [(link.edge.source, link.edge.target) for link in folded.links if link.edge.source in known]
    shared = {weight for weight, user in users if user in timed}
    return shared, {weight: user for weight, user in reversed(users) if weight not in shared}


def initial_states(folded: Folded) -> set[str]:
    """What has no time, is made of nothing here and enters a single step of a row: h_0, c_0."""
    inner = {v.id: v for v in folded.nodes if v.layer is not None and v.time is not None}
    entered: dict[str, set[tuple[int | None, str | None, int | None]]] = {}
    for link in folded.links:
        v = inner.get(link.edge.target)
        step = (v.layer, v.direction, v.time) if v else (None, None, None)
        entered.setdefault(link.edge.source, set()).add(step)
    made = {link.edge.target for link in folded.links}
    kinds = ("constant", "input", "state", "op")
    plain = {v.id for v in folded.nodes if v.kind in kinds and v.time is None} - made
    return {
        name for name in plain if len(entered.get(name, ())) == 1 and (None, None, None) not in entered[name]
    }


def margins(
    plan: Grid, links: Sequence[Link], laid: Iterable[int], weights: set[str], initial: set[str]
) -> Margins:
    """Which parameter and initial state belongs to which row, of the links that are `laid` out."""
    shelf: dict[int, list[str]] = {}
    states: dict[int, list[str]] = {}
    bars: dict[int, None] = {}
    seen: set[str] = set()
    for k in laid:
        source, target = links[k].edge.source, links[k].edge.target
        if source in weights and target in plan.home:
            bars[k] = None
            if source not in seen:
                seen.add(source)
                shelf.setdefault(floor_of(plan, target), []).append(source)
        elif source in initial and source not in seen:
            seen.add(source)
            states.setdefault(int(plan.home[target][0]), []).append(source)
    return Margins(shelf, states, bars)


def floor_of(plan: Grid, name: str) -> int:
    """The row on whose rail a vertex draws its bars; levels of the head and foot count on from the rows."""
    row = plan.home[name][0]
    if plan.inside(row):
        return int(row)
    return len(plan.rows) + plan.storeys[name] if row >= len(plan.rows) else -1 - plan.storeys[name]


def stacks(beside: Mapping[str, str], names: Mapping[str, Vertex]) -> dict[str, tuple[float, list[str]]]:
    """The parameters to stand in front of each operation, from the lowest up, and their width."""
    found: dict[str, list[str]] = {}
    for weight, user in beside.items():
        found.setdefault(user, []).append(weight)
    return {
        user: (max(text_width(short(names[w]), 10) for w in weights) + 14, sorted(weights, reverse=True))
        for user, weights in found.items()
    }


def room(width: float, weights: Sequence[str]) -> Room:
    """What the parameters of such a width need around the operation that they stand in front of."""
    return Room(width + BEFORE, max(0.0, (len(weights) / 2 - 1) * LEAST))


def place_beside(
    place: dict[str, Rect], beside: Mapping[str, tuple[float, list[str]]], middle: float = math.inf
) -> None:
    """Put the parameters that no step uses in front of their operation; right of the `middle`, behind it."""
    for user, (width, weights) in beside.items():
        box = place[user]
        x = box.left - BEFORE - width / 2 if box.x <= middle else box.right + BEFORE + width / 2
        for k, weight in enumerate(weights):
            y = box.y + (k - (len(weights) - 1) / 2) * LEAST
            place[weight] = Rect(x, y, width, 16.0)


def place_margins(plan: Grid, margin: Margins, names: Mapping[str, Vertex]) -> float:
    """Give the margins' boxes their places; returns the x of the Σ."""
    before = 70.0 if any(not plan.reverse(row) for row in margin.initial) else 20.0
    sigma = -before - 10.0
    for row, ids in margin.shelf.items():
        width = max((min(text_width(short(names[id]), 10) + 14, 150.0) for id in ids), default=0.0)
        base = rail_height(plan, row)
        for k, id in enumerate(reversed(ids)):
            plan.place[id] = Rect(sigma - 26 - width / 2, base + k * LEAST, width, 16.0)
    for row, ids in margin.initial.items():
        y = plan.bottom[row] + plan.height / 2
        reverse = plan.reverse(row)
        x = plan.right + 36.0 if reverse else -36.0
        for k, id in enumerate(ids):
            width = min(max(text_width(label(names[id]), 11) + 8, 38.0), 62.0)
            plan.place[id] = Rect(x, y + (k - (len(ids) - 1) / 2) * 24.0, width, 18.0)
            plan.home[id] = row, len(plan.slots) if reverse else -1
    return sigma


def rail_height(plan: Grid, row: int) -> float:
    """The y of a row's rail: just under its boxes."""
    if 0 <= row < len(plan.rows):
        return plan.bottom[row] - 28.0
    inside = [
        plan.place[n].bottom
        for n in plan.storeys
        if n in plan.place and plan.home[n][0] in (-1, len(plan.rows)) and floor_of(plan, n) == row
    ]
    return min(inside, default=0.0) - 24.0


def rails(
    plan: Grid,
    margin: Margins,
    links: Sequence[Link],
    names: Sequence[str],
    runs: Sequence[Run],
    look: Look,
    sigma: float,
) -> Iterator[Part]:
    """The rails with their bars and Σ; `names` are the links' arrow ids."""
    style = look.style
    clusters: dict[int, dict[float, list[Twins[int]]]] = {}
    used: dict[int, dict[str, None]] = {}
    for twins in together(plan, runs, margin.on_rail, attrgetter("links")):
        edge = links[twins.members[0]].edge
        row, x = floor_of(plan, edge.target), _foothold(plan, edge.target)
        used.setdefault(row, {})[edge.source] = None
        clusters.setdefault(row, {}).setdefault(x, []).append(twins)
    for row, groups in clusters.items():
        y = rail_height(plan, row)
        end = max(x + twins.shifts[-1] for x, cluster in groups.items() for twins in cluster) + 16
        yield Arrow(
            "",
            "",
            "",
            bezier([(end, y), (sigma + 8, y)]),
            style["weight"],
            0.9,
            head="none",
            classes=("rail",),
        )
        yield Box(
            "",
            sigma,
            y,
            16,
            16,
            "Σ",
            "circle",
            style["parameter.fill"],
            style["weight"],
            style["ink"],
            10,
            classes=("mark",),
            title="dW = Σ_t dW_t",
        )
        for name in margin.shelf.get(row, ()):
            box = plan.place[name]
            yield Arrow(
                "",
                "",
                "",
                bezier([(box.right, box.y), (sigma - 8, y)]),
                style["weight"],
                0.9,
                head="none",
                classes=("rail",),
            )
        for x, cluster in groups.items():
            start = x - (len(cluster) - 1) / 2 * BAR
            for n, (members, shifts) in enumerate(cluster):
                uses, ids = [links[k] for k in members], [names[k] for k in members]
                yield from look.bars(uses, ids, start + n * BAR, y, shifts)
    for row, weights in used.items():
        for name in [name for name in weights if name not in margin.shelf.get(row, ())]:
            box = plan.place[name]
            way = [(box.left, box.y), (sigma - 8, rail_height(plan, row))]
            yield Arrow("", "", "", bezier(way), style["weight"], 0.9, "dotted", "none", classes=("rail",))


def _foothold(plan: Grid, target: str) -> float:
    """Where a step's bars stand: under its cell's left edge, clear of the arrows that enter from below."""
    row, column = plan.home[target]
    rect = plan.frames.get((row, column)) or plan.place[target]
    return rect.left + 6.0


def short(v: Vertex) -> str:
    """A parameter's name without what its row already says: "weight_hh", but "readout.weight"."""
    *modules, name = (v.label if "." in v.label else v.id).split(".")
    stem, _, layer = name.removesuffix("_reverse").rpartition("_l")
    return stem if stem and layer.isdigit() else ".".join([*modules[-1:], name])


def row_label(plan: Grid, row: int, x: float, look: Look) -> Iterator[Text]:
    """The row's name, as "layer 1 →", in front of it."""
    layer, direction = plan.rows[row]
    y = plan.bottom[row] + plan.height / 2
    arrow = "←" if direction == "reverse" else "→"
    yield Text(
        x, y + 2, f"layer {layer} {arrow}", look.style["ink"], 13, "start", bold=True, classes=("mark",)
    )
    if plan.halves == 2:
        yield Text(x, y - 14, direction, look.style["quiet"], 10, "start", classes=("mark",))
