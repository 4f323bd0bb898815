"""The way each edge takes through the plan.

Within a row an arrow runs level, to the right in forward rows and to the left in reverse rows. Between rows
it rises in its own half of a column and changes sides only in the gap between two rows. Arrows that leave or
enter a box on the same side are spread along it, in the order of where they go, so that they do not cross at
the door.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from visual.fold import Link
from visual.grid import LANE, Grid, Rect
from visual.picture import Point

MANY = 3
"""A vertex without a time that is joined to at least so many steps sends its arrows along one bus."""


@dataclass(frozen=True)
class Wire:
    """An edge's corners, and those of its gradient where it runs on its own."""

    route: tuple[Point, ...]
    stub: tuple[Point, ...] | None = None
    """Only the part that is this edge's alone: on a bus, gradients merge."""


@dataclass
class _Plug:
    """One end of an edge: which side of which box, and by what it is ordered there."""

    box: str
    side: str
    order: tuple[float, float]
    point: Point = (0.0, 0.0)


def wires(plan: Grid, links: Sequence[Link]) -> list[Wire]:
    """The way of every link, in their order."""
    plugs: list[tuple[_Plug, _Plug]] = []
    doors: dict[tuple[str, str], list[_Plug]] = {}
    for link in links:
        sides = _sides(plan, link)
        ends = []
        for here, there, side in (
            (link.edge.source, link.edge.target, sides[0]), (link.edge.target, link.edge.source, sides[1]),
        ):  # fmt: skip
            plug = _Plug(here, side, _order(plan, link, here, there, side))
            doors.setdefault((here, side), []).append(plug)
            ends.append(plug)
        plugs.append((ends[0], ends[1]))
    for (name, side), group in doors.items():
        _spread(plan.place[name], side, group)

    hubs = _hubs(plan, links)
    lanes: dict[str, int] = {}
    ways = []
    for k in sorted(range(len(links)), key=lambda k: plugs[k][1].point[0]):
        link, (out, into) = links[k], plugs[k]
        ways.append((k, _wire(plan, link, out, into, hubs, lanes)))
    return [way for _, way in sorted(ways, key=lambda pair: pair[0])]


def _sides(plan: Grid, link: Link) -> tuple[str, str]:
    source, target = link.edge.source, link.edge.target
    (r0, c0), (r1, c1) = plan.home[source], plan.home[target]
    a, b = plan.place[source], plan.place[target]
    inside = 0 <= r0 < len(plan.rows)
    ahead, behind = "right", "left"
    if inside and plan.rows[r0][1] == "reverse":
        ahead, behind = behind, ahead
    if r0 == r1 and inside:
        if c0 == c1 and abs(a.y - b.y) > 20 and (source, target) not in plan.bends:
            return ("top", "bottom") if b.y > a.y else ("bottom", "top")
        if c0 == c1:
            return ahead, behind
        if abs(a.y - b.y) > 20:
            return ahead, "top" if a.y > b.y else "bottom"
        return ahead, behind
    if inside and plan.deep and source not in plan.folds:
        return ahead, "bottom" if b.y > a.y else "top"
    if a.y == b.y:
        return ("right", "left") if b.x > a.x else ("left", "right")
    return ("top", "bottom") if b.y > a.y else ("bottom", "top")


def _order(plan: Grid, link: Link, here: str, there: str, side: str) -> tuple[float, float]:
    state = 1.0 if link.edge.via.endswith(".c") else 0.0
    other = plan.place[there]
    return (other.x, state) if side in ("top", "bottom") else (other.y, state)


def _spread(rect: Rect, side: str, group: list[_Plug]) -> None:
    group.sort(key=lambda plug: plug.order)
    length = rect.width if side in ("top", "bottom") else rect.height
    step = min(14.0, (length - 10) / max(len(group) - 1, 1))
    for k, plug in enumerate(group):
        shift = (k - (len(group) - 1) / 2) * step
        match side:
            case "top":
                plug.point = rect.x + shift, rect.top
            case "bottom":
                plug.point = rect.x + shift, rect.bottom
            case "right":
                plug.point = rect.right, rect.y + shift
            case _:
                plug.point = rect.left, rect.y + shift


def _hubs(plan: Grid, links: Sequence[Link]) -> set[str]:
    """Vertices without a time that are joined to many steps."""
    count: dict[str, int] = {}
    for link in links:
        for one, other in ((link.edge.source, link.edge.target), (link.edge.target, link.edge.source)):
            if plan.home[one][1] < 0 <= plan.home[other][1]:
                count[one] = count.get(one, 0) + 1
    return {name for name, times in count.items() if times >= MANY}


def _wire(plan: Grid, link: Link, out: _Plug, into: _Plug, hubs: set[str], lanes: dict[str, int]) -> Wire:
    source, target = link.edge.source, link.edge.target
    (r0, c0), (r1, c1) = plan.home[source], plan.home[target]
    a, b = out.point, into.point
    if r0 == r1 and c0 == c1:
        return Wire((a, *plan.bends.get((source, target), ()), b))
    if r0 == r1 and 0 <= r0 < len(plan.rows):
        return Wire((a, b))
    if hubs & {source, target}:
        hub = plan.place[source if source in hubs else target]
        bus = hub.top + 12 if hub.y < (b[1] if source in hubs else a[1]) else hub.bottom - 12
        stub = ((b[0], bus), b) if source in hubs else (a, (a[0], bus))
        return Wire((a, (a[0], bus), (b[0], bus), b), stub)
    if out.side in ("left", "right"):
        return Wire(_channel(plan, source, a, b, r0, r1, lanes))
    if plan.deep or r0 == r1 or abs(a[0] - b[0]) < 1.0:
        return Wire((a, b) if abs(a[0] - b[0]) < 400 else (a, (a[0], b[1] - 30), b))
    low, high = _crossing(plan, r0, r1)
    return Wire((a, (a[0], low), (b[0], high), b))


def _channel(
    plan: Grid, source: str, a: Point, b: Point, r0: int, r1: int, lanes: dict[str, int]
) -> tuple[Point, ...]:
    """From an open cell: out at its side, up beside its frame, across in the gap, in from below."""
    lane = lanes[source] = lanes.get(source, -1) + 1
    row, column = plan.home[source]
    frame = plan.frames[row, column]
    sign = -1.0 if plan.rows[row][1] == "reverse" else 1.0
    x = (frame.right if sign > 0 else frame.left) + sign * (14.0 + LANE * lane)
    low, _ = _crossing(plan, r0, r1)
    y = low + LANE * lane
    return a, (x, a[1]), (x, y), (b[0], y), b


def _crossing(plan: Grid, r0: int, r1: int) -> tuple[float, float]:
    """Lower and upper height of the gap in which an edge from row r0 up to row r1 changes sides."""
    if r1 < r0:
        low, high = _crossing(plan, r1, r0)
        return high, low
    row = r1
    if 0 <= r0:
        side = plan.half(r0)
        row = next((r for r in range(r0 + 1, r1) if plan.half(r) == side), r1)
    elif r0 < 0:
        row = 0
    if row >= len(plan.rows):
        return plan.top + 12, plan.top + 30
    floor = plan.bottom[row] - plan.gap + 6 if row else plan.bottom[0] - 26
    return floor + 6, plan.bottom[row] - (32 if row else 6)
