"""A layered drawing of any acyclic graph: what a picture falls back to where there is no time to follow.

Every vertex stands one layer above the highest of its inputs (longest path), an edge that skips layers keeps
a lane free in each of them, and a few sweeps put each vertex over the middle of its neighbours. All of it is
linear in vertices and edges, unlike Graphviz's ranking, which takes seconds for a few thousand.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

LANE = 14.0
"""The width kept free for an edge that passes a layer."""
SWEEPS = 6
LONGEST = 40
"""An edge over more layers than this gets no lanes and is drawn straight."""


@dataclass(frozen=True)
class Layers:
    """Where everything stands: a depth and a place across for each vertex, and the corners of each edge."""

    depth: Mapping[str, int]
    across: Mapping[str, float]
    bends: Mapping[tuple[str, str], Sequence[tuple[int, float]]]
    """(depth, place across) of the lanes that an edge passes, in order."""
    breadth: float


def layers(
    widths: Mapping[str, float],
    edges: Sequence[tuple[str, str]],
    gap: float = 18.0,
    fixed: Collection[str] = (),
    passing: float = 1.0,
) -> Layers:
    """Lay the vertices out.

    `widths` holds their extent across, in an order in which sources come first. Of those that are `fixed`,
    sources stay in the lowest layer, and results stand in one above all others. `passing` is what a lane
    counts beside a vertex: with little, a shortcut does not bend the chain that it passes.

    >>> layers({"a": 10, "b": 10}, [("a", "b")]).depth
    {'a': 0, 'b': 1}
    """
    depth = depths(list(widths), edges, fixed)
    members: dict[int, list[Hashable]] = {level: [] for level in range(max(depth.values(), default=0) + 1)}
    extent: dict[Hashable, float] = {}
    extent.update(widths.items())
    for name, level in depth.items():
        members[level].append(name)

    lanes: dict[tuple[str, str], list[tuple[str, str, int]]] = {}
    above: dict[Hashable, list[Hashable]] = {name: [] for name in widths}
    below: dict[Hashable, list[Hashable]] = {name: [] for name in widths}
    for source, target in dict.fromkeys(edges):
        chain: list[tuple[str, str, int]] = []
        if 1 < depth[target] - depth[source] <= LONGEST:
            chain = [(source, target, level) for level in range(depth[source] + 1, depth[target])]
        for lane in chain:
            members[lane[2]].append(lane)
            extent[lane] = LANE
            above[lane], below[lane] = [], []
        lanes[source, target] = chain
        for one, next_one in zip([source, *chain], [*chain, target], strict=True):
            above[one].append(next_one)
            below[next_one].append(one)

    place = _placed(members, extent, above, below, gap, passing)
    left = min((place[v] - extent[v] / 2 for v in place), default=0.0)
    right = max((place[v] + extent[v] / 2 for v in place), default=0.0)
    return Layers(
        depth,
        {name: place[name] - left for name in widths},
        {pair: [(lane[2], place[lane] - left) for lane in chain] for pair, chain in lanes.items()},
        right - left,
    )


def depths(
    names: Sequence[str], edges: Sequence[tuple[str, str]], fixed: Collection[str] = ()
) -> dict[str, int]:
    """The longest path to each vertex; a source is pulled up to just below its first reader."""
    readers: dict[str, list[str]] = {name: [] for name in names}
    waiting = dict.fromkeys(names, 0)
    for source, target in edges:
        readers[source].append(target)
        waiting[target] += 1
    depth = dict.fromkeys(names, 0)
    sources = [name for name in names if not waiting[name]]
    ready = list(sources)
    for name in ready:
        for reader in readers[name]:
            depth[reader] = max(depth[reader], depth[name] + 1)
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    for name in sources:
        if readers[name] and name not in fixed:
            depth[name] = min(depth[reader] for reader in readers[name]) - 1
    results = [name for name in fixed if not readers[name]]
    last = max((depth[name] for name in names if name not in results), default=-1) + 1
    return depth | dict.fromkeys(results, last)


def _placed(
    members: Mapping[int, list[Hashable]],
    extent: Mapping[Hashable, float],
    above: Mapping[Hashable, Sequence[Hashable]],
    below: Mapping[Hashable, Sequence[Hashable]],
    gap: float,
    passing: float,
) -> dict[Hashable, float]:
    """The place across of every vertex and lane: sweeps up and down toward the mean of the neighbours."""
    place: dict[Hashable, float] = {}
    for row in members.values():
        pack(row, dict.fromkeys(row, 0.0), extent, gap, place)
    for sweep in range(SWEEPS):
        neighbours = (below, above)[sweep % 2]
        for level in sorted(members, reverse=bool(sweep % 2)):
            row = members[level]
            wish = {v: _mean(neighbours[v], place, passing) if neighbours[v] else place[v] for v in row}
            row.sort(key=lambda v, wish=wish: wish[v])  # type: ignore[misc]  # `wish` is bound now
            pack(row, wish, extent, gap, place)
    return place


def _mean(neighbours: Sequence[Hashable], place: Mapping[Hashable, float], passing: float) -> float:
    """The middle of the neighbours, a lane among them by its weight."""
    shares = [passing if isinstance(n, tuple) else 1.0 for n in neighbours]
    return sum(place[n] * share for n, share in zip(neighbours, shares, strict=True)) / sum(shares)


def pack(
    row: Sequence[Key],
    wish: Mapping[Key, float],
    extent: Mapping[Key, float],
    gap: float,
    place: dict[Key, float],
) -> None:
    """Give each its wish as near as order and gaps allow: neighbours that collide share their mean."""
    blocks: list[tuple[float, float, list[Key]]] = []
    for v in row:
        centre, width, block = wish[v], extent[v] + gap, [v]
        while blocks and blocks[-1][0] + blocks[-1][1] / 2 > centre - width / 2:
            other, other_width, others = blocks.pop()
            centre = (other * len(others) + centre * len(block)) / (len(others) + len(block))
            width += other_width
            others += block
            block = others
        blocks.append((centre, width, block))
    for centre, width, block in blocks:
        left = centre - width / 2
        for v in block:
            place[v] = left + (extent[v] + gap) / 2
            left += extent[v] + gap
