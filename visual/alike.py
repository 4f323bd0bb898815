"""Steps that are built alike are laid out once.

A network of ten thousand steps is a few steps many times over. Where steps in a row have the same vertices
and edges, all of them or again and again after a period, only some at either end of the run are laid out;
between them each step is a copy of one of these, moved along x. That is the plan which laying out every step
would give, for the work of a few.

Read `thinned` for which steps those are; `place` and `spread_out` put the copies into the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from tinygrad_rnn.trace import Vertex
from visual.fold import Folded
from visual.grid import Grid, Rect
from visual.paths import Route, Wire

LEAST = 16
"""Fewer steps than this are not worth a copy."""
LONGEST = 16
"""The longest period that is looked for: a loss at every tenth step, a cut at every eighth."""


class Run(NamedTuple):
    """Steps that are copies of one: `columns` of the column `model`, one in each period."""

    model: int
    columns: range
    vertices: Sequence[Sequence[Vertex]]
    """For each column of the whole network, its vertices in recorded order."""
    links: Sequence[Sequence[int]]
    """For each column, the indices of the links whose later end it is."""


def thinned(whole: Folded) -> tuple[Folded, list[Run]]:
    """What must be laid out of the network, and the runs of copies that complete it."""
    column = {t: k for k, t in enumerate(whole.times)}
    vertices: list[list[Vertex]] = [[] for _ in column]
    links: list[list[int]] = [[] for _ in column]
    at: dict[str, tuple[int, int | str]] = {}
    built: list[list[object]] = [[] for _ in column]
    for v in whole.nodes:
        if v.time is None:
            at[v.id] = -1, v.id
        else:
            k = column[v.time]
            at[v.id] = k, len(vertices[k])
            vertices[k].append(v)
            built[k].append(_look(v))
    reach = 1
    for n, (e, _) in enumerate(whole.links):
        (a, i), (b, j) = at[e.source], at[e.target]
        k, first = (a, b) if a > b else (b, a)
        if k >= 0:
            links[k].append(n)
            built[k] += (i, j, a > b, k - first if first >= 0 else -1, e.via[-2:] == ".c")
            if first >= 0 and k - first > reach:
                reach = k - first
    kinds: dict[tuple[object, ...], int] = {}
    numbers = [kinds.setdefault(tuple(found), len(kinds)) for found in built]
    runs, hidden = [], set[int]()
    for stretch, period in _stretches(numbers):
        model, end = stretch.start + reach + 1, stretch.stop - reach - 2
        inner = range(model + 2 * period + reach, end - reach)
        if len(inner) >= LEAST:
            models = range(model, model + period)
            runs += [Run(k, range(k + period, end, period), vertices, links) for k in models]
            hidden |= {*inner}
    if not runs:
        return whole, []
    gone = {v.id for k in hidden for v in vertices[k]}
    lost = {n for k in hidden for n in links[k]}
    rest = [link for n, link in enumerate(whole.links) if n not in lost]
    kept = tuple(x for x in rest if x.edge.source not in gone and x.edge.target not in gone)
    return replace(whole, nodes=tuple(v for v in whole.nodes if v.id not in gone), links=kept), runs


def _stretches(numbers: Sequence[int]) -> Iterator[tuple[range, int]]:
    """The stretches in which every number comes again after a period, the shortest that there is.

    >>> list(_stretches([5, *[1, 2] * 20, 7]))
    [(range(1, 41), 2)]
    """
    found: list[range] = []
    for period in range(1, LONGEST + 1):
        again = [a == b for a, b in zip(numbers, numbers[period:], strict=False)]
        for same, group in groupby(range(len(again)), again.__getitem__):
            first, *_, last = [*group] * 2
            stretch = range(first, last + period + 1)
            apart = all(stretch.stop <= other.start or other.stop <= stretch.start for other in found)
            if same and len(stretch) >= LEAST + 2 * period and apart:
                found.append(stretch)
                yield stretch, period


def _look(v: Vertex) -> tuple[object, ...]:
    """What a vertex's place depends on."""
    label = max(len(v.label), 2) if v.kind == "input" else v.label
    return v.op, v.kind, v.layer, v.direction, v.gate, label, v.shape


def fits(plan: Grid, runs: Sequence[Run]) -> bool:
    """Whether the model and its first copy differ by their columns alone, and nothing timeless is beside."""
    timeless = {rect.y for name, rect in plan.place.items() if plan.home[name][1] < 0}
    for run in runs:
        if any(v.id in plan.place and plan.place[v.id].y in timeless for v in run.vertices[run.model]):
            return False
        copy = run.columns[0]
        dx = plan.slots[copy].left - plan.slots[run.model].left
        for v, u in zip(run.vertices[run.model], run.vertices[copy], strict=True):
            a, b = plan.place.get(v.id), plan.place.get(u.id)
            if a is not None and b is not None and (abs(b.x - a.x - dx) > 1e-6 or a.y != b.y):
                return False
    return True


def place(plan: Grid, runs: Sequence[Run]) -> None:
    """Give the copies their places in the plan."""
    for run in runs:
        shifts = _shifts(plan, run)
        for n, v in enumerate(run.vertices[run.model]):
            rect, (row, _) = plan.place[v.id], plan.home[v.id]
            storey = plan.storeys.get(v.id)
            for k, dx in shifts:
                twin = run.vertices[k][n].id
                plan.place[twin] = Rect(rect.x + dx, rect.y, rect.width, rect.height)
                plan.home[twin] = row, k
                if storey is not None:
                    plan.storeys[twin] = storey
        for (row, column), rect in list(plan.frames.items()):
            if column == run.model:
                for k, dx in shifts:
                    plan.frames[row, k] = rect._replace(x=rect.x + dx)


def spread_out(
    plan: Grid, whole: Folded, runs: Sequence[Run], wires: Mapping[int, Wire]
) -> Iterator[tuple[int, Wire, float]]:
    """Every link's index with its wire and how far that is moved: those laid out, then the copies."""
    copied = {n for run in runs for k in run.columns for n in run.links[k]}
    yield from ((n, wire, 0.0) for n, wire in wires.items() if n not in copied)
    for run in runs:
        shifts = _shifts(plan, run)
        for n, model in enumerate(run.links[run.model]):
            if model not in wires:
                continue
            wire, e = wires[model], whole.links[model].edge
            hubs = [plan.place[end].x for end in (e.source, e.target) if plan.home[end][1] < 0]
            for k, dx in shifts:
                if hubs:
                    yield run.links[k][n], _stretched(wire, plan.slots[run.model].x, hubs[0], dx), 0.0
                else:
                    yield run.links[k][n], wire, dx


def _shifts(plan: Grid, run: Run) -> list[tuple[int, float]]:
    left = plan.slots[run.model].left
    return [(k, plan.slots[k].left - left) for k in run.columns]


def _stretched(wire: Wire, step: float, hub: float, dx: float) -> Wire:
    """A wire between a step and what has no time: its corners at the step move, those at the hub stay."""

    def route(corners: Route) -> Route:
        return [(x + dx if abs(x - step) < abs(x - hub) else x, y) for x, y in corners]

    return Wire(route(wire.route), wire.branch and route(wire.branch))
