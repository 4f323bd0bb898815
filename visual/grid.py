"""Where everything stands in an unrolled network: columns are time, rows are layer × direction.

Positions are computed, never searched for: x = column, y = row, plus the cell's template, so they are linear
in the graph and the same at every run. Rows grow upward with the layer. Where there are two directions, each
column has two halves, forward cells in the left one and reverse cells in the right one: so an arrow that
rises past a row of the other direction finds its half of the column free.

What belongs to no layer stands below the rows if a cell depends on it (inputs, embeddings: the foot), else
above them (readout, losses: the head). Parameters are not placed here: see `rail`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tinygrad_rnn.trace import Vertex
from visual.cells import Template, label, template
from visual.fold import Folded
from visual.layered import depths, pack
from visual.picture import Point, text_width

FOLD_WIDTH = 176.0
BOX_HEIGHT = 30.0
STOREY = 64.0
"""From one level of the head or foot to the next."""
LANE = 14.0
"""From one pair of arrows (data and gradient) to the next."""


@dataclass(frozen=True)
class Rect:
    """A rectangle by its centre."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        return self.y - self.height / 2


@dataclass(frozen=True)
class Slot:
    """One column: a time step, or a fold's range."""

    time: int
    last: int
    left: float
    width: float

    @property
    def x(self) -> float:
        return self.left + self.width / 2


@dataclass
class Grid:
    """The plan of an unrolled network."""

    rows: list[tuple[int, str]]
    """(layer, direction), bottom to top."""
    slots: list[Slot]
    halves: int
    bottom: list[float] = field(default_factory=list)
    """The lower edge of each row."""
    height: float = 0.0
    gap: float = 0.0
    """Free height between two rows."""
    deep: bool = False
    """Cells are open: they show gates or operations."""
    place: dict[str, Rect] = field(default_factory=dict)
    frames: dict[tuple[int, int], Rect] = field(default_factory=dict)
    """Frames of open cells, by row and column."""
    home: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Vertex → (row, column); row -1 is the foot, row len(rows) the head; column -1 has no time."""
    bends: dict[tuple[str, str], list[Point]] = field(default_factory=dict)
    storeys: dict[str, int] = field(default_factory=dict)
    """Level of a vertex in the head or foot."""
    folds: frozenset[str] = frozenset()

    @property
    def top(self) -> float:
        return self.bottom[-1] + self.height

    @property
    def right(self) -> float:
        return self.slots[-1].left + self.slots[-1].width

    def half(self, row: int) -> int:
        """Which half of a column the row's cells stand in."""
        return 1 if self.halves == 2 and self.rows[row][1] == "reverse" else 0

    def x(self, row: int, column: int) -> float:
        """The centre of a row's cell in a column."""
        slot = self.slots[column]
        return slot.left + slot.width * (self.half(row) + 0.5) / self.halves


def grid(folded: Folded, placed_elsewhere: set[str]) -> Grid:
    """Plan the vertices that are not `placed_elsewhere` (parameters, initial states)."""
    nodes = [v for v in folded.nodes if v.id not in placed_elsewhere]
    inner = [v for v in nodes if v.layer is not None and v.time is not None]
    rows = sorted({(v.layer or 0, v.direction or "forward") for v in inner})
    index = {row: r for r, row in enumerate(rows)}
    times = sorted({v.time for v in nodes if v.time is not None})
    column = {t: k for k, t in enumerate(times)}
    plan = Grid(rows, [], len({direction for _, direction in rows}), folds=frozenset(folded.folds))
    plan.deep = any(v.kind not in ("cell", "fold") for v in inner)
    for v in inner:
        plan.home[v.id] = index[v.layer or 0, v.direction or "forward"], column[v.time or 0]

    cells: dict[tuple[int, int], list[Vertex]] = {}
    for v in inner:
        cells.setdefault(plan.home[v.id], []).append(v)
    wires: dict[tuple[int, int], list[tuple[str, str]]] = {}
    fan: dict[str, set[str]] = {}
    for link in folded.links:
        a, b = plan.home.get(link.edge.source), plan.home.get(link.edge.target)
        if a is not None and a == b:
            wires.setdefault(a, []).append((link.edge.source, link.edge.target))
        elif plan.deep and a is not None and b is not None and a[0] != b[0]:
            fan.setdefault(link.edge.source, set()).add(link.edge.target)
    lanes = max(map(len, fan.values()), default=1)

    templates = _templates(cells, wires, plan.folds)
    drawn = [t for t, _ in templates.values()]
    wide = max((t.width for t in drawn), default=46.0)
    plan.height = max((t.height for t in drawn), default=46.0)
    between = (34.0 if len(times) > 24 else 46.0) if not plan.deep else 44.0 + LANE * lanes
    plan.gap = 76.0 + (LANE * lanes if plan.deep else 0.0)

    ranges = {fold.first: fold.last for fold in folded.folds.values()}
    left = 0.0
    stack = _widest(nodes, plan)
    for t in times:
        body = FOLD_WIDTH if t in ranges else wide
        width = max((body + between) * plan.halves, stack)
        plan.slots.append(Slot(t, ranges.get(t, t), left, width))
        left += width

    outside = [v for v in nodes if v.id not in plan.home]
    foot, head = _foot_and_head(folded, outside, plan)
    floors = 1 + max((plan.storeys[v.id] for v in foot), default=-1)
    base = floors * STOREY + 44.0
    plan.bottom = [base + r * (plan.height + plan.gap) for r in range(len(rows))]
    _place_cells(plan, cells, templates)
    _place_storeys(plan, foot, folded, lambda storey: base - 46.0 - BOX_HEIGHT / 2 - storey * STOREY)
    room = 70.0 + (LANE * 2 if plan.deep else 0.0)
    _place_storeys(plan, head, folded, lambda storey: plan.top + room + storey * STOREY)
    return plan


def _templates(
    cells: dict[tuple[int, int], list[Vertex]], wires: dict[tuple[int, int], list[tuple[str, str]]], folds: frozenset[str]
) -> dict[tuple[int, int], tuple[Template, dict[str, str]]]:
    """The template of each open cell, made once for all cells that are built alike."""
    made: dict[object, Template] = {}
    found = {}
    for key, members in cells.items():
        if members[0].id in folds:
            continue
        names = {v.id: inner_name(v) for v in members}
        inner = [(names[a], names[b]) for a, b in wires.get(key, ())]
        kind = (tuple((names[v.id], v.kind, v.gate, label(v)) for v in members), tuple(inner))
        if kind not in made:
            made[kind] = template(members, inner, names)
        found[key] = made[kind], names
    return found


def inner_name(v: Vertex) -> str:
    """What the vertex is called within its cell: "f" for "l1.fwd.t3.f"."""
    return v.id.partition(f".t{v.time}.")[2] or v.id if v.kind != "cell" else ""


def _widest(nodes: Sequence[Vertex], plan: Grid) -> float:
    """How wide a column must be for what stands outside the rows at one step, side by side where alike."""
    widths: dict[tuple[int | None, str], float] = {}
    for v in nodes:
        if v.id not in plan.home and v.time is not None and v.kind != "fold":
            wide = min(text_width(label(v), 11) + 32, 150.0)
            widths[v.time, v.op] = widths.get((v.time, v.op), 0.0) + wide
    return max(widths.values(), default=64.0)


def _foot_and_head(folded: Folded, outside: Sequence[Vertex], plan: Grid) -> tuple[list[Vertex], list[Vertex]]:
    """Split what is outside the rows, and give each its storey: from the rows down, and from the rows up."""
    names = {v.id for v in outside}
    edges = [(link.edge.source, link.edge.target) for link in folded.links]
    into: dict[str, list[str]] = {}
    for a, b in edges:
        if a in names and (b in names or b in plan.home):
            into.setdefault(b, []).append(a)
    below: set[str] = set()
    front = [a for b, sources in into.items() if b in plan.home for a in sources]
    while front:
        name = front.pop()
        if name not in below:
            below.add(name)
            front += into.get(name, ())
    foot = [v for v in outside if v.id in below]
    head = [v for v in outside if v.id not in below]
    foot_edges = [(b, a) for a, b in edges if a in below and b in below]
    head_edges = [(a, b) for a, b in edges if a in names and b in names and a not in below and b not in below]
    plan.storeys.update(depths([v.id for v in foot], foot_edges))
    plan.storeys.update(depths([v.id for v in head], head_edges))
    column = {slot.time: k for k, slot in enumerate(plan.slots)}
    for row, members in ((-1, foot), (len(plan.rows), head)):
        for v in members:
            plan.home[v.id] = row, column[v.time] if v.time is not None else -1
    return foot, head


def _place_cells(plan: Grid, cells: dict[tuple[int, int], list[Vertex]],
                 templates: dict[tuple[int, int], tuple[Template, dict[str, str]]]) -> None:  # fmt: skip
    for (row, column), members in cells.items():
        x, y = plan.x(row, column), plan.bottom[row] + plan.height / 2
        if (row, column) not in templates:
            plan.place[members[0].id] = Rect(x, y, FOLD_WIDTH, plan.height if not plan.deep else 90.0)
            continue
        shape, names = templates[row, column]
        mirror = -1.0 if plan.rows[row][1] == "reverse" else 1.0
        for v in members:
            across, up, width, height = shape.places[names[v.id]]
            plan.place[v.id] = Rect(
                x + mirror * (across - shape.width / 2), y - plan.height / 2 + up, width, height
            )  # fmt: skip
        by_name = {name: id for id, name in names.items()}
        for (a, b), bends in shape.bends.items():
            plan.bends[by_name[a], by_name[b]] = [
                (x + mirror * (across - shape.width / 2), y - plan.height / 2 + up) for across, up in bends
            ]
        if plan.deep:
            plan.frames[row, column] = Rect(x, y, shape.width, plan.height)


def _place_storeys(plan: Grid, members: Sequence[Vertex], folded: Folded,
                   height_of: Callable[[int], float]) -> None:  # fmt: skip
    """Place the head or foot, storey by storey away from the rows: under or over what each is joined to."""
    joined: dict[str, list[str]] = {v.id: [] for v in members}
    for link in folded.links:
        for one, other in ((link.edge.source, link.edge.target), (link.edge.target, link.edge.source)):
            if one in joined:
                joined[one].append(other)
    storeys: dict[int, list[Vertex]] = {}
    crowd: dict[tuple[int, int], int] = {}
    for v in members:
        storeys.setdefault(plan.storeys[v.id], []).append(v)
        key = plan.storeys[v.id], plan.home[v.id][1]
        crowd[key] = crowd.get(key, 0) + 1
    for storey in sorted(storeys):
        row = storeys[storey]
        wish, extent = {}, {}
        for v in row:
            column = plan.home[v.id][1]
            width = text_width(label(v), 11) + 18
            if column >= 0:
                slot = plan.slots[column]
                width = min(width + 4, slot.width / crowd[storey, column] - 10)
                wish[v.id] = slot.x
            else:
                near = [plan.place[n].x for n in joined[v.id] if n in plan.place]
                wish[v.id] = sum(near) / len(near) if near else plan.right / 2
            extent[v.id] = FOLD_WIDTH if v.kind == "fold" else max(width, 30.0)
        names = sorted(extent, key=lambda name: wish[name])
        across: dict[str, float] = {}
        pack(names, wish, extent, 10.0, across)  # type: ignore[arg-type]
        for name in names:
            plan.place[name] = Rect(across[name], height_of(storey), extent[name], BOX_HEIGHT)
