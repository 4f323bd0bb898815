"""The way each edge takes through the plan.

Within a row an arrow runs level, to the right in forward rows and to the left in reverse rows. Between rows
it rises in its own half of a column and changes sides only in the gap between two rows. Arrows that leave or
enter a box on the same side are spread along it, in the order of where they go, so that they do not cross at
the door.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from visual.fold import Link
from visual.grid import FOLD, LANE, Grid, Rect
from visual.paths import Wire
from visual.picture import Point

MANY = 3
"""A vertex without a time that is joined to at least so many steps sends its arrows along one bus."""
CROWD = 6
"""To a vertex that is joined to more steps than this all ways run level: aslant they would cross."""
BAR = 60.0
"""A box at least this wide lets arrows in where they come from, instead of near its middle."""


FAR = 300.0
"""A way up to the head that is longer than this across runs level instead of aslant."""


@dataclass
class _Plug:
    """One end of an edge: which side of which box, and by what it is ordered there."""

    box: str
    side: str
    order: tuple[float, float]
    other: Rect
    level: bool
    """Straight across to a box at the same height."""
    point: Point = (0.0, 0.0)


def wires(plan: Grid, links: Sequence[Link]) -> list[Wire]:
    """The way of every link, in their order."""
    doors: dict[tuple[str, str], list[_Plug]] = {}
    plugs = []
    for link in links:
        source, target = link.edge.source, link.edge.target
        sides = _sides(plan, source, target)
        ends = []
        for here, there, side in ((source, target, sides[0]), (target, source, sides[1])):
            plug = _plug(plan, link, here, there, side)
            doors.setdefault((here, side), []).append(plug)
            ends.append(plug)
        plugs.append((ends[0], ends[1]))
    for (name, side), group in doors.items():
        _spread(plan.place[name], side, group, open_cell=plan.deep)
    hubs = _hubs(plan, links)
    lanes: dict[object, int] = {}
    ways: list[Wire | None] = [None] * len(links)
    for k in sorted(range(len(links)), key=lambda k: plugs[k][1].point[0]):
        ways[k] = _wire(plan, *plugs[k], hubs, lanes)
    return [way for way in ways if way is not None]


def _sides(plan: Grid, source: str, target: str) -> tuple[str, str]:
    """Where the edge leaves its source and enters its target."""
    (r0, c0), (r1, c1) = plan.home[source], plan.home[target]
    a, b = plan.place[source], plan.place[target]
    up = b.y > a.y
    ahead, behind = ("left", "right") if plan.inside(r0) and plan.reverse(r0) else ("right", "left")
    if (source, target) in plan.elbows:
        turn = {"ahead": ahead, "behind": behind}
        out, into = plan.elbows[source, target]
        return turn.get(out, out), turn.get(into, into)
    if r0 == r1 and plan.inside(r0):
        if c0 == c1:
            if abs(a.y - b.y) > 20 and (source, target) not in plan.bends:
                return ("top", "bottom") if up else ("bottom", "top")
            return ahead, behind
        under = plan.deep and a.y != b.y and b.width < BAR and target not in plan.doors
        return ahead, "bottom" if under and not {source, target} & plan.folds else behind
    if plan.inside(r1) and target in plan.doors:
        side = "right" if plan.reverse(r1) else "left"
        return (ahead if plan.inside(r0) else "top"), side
    if plan.inside(r0) and plan.deep and source not in plan.folds:
        return ahead, "bottom" if up else "top"
    if r0 == r1 and abs(a.y - b.y) < 20.0:
        return ("right", "left") if b.x > a.x else ("left", "right")
    return ("top", "bottom") if up else ("bottom", "top")


def _plug(plan: Grid, link: Link, here: str, there: str, side: str) -> _Plug:
    box, other = plan.place[here], plan.place[there]
    if side in ("top", "bottom"):
        return _Plug(here, side, (other.x, abs(other.y - box.y)), other, False)
    level = abs(box.y - other.y) < 1.0 or (plan.deep and there in plan.folds)
    level = level and plan.home[here][0] == plan.home[there][0]
    state = 1.0 if link.edge.via.endswith(".c") else 0.0
    near = abs(other.x - box.x) * (-1.0 if other.y > box.y else 1.0)
    return _Plug(here, side, (round(other.y), state or near), other, level)


def _spread(rect: Rect, side: str, group: list[_Plug], open_cell: bool) -> None:
    group.sort(key=lambda plug: plug.order)
    upright = side in ("top", "bottom")
    length = rect.width if upright else rect.height
    step = min(LANE, (length - 10) / max(len(group) - 1, 1))
    shift = -(len(group) - 1) / 2 * step
    levels = [k for k, plug in enumerate(group) if plug.level]
    if open_cell and rect.width == FOLD[0] and not upright:
        _level(rect, side, group)
        return
    if open_cell and len(levels) == 1:
        shift = _rail(rect) - levels[0] * step
    for k, plug in enumerate(group):
        along = shift + k * step
        if upright:
            x = rect.x + along
            if rect.width >= BAR and plug.other.width < BAR * 4:
                x = min(max(plug.other.x, rect.left + 8), rect.right - 8) if _apart(rect, group) else x
            plug.point = x, rect.top if side == "top" else rect.bottom
        else:
            plug.point = rect.right if side == "right" else rect.left, rect.y + along


def _rail(rect: Rect) -> float:
    """How far over its middle a box's state goes on to the next step."""
    return rect.height / 2 - 22 if rect.height > 50 else 0.0


def _level(rect: Rect, side: str, group: Sequence[_Plug]) -> None:
    """On a fold as high as the cells beside it, each end at the height of the other."""
    low = rect.bottom + 8
    for plug in group:
        y = max(low, min(plug.other.y + _rail(plug.other), rect.top - 8))
        plug.point = rect.right if side == "right" else rect.left, y
        low = y + LANE


def _apart(rect: Rect, group: Sequence[_Plug]) -> bool:
    """Whether all ends may stand straight over the other box without touching each other."""
    xs = sorted(min(max(plug.other.x, rect.left + 8), rect.right - 8) for plug in group)
    return all(b - a >= LANE for a, b in itertools.pairwise(xs))


def _hubs(plan: Grid, links: Sequence[Link]) -> dict[str, int]:
    """Vertices without a time that are joined to many steps, and to how many."""
    count: dict[str, int] = {}
    for link in links:
        for one, other in ((link.edge.source, link.edge.target), (link.edge.target, link.edge.source)):
            if plan.home[one][1] < 0 <= plan.home[other][1]:
                count[one] = count.get(one, 0) + 1
    return {name: times for name, times in count.items() if times >= MANY}


def _wire(plan: Grid, out: _Plug, into: _Plug, hubs: Mapping[str, int], lanes: dict[object, int]) -> Wire:
    source, target = out.box, into.box
    (r0, c0), (r1, c1) = plan.home[source], plan.home[target]
    a, b = out.point, into.point
    if r0 == r1 and c0 == c1 and plan.inside(r0):
        if (source, target) in plan.elbows:
            corner = (b[0], a[1]) if out.side in ("left", "right") else (a[0], b[1])
            return Wire((a, corner, b))
        return Wire((a, *plan.bends.get((source, target), ()), b))
    if target in plan.doors:
        return Wire(_door(plan, a, b, source, target, lanes))
    if r0 == r1 and plan.inside(r0):
        return Wire(_along(plan, a, b, into.side, target, lanes))
    if plan.deep and plan.inside(r0) and source not in plan.folds:
        return Wire(_beside_frame(plan, a, b, source, r1, lanes))
    if (source in hubs and c1 >= 0) or (target in hubs and c0 >= 0):
        hub = plan.place[source if source in hubs else target]
        bus = hub.top + 12 if source in hubs else hub.bottom - (12 if r0 != r1 else 17)
        route: tuple[Point, ...] = ((a[0], bus), (b[0], bus))
        if target in hubs and r0 != r1:
            route = _climb(plan, a, (b[0], bus), r0, r1, c0, level=hubs[target] > CROWD)
        whole = a, *route, b
        if hubs.get(source, hubs.get(target, 0)) <= CROWD:
            return Wire(whole)
        return Wire(whole, whole[1:] if source in hubs else whole[:-1])
    if out.side in ("left", "right"):
        return Wire((a, b))
    if r0 == r1 and c0 == c1 == -1 and (edge := _blocked(plan, a, b, r0)):
        lane = lanes["around", r0] = lanes.get(("around", r0), -1) + 1
        x = edge + 14.0 + LANE * lane
        up = 12.0 if b[1] > a[1] else -12.0
        return Wire((a, (a[0], a[1] + up), (x, a[1] + up), (x, b[1] - up), (b[0], b[1] - up), b))
    if abs(a[0] - b[0]) < 1.0:
        return Wire((a, b))
    return Wire((a, *_climb(plan, a, b, r0, r1, c0 if c0 >= 0 else c1), b))


def _blocked(plan: Grid, a: Point, b: Point, row: float) -> float:
    """The right edge of what stands between two boxes of the head or foot; 0 where nothing is in the way."""
    low, high = sorted((a[1], b[1]))
    left, right = sorted((a[0], b[0]))
    rects = (rect for name, rect in plan.place.items() if plan.home.get(name) == (row, -1))
    between = (r.right for r in rects if low < r.y < high and r.right > left and r.left < right)
    return max(between, default=0.0)


def _along(
    plan: Grid, a: Point, b: Point, side: str, target: str, lanes: dict[object, int]
) -> tuple[Point, ...]:
    """Within a row: level, or down in front of the frame and in from the side or from below."""
    home = plan.home[target]
    if abs(a[1] - b[1]) < 1.0 or home not in plan.frames:
        return a, b
    key = ("along", home)
    lane = lanes[key] = lanes.get(key, -1) + 1
    frame, back = plan.frames[home], 1.0 if plan.reverse(home[0]) else -1.0
    x = (frame.right if back > 0 else frame.left) + back * (14.0 + LANE * lane)
    if side != "bottom":
        return a, (x, a[1]), (x, b[1]), b
    y = b[1] - 14.0 - LANE * lane
    return a, (x, a[1]), (x, y), (b[0], y), b


def _door(
    plan: Grid, a: Point, b: Point, source: str, target: str, lanes: dict[object, int]
) -> tuple[Point, ...]:
    """Into an operation: up or down in front of the frame, then along the lane that its template keeps."""
    home, start = plan.home[target], plan.home[source]
    key = ("along", home)
    lane = lanes[key] = lanes.get(key, -1) + 1
    frame, back = plan.frames[home], 1.0 if plan.reverse(home[0]) else -1.0
    x = (frame.right if back > 0 else frame.left) + back * (14.0 + LANE * lane)
    inner = plan.doors[target]
    if start[0] == home[0]:
        lead = (a, *plan.exits.get(source, ()))
        return *lead, (x, lead[-1][1]), (x, inner[0][1]), *inner, b
    y = frame.bottom - 40.0 - LANE * lane
    way: tuple[Point, ...] = (a, (a[0], y))
    if plan.inside(start[0]):
        way = _beside_frame(plan, a, (x, y), source, home[0], lanes)[:-1]
    return *way, (x, y), (x, inner[0][1]), *inner, b


def _beside_frame(
    plan: Grid, a: Point, b: Point, source: str, r1: float, lanes: dict[object, int]
) -> tuple[Point, ...]:
    """From an open cell: out at its side, up beside its frame, across in the gap, in from below."""
    lane = lanes[source] = lanes.get(source, -1) + 1
    row, column = plan.home[source]
    frame = plan.frames[row, column]
    ahead = -1.0 if plan.reverse(row) else 1.0
    x = (frame.right if ahead > 0 else frame.left) + ahead * (14.0 + LANE * lane)
    gaps = _gaps(plan, row, r1)
    y = _heights(plan, gaps[-1] if gaps else int(row) + 1)[0] + LANE * lane
    lead = (a, *plan.exits.get(source, ()))
    return *lead, (x, lead[-1][1]), (x, y), (b[0], y), b


def _climb(
    plan: Grid, a: Point, b: Point, r0: float, r1: float, column: int, level: bool = False
) -> tuple[Point, ...]:
    """The corners of a way up between rows: sideways only in a gap where both halves allow it."""
    if r0 == r1:
        height = b[1] - 12 if b[1] > a[1] else b[1] + 12
        return (a[0], height), (b[0], height)
    if r1 < r0:
        return tuple(reversed(_climb(plan, b, a, r1, r0, column)))
    gaps = _gaps(plan, r0, r1)
    if not gaps:
        low, _ = _heights(plan, int(r0) + 1)
        high = plan.top + 14 if r1 >= len(plan.rows) else b[1] - 14
        x = plan.slots[column].left + plan.slots[column].width - 5
        return (a[0], low), (x, low + 14), (x, high), (b[0], high + 10)
    low, high = _heights(plan, gaps[0] if r0 < 0 else gaps[-1])
    low, high = max(low, a[1] + 5), min(high, b[1] - 5)
    if r1 >= len(plan.rows) and (level or abs(a[0] - b[0]) > FAR):
        return (a[0], high), (b[0], high)
    return (a[0], min(low, high)), (b[0], max(low, high))


def _gaps(plan: Grid, r0: float, r1: float) -> list[int]:
    """Between r0 and r1, the rows under which an arrow may change from its source's x to its target's."""
    rows = [r for r in range(len(plan.rows)) if r0 < r < r1]
    last = int(r1 + 0.5)
    blocked = [r for r in rows if plan.halves == 1 or plan.half(r) == plan.half(r0)]
    first_block = min(blocked, default=last)
    in_the_way = [r for r in rows if plan.halves == 1 or plan.half(r) == plan.half(r1)]
    if r1 >= len(plan.rows):
        in_the_way = rows
    last_block = max(in_the_way, default=int(r0 + 1.0) - 1 if r0 >= 0 else -1)
    return list(range(last_block + 1, first_block + 1))


def _heights(plan: Grid, row: int) -> tuple[float, float]:
    """Lower and upper height of the gap under a row (under the head, where it is past the last)."""
    if row >= len(plan.rows):
        return plan.top + 12, plan.top + 44
    if row <= 0:
        return plan.bottom[0] - 40, plan.bottom[0] - 8
    return plan.bottom[row - 1] + plan.height + 12, plan.bottom[row] - 34
