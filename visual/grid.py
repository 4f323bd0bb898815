"""Where everything stands in an unrolled network: columns are time, rows are layer × direction.

Positions are computed, never searched for: x = column, y = row, plus the cell's template, so they are linear
in the graph and the same at every run. Rows grow upward with the layer. Where there are two directions, each
column has two halves, forward cells in the left one and reverse cells in the right one: so an arrow that
rises past a row of the other direction finds its half of the column free.

What belongs to no layer stands below the rows if cells depend on it (inputs, embeddings: the foot), above
them if it depends on cells (readout, losses: the head), and between two rows if both (concatenations: the
joints). What leads from the top row back into a cell, a state that a second call starts from, belongs to the
head as well. Parameters and initial states are not placed here: see `rail`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tinygrad_rnn.trace import Vertex
from visual.cells import Sides, Template, closed, label, template
from visual.fold import Folded
from visual.layered import depths, pack
from visual.picture import Point, text_width

FOLD = (220.0, 62.0)
BOX_HEIGHT = 30.0
STOREY = 64.0
"""From one level of the head or foot to the next."""
JOINT = 50.0
"""The same between two rows."""
LANE = 14.0
"""From one pair of arrows (data and gradient) to the next."""

Home = tuple[float, int]
"""Row and column. Row -1 is the foot, 1.5 the joints between rows 1 and 2, len(rows) the head; column -1 has
no time."""


class Rect(NamedTuple):
    """A rectangle by its centre."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Its left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """Its upper edge."""
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y - self.height / 2


class Room(NamedTuple):
    """What an operation needs for the parameters in front of it: on either side, and above and below."""

    wide: float
    tall: float


NOWHERE = Room(0.0, 0.0)


@dataclass(frozen=True)
class Slot:
    """One column: a time step, or a fold's range."""

    time: int
    last: int
    left: float
    width: float

    @property
    def x(self) -> float:
        """The middle of the column."""
        return self.left + self.width / 2


@dataclass
class Grid:
    """The plan of an unrolled network."""

    rows: list[tuple[int, str]]
    """(layer, direction), bottom to top."""
    halves: int
    """2 where there are two directions."""
    folds: frozenset[str]
    deep: bool
    """Cells are open: they show gates or operations."""
    slots: list[Slot] = field(default_factory=list)
    bottom: list[float] = field(default_factory=list)
    """The lower edge of each row."""
    height: float = 46.0
    lanes: int = 1
    """Lanes that rise beside an open cell."""
    entries: int = 0
    """Lanes under the lowest row, for what enters open cells from outside."""
    home: dict[str, Home] = field(default_factory=dict)
    storeys: dict[str, int] = field(default_factory=dict)
    """Level of a vertex in the head, the foot or a joint."""
    place: dict[str, Rect] = field(default_factory=dict)
    frames: dict[Home, Rect] = field(default_factory=dict)
    """Frames of open cells."""
    elbows: dict[tuple[str, str], Sides] = field(default_factory=dict)
    bends: dict[tuple[str, str], list[Point]] = field(default_factory=dict)
    doors: dict[str, list[Point]] = field(default_factory=dict)
    exits: dict[str, list[Point]] = field(default_factory=dict)

    @property
    def top(self) -> float:
        """The upper edge of the topmost row."""
        return self.bottom[-1] + self.height

    @property
    def right(self) -> float:
        """The right edge of the last column."""
        return self.slots[-1].left + self.slots[-1].width

    def inside(self, row: float) -> bool:
        """Whether this is a row of cells."""
        return row == int(row) and 0 <= row < len(self.rows)

    def reverse(self, row: float) -> bool:
        """Whether time runs left in this row of cells."""
        return self.rows[int(row)][1] == "reverse"

    def half(self, row: float) -> int | None:
        """Which half of a column a row stands in; None for its middle."""
        if not self.inside(row) or self.halves == 1:
            return None
        return 1 if self.reverse(row) else 0

    def x(self, row: float, column: int) -> float:
        """The centre of a row's cell in a column."""
        slot = self.slots[column]
        return slot.left + slot.width * ((self.half(row) or 0) + 0.5) / self.halves


def grid(folded: Folded, placed_elsewhere: set[str], room: Mapping[str, Room]) -> Grid:
    """Plan the vertices that are not `placed_elsewhere` (parameters, initial states).

    `room` is what operations need for the parameters that stand in front of them.
    """
    nodes = [v for v in folded.nodes if v.id not in placed_elsewhere]
    inner = [v for v in nodes if v.layer is not None and v.time is not None]
    rows = sorted({(v.layer or 0, v.direction or "forward") for v in inner})
    index = {row: r for r, row in enumerate(rows)}
    times = folded.times
    column = {t: k for k, t in enumerate(times)}
    deep = not all(map(closed, inner))
    plan = Grid(rows, len({way for _, way in rows}), frozenset(folded.folds), deep)
    for v in inner:
        plan.home[v.id] = index[v.layer or 0, v.direction or "forward"], column[v.time or 0]
    outside = [v for v in nodes if v.id not in plan.home]
    for v in outside:
        plan.home[v.id] = len(rows), column[v.time] if v.time is not None else -1

    cells: dict[Home, list[Vertex]] = {}
    for v in inner:
        cells.setdefault(plan.home[v.id], []).append(v)
    templates, between = _templates(plan, cells, folded, len(times))
    wide = max((t.width for t, _ in templates.values()), default=46.0)
    plan.height = max((t.height for t, _ in templates.values()), default=46.0)
    ranges = {fold.first: fold.last for fold in folded.folds.values()}
    widest, left = _widest(outside), 0.0
    for t in times:
        width = max(((FOLD[0] if t in ranges else wide) + between) * plan.halves, widest)
        plan.slots.append(Slot(t, ranges.get(t, t), left, width))
        left += width

    foot, joints, head = _storeys(folded, outside, plan)
    clear = 46.0 + LANE * max(plan.entries - 1, 0)
    down = _levels(plan, foot, STOREY, room)
    base = clear + 12.0 + max(down.values(), default=-STOREY) + STOREY
    gap = 76.0 + (LANE * plan.lanes if deep else 0.0)
    between_rows = _levels(plan, joints, JOINT, room)
    for r in range(len(rows)):
        crowd = max((y for (row, _), y in between_rows.items() if row == r - 0.5), default=-JOINT) + JOINT
        plan.bottom.append(plan.bottom[-1] + plan.height + gap + crowd if r else base)
    _place_cells(plan, cells, templates)
    low = base - clear - BOX_HEIGHT / 2
    _place_storeys(plan, foot, folded, room, lambda row, k: low - down[row, k])
    _place_storeys(
        plan,
        joints,
        folded,
        room,
        lambda row, k: plan.bottom[int(row + 0.5)] - 66.0 - between_rows[row, k],
    )
    high = plan.top + 70.0 + (LANE * plan.lanes if deep else 0.0)
    up = _levels(plan, head, STOREY, room)
    _place_storeys(plan, head, folded, room, lambda row, k: high + up[row, k])
    return plan


class _Kind(NamedTuple):
    """Cells with the same members: one template holds all arrows that any of them has."""

    members: Sequence[Vertex]
    names: Mapping[str, str]
    inner: dict[tuple[str, str], None]
    doors: dict[str, None]
    exits: dict[str, None]

    def template(self) -> Template:
        return template(self.members, [*self.inner], self.names, [*self.doors], [*self.exits])


def _templates(
    plan: Grid, cells: dict[Home, list[Vertex]], folded: Folded, steps: int
) -> tuple[dict[Home, tuple[Template, dict[str, str]]], float]:
    """The template of each open cell, made once for all that are built alike, and the room between cells."""
    wires: dict[Home, list[tuple[str, str]]] = {}
    readers: dict[Home, dict[str, None]] = {}
    read: dict[Home, dict[str, None]] = {}
    rising: dict[str, set[str]] = {}
    entering: dict[Home, set[tuple[str, str]]] = {}
    weights = {v.id for v in folded.nodes if v.kind == "parameter"}
    for link in folded.links:
        ends = link.edge.source, link.edge.target
        a, b = plan.home.get(ends[0], (-1.0, -1)), plan.home.get(ends[1])
        if b is None or ends[0] in weights or not (plan.inside(a[0]) or plan.inside(b[0])):
            continue
        if a == b:
            wires.setdefault(a, []).append(ends)
            continue
        if plan.inside(b[0]):
            readers.setdefault(b, {})[ends[1]] = None
            entering.setdefault(b, set()).add(ends)
        if plan.inside(a[0]):
            read.setdefault(a, {})[ends[0]] = None
        if plan.inside(a[0]) and a[0] != b[0]:
            rising.setdefault(ends[0], set()).add(ends[1])
    kinds: dict[object, _Kind] = {}
    open_cells = {}
    for key, members in cells.items():
        if members[0].id in plan.folds:
            continue
        names = {v.id: inner_name(v) for v in members}
        built = tuple((names[v.id], v.kind, v.gate, label(v)) for v in members)
        kind = kinds.setdefault(built, _Kind(members, names, {}, {}, {}))
        kind.inner.update(dict.fromkeys((names[a], names[b]) for a, b in wires.get(key, ())))
        kind.doors.update(dict.fromkeys(names[name] for name in readers.get(key, ())))
        kind.exits.update(dict.fromkeys(names[name] for name in read.get(key, ())))
        open_cells[key] = kind, names
    made = {id(kind): kind.template() for kind in kinds.values()}
    found = {key: (made[id(kind)], names) for key, (kind, names) in open_cells.items()}
    if not plan.deep:
        return found, 34.0 if steps > 24 else 46.0
    plan.lanes = max(map(len, rising.values()), default=1)
    most = max(map(len, entering.values()), default=1)
    plan.entries = most if any(t.doors for t, _ in found.values()) else 0
    return found, 44.0 + LANE * (plan.lanes + most)


def inner_name(v: Vertex) -> str:
    """What the vertex is called within its cell: "f" for "l1.fwd.t3.f"."""
    return v.id.partition(f".t{v.time}.")[2] or v.id if not closed(v) else ""


def _widest(outside: Sequence[Vertex]) -> float:
    """How wide a column must be for what stands outside the rows at one step, side by side where alike."""
    widths: dict[tuple[int | None, str], float] = {}
    for v in outside:
        if v.time is not None and v.kind != "fold":
            wide = min(text_width(label(v), 11) + 32, 150.0)
            widths[v.time, v.op] = widths.get((v.time, v.op), 0.0) + wide
    return max(widths.values(), default=64.0)


def _storeys(
    folded: Folded, outside: Sequence[Vertex], plan: Grid
) -> tuple[list[Vertex], list[Vertex], list[Vertex]]:
    """Split what is outside the rows into foot, joints and head, each with its storeys."""
    names = {v.id for v in outside}
    edges = [
        (e.edge.source, e.edge.target)
        for e in folded.links
        if {e.edge.source, e.edge.target} & names and e.edge.source in plan.home
    ]
    into: dict[str, list[str]] = {}
    for a, b in edges:
        into.setdefault(b, []).append(a)
    below: set[str] = set()
    front = [a for a, b in edges if b not in names]
    while front:
        name = front.pop()
        if name in names and name not in below:
            below.add(name)
            front += into.get(name, ())
    reach: dict[str, float] = {}
    for v in outside:
        known = [plan.home[a][0] if a not in names else reach.get(a, -1.0) for a in into.get(v.id, ())]
        reach[v.id] = max(known, default=-1.0)
    top = len(plan.rows) - 1
    foot = [v for v in outside if v.id in below and reach[v.id] < 0]
    joints = [v for v in outside if v.id in below and 0 <= reach[v.id] < top]
    head = [v for v in outside if v.id not in below or reach[v.id] >= top]
    for row, members, down in (
        (-1.0, foot, True),
        (None, joints, True),
        (float(len(plan.rows)), head, False),
    ):
        own = {v.id for v in members}
        upward = [(a, b) for a, b in edges if a in own and b in own and not _sideways(plan, a, b)]
        joined = [(b, a) for a, b in upward] if down else upward
        plan.storeys.update(depths([v.id for v in members], joined))
        for v in members:
            plan.home[v.id] = row if row is not None else reach[v.id] + 0.5, plan.home[v.id][1]
    return foot, joints, head


def _sideways(plan: Grid, a: str, b: str) -> bool:
    """Whether an edge outside the rows leads from step to step: a recursion runs level, as a row does."""
    return -1 != plan.home[a][1] != plan.home[b][1] != -1


def _place_cells(
    plan: Grid, cells: dict[Home, list[Vertex]], templates: dict[Home, tuple[Template, dict[str, str]]]
) -> None:
    for (row, column), members in cells.items():
        x, low = plan.x(row, column), plan.bottom[int(row)]
        if (row, column) not in templates:
            tall = plan.height if plan.deep else FOLD[1]
            plan.place[members[0].id] = Rect(x, low + plan.height / 2, FOLD[0], tall)
            continue
        shape, names = templates[row, column]
        mirror = -1.0 if plan.reverse(row) else 1.0
        ids = {name: id for id, name in names.items()}

        left, low = x - mirror * shape.width / 2, low + (plan.height - shape.height) / 2
        for name, (across, up, width, height) in shape.places.items():
            plan.place[ids[name]] = Rect(left + mirror * across, low + up, width, height)
        for (a, b), bends in shape.bends.items():
            plan.bends[ids[a], ids[b]] = [(left + mirror * u, low + v) for u, v in bends]
        for (a, b), sides in shape.elbows.items():
            plan.elbows[ids[a], ids[b]] = sides
        for lanes, kept in ((shape.doors, plan.doors), (shape.exits, plan.exits)):
            kept.update(
                (ids[name], [(left + mirror * u, low + v) for u, v in lane]) for name, lane in lanes.items()
            )
        if plan.deep:
            plan.frames[row, column] = Rect(x, low + shape.height / 2, shape.width, plan.height)


def _levels(
    plan: Grid, members: Sequence[Vertex], pitch: float, room: Mapping[str, Room]
) -> dict[tuple[float, int], float]:
    """How far each storey of the head, foot or joints is from where it begins: (row, storey) → points."""
    tall: dict[tuple[float, int], float] = {}
    for v in members:
        key = plan.home[v.id][0], plan.storeys[v.id]
        tall[key] = max(tall.get(key, 0.0), room[v.id].tall if v.id in room else 0.0)
    found: dict[tuple[float, int], float] = {}
    for row, storey in sorted(tall):
        for k in range(storey + 1):
            below = found[row, k - 1] + pitch + tall.get((row, k - 1), 0.0) if k else 0.0
            found[row, k] = below + tall.get((row, k), 0.0)
    return found


def _place_storeys(
    plan: Grid,
    members: Sequence[Vertex],
    folded: Folded,
    room: Mapping[str, Room],
    height_of: Callable[[float, int], float],
) -> None:
    """Place the head, foot or joints, storey by storey: under, over or between what each is joined to."""
    joined: dict[str, list[str]] = {v.id: [] for v in members}
    for link in folded.links:
        for one, other in ((link.edge.source, link.edge.target), (link.edge.target, link.edge.source)):
            if one in joined:
                joined[one].append(other)
    storeys: dict[tuple[float, int], list[Vertex]] = {}
    crowd: dict[tuple[float, int, int], int] = {}
    for v in members:
        row, column = plan.home[v.id]
        storeys.setdefault((row, plan.storeys[v.id]), []).append(v)
        key = row, plan.storeys[v.id], column
        crowd[key] = crowd.get(key, 0) + 1
    for floor in sorted(storeys):
        wish, extent = {}, {}
        for v in storeys[floor]:
            row, column = plan.home[v.id]
            width = min(text_width(label(v), 11), 220.0) + 18
            if column >= 0:
                slot = plan.slots[column]
                width = min(width + 4, slot.width / crowd[(*floor, column)] - 10)
                wish[v.id] = slot.x
            else:
                near = [plan.place[n].x for n in joined[v.id] if n in plan.place]
                wish[v.id] = sum(near) / len(near) if near else plan.right / 2
            extent[v.id] = FOLD[0] if v.kind == "fold" else max(width, 30.0)
        across: dict[str, float] = {}
        wide = {name: width + 2 * room.get(name, NOWHERE).wide for name, width in extent.items()}
        pack(sorted(extent, key=wish.__getitem__), wish, wide, 10.0, across)
        for v in storeys[floor]:
            low = BOX_HEIGHT if plan.home[v.id][0] != int(plan.home[v.id][0]) else 0.0
            plan.place[v.id] = Rect(across[v.id], height_of(*floor), extent[v.id], low * 0.7 or BOX_HEIGHT)
