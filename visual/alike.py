"""Steps that are built alike are laid out once.

A network of ten thousand steps is a few steps many times over. Where steps in a row have the same vertices
and edges, all of them or again and again after a period, only some at either end of the run are laid out;
between them each step is a copy of one of these, moved along x. That is the plan which laying out every step
would give, for the work of a few.

Read `thinned` for which steps those are; `place` puts the copies into the plan, and `together` says what can
be drawn at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Generic, NamedTuple, TypeVar

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
    names: Sequence[Sequence[str]]
    """For each column of the whole network, its vertices in recorded order."""
    links: Sequence[Sequence[int]]
    """For each column, the indices of the links whose later end it is."""


K = TypeVar("K")


class Twins(NamedTuple, Generic[K]):
    """Vertices or links that look alike."""

    members: Sequence[K]
    """The first was laid out, the others are its copies."""
    shifts: Sequence[float]
    """How far to the right of the first each stands."""


def thinned(whole: Folded) -> tuple[Folded, list[int], list[Run]]:
    """What must be laid out of the network, the indices of its links, and the copies that complete it."""
    column = {t: k for k, t in enumerate(whole.times)}
    names: list[list[str]] = [[] for _ in column]
    links: list[list[int]] = [[] for _ in column]
    at: dict[str, tuple[int, int | str]] = {}
    built: list[list[object]] = [[] for _ in column]
    for v in whole.nodes:
        if v.time is None:
            at[v.id] = -1, v.id
        else:
            k = column[v.time]
            at[v.id] = k, len(names[k])
            names[k].append(v.id)
            built[k].append(_look(v))
    reach = 1
    for n, (e, _) in enumerate(whole.links):
        (a, i), (b, j) = at[e.source], at[e.target]
        k, gap = a if a > b else b, b - a if a >= 0 and b >= 0 else 0
        if gap > reach or -gap > reach:
            reach = abs(gap)
        if k >= 0:
            links[k].append(n)
            built[k].append((i, j, gap, e.via[-2:] == ".c"))
    kinds: dict[tuple[object, ...], int] = {}
    numbers = [kinds.setdefault(tuple(found), len(kinds)) for found in built]
    runs: list[Run] = []
    hidden = set[int]()
    for stretch, period in _stretches(numbers):
        model, end = stretch.start + reach + 1, stretch.stop - reach - 2
        inner = range(model + 2 * period + reach, end - reach)
        if len(inner) >= LEAST:
            models = range(model, model + period)
            runs += [Run(k, range(k + period, end, period), names, links) for k in models]
            hidden |= {*inner}
    gone = {name for k in hidden for name in names[k]}
    lost = {n for k in hidden for n in links[k]}
    kept = [
        n
        for n, link in enumerate(whole.links)
        if n not in lost and link.edge.source not in gone and link.edge.target not in gone
    ]
    nodes = tuple(v for v in whole.nodes if v.id not in gone)
    return replace(whole, nodes=nodes, links=tuple(whole.links[n] for n in kept)), kept, runs


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
        if any(name in plan.place and plan.place[name].y in timeless for name in run.names[run.model]):
            return False
        copy = run.columns[0]
        dx = plan.slots[copy].left - plan.slots[run.model].left
        for name, twin in zip(run.names[run.model], run.names[copy], strict=True):
            a, b = plan.place.get(name), plan.place.get(twin)
            if a is not None and b is not None and (abs(b.x - a.x - dx) > 1e-6 or a.y != b.y):
                return False
    return True


def place(plan: Grid, runs: Sequence[Run]) -> None:
    """Give the copies their places in the plan."""
    for run in runs:
        shifts = _shifts(plan, run)
        for n, name in enumerate(run.names[run.model]):
            rect, (row, _) = plan.place[name], plan.home[name]
            storey = plan.storeys.get(name)
            for k, dx in shifts:
                twin = run.names[k][n]
                plan.place[twin] = Rect(rect.x + dx, rect.y, rect.width, rect.height)
                plan.home[twin] = row, k
                if storey is not None:
                    plan.storeys[twin] = storey
        for (row, column), rect in list(plan.frames.items()):
            if column == run.model:
                for k, dx in shifts:
                    plan.frames[row, k] = rect._replace(x=rect.x + dx)


def together(
    plan: Grid, runs: Sequence[Run], drawn: Collection[K], columns: Callable[[Run], Sequence[Sequence[K]]]
) -> Iterator[Twins[K]]:
    """What was laid out, each vertex or link with its copies; `columns` are a run's names or links."""
    models: dict[K, Twins[K]] = {}
    copied = set[K]()
    for run in runs:
        shifts = [0.0, *(dx for _, dx in _shifts(plan, run))]
        found, steps = columns(run), [run.model, *run.columns]
        for members in zip(*(found[k] for k in steps), strict=True):
            if members[0] in drawn:
                models[members[0]] = Twins(members, shifts)
                copied.update(members[1:])
    for one in drawn:
        if one not in copied:
            yield models.get(one) or Twins((one,), (0.0,))


def _shifts(plan: Grid, run: Run) -> list[tuple[int, float]]:
    left = plan.slots[run.model].left
    return [(k, plan.slots[k].left - left) for k in run.columns]


def wired(
    plan: Grid, twins: Twins[int], ends: tuple[str, str], wire: Wire
) -> Iterator[tuple[Sequence[int], Wire, Sequence[float]]]:
    """Links with their wire and how far it is moved for each; those to what has no time have one each."""
    hub, step = sorted(ends, key=lambda name: plan.home[name][1])
    if len(twins.members) < 2 or plan.home[hub][1] >= 0:
        yield twins.members, wire, twins.shifts
        return
    for n, dx in zip(twins.members, twins.shifts, strict=True):
        yield [n], _stretched(wire, plan.place[step].x, plan.place[hub].x, dx), [0.0]


def _stretched(wire: Wire, step: float, hub: float, dx: float) -> Wire:
    """A wire whose corners at the step move by `dx`, while those at the hub stay."""

    def route(corners: Route) -> Route:
        return [(x + dx if abs(x - step) < abs(x - hub) else x, y) for x, y in corners]

    return Wire(route(wire.route), wire.branch and route(wire.branch))
