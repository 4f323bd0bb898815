"""The geometry of arrows: from corners to a smooth curve, and to its neighbour that runs beside it.

A route is a list of corner points. `beside` moves it sideways, so that BPTT can run along the forward arrow
without touching it; `smooth` rounds the corners into cubic Béziers. A `Wire` is an edge's route with the
curves that follow from it. Nothing here knows of graphs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from visual.picture import Point, bezier

Route = Sequence[Point]
Curve = tuple[Point, ...]

BESIDE = 3.5
"""Half the distance between the forward arrow and the gradient's."""


@dataclass(frozen=True)
class Wire:
    """An edge's corners, and those of its gradient where it runs on its own."""

    route: Route
    branch: Route | None = None
    """Only the part that is this edge's alone: on a bus, gradients merge."""

    @cached_property
    def alone(self) -> Curve:
        """The forward arrow's curve where no gradient runs beside it."""
        return smooth(self.route)

    @cached_property
    def ahead(self) -> Curve:
        """The forward arrow's curve beside a gradient's."""
        return smooth(beside(self.route, BESIDE))

    @cached_property
    def back(self) -> Curve:
        """The gradient's curve."""
        return smooth(beside(list(reversed(self.branch or self.route)), BESIDE))


def smooth(route: Route, radius: float = 16.0) -> Curve:
    """The route as cubic Béziers (1 + 3k points), its corners rounded.

    >>> smooth([(0, 0), (3, 0)])
    ((0, 0), (1.0, 0.0), (2.0, 0.0), (3, 0))
    """
    route = distinct(route)
    if len(route) == 1:
        route = [route[0], (route[0][0], route[0][1] + 0.1)]
    curve: list[Point] = [route[0]]
    for before, corner, after in zip(route, route[1:], route[2:], strict=False):
        room = min(radius, distance(before, corner) / 2, distance(corner, after) / 2)
        into, out = toward(corner, before, room), toward(corner, after, room)
        curve += bezier([curve[-1], into])[1:]
        curve += [toward(into, corner, room * 0.56), toward(out, corner, room * 0.56), out]
    curve += bezier([curve[-1], route[-1]])[1:]
    return tuple(curve)


def beside(route: Route, shift: float) -> list[Point]:
    """The route moved by `shift` to its left (to its right where negative), corners kept.

    >>> beside([(0, 0), (10, 0)], 3)
    [(0.0, 3.0), (10.0, 3.0)]
    """
    route = distinct(route)
    if len(route) < 2:
        return list(route)
    normals = [normal(a, b) for a, b in itertools.pairwise(route)]
    moved = []
    for k, (x, y) in enumerate(route):
        (ax, ay), (bx, by) = normals[max(k - 1, 0)], normals[min(k, len(normals) - 1)]
        stretch = 1.0 + ax * bx + ay * by
        if stretch < 0.3:
            ax, ay, stretch = bx, by, 2.0
        moved.append((x + (ax + bx) / stretch * shift, y + (ay + by) / stretch * shift))
    return moved


def middle(points: Sequence[Point]) -> Point:
    """The point halfway along a curve, for a mark that stands on it."""
    ends = points[::3]
    lengths = [distance(a, b) for a, b in itertools.pairwise(ends)]
    rest = sum(lengths) / 2
    for a, b, length in zip(ends, ends[1:], lengths, strict=False):
        if rest <= length:
            return toward(a, b, rest)
        rest -= length
    return ends[-1]


def clipped(start: Point, end: Point, width: float, height: float) -> Point:
    """Where the line from `start`, the centre of a box of this size, to `end` leaves the box."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    share = min(width / 2 / abs(dx) if dx else math.inf, height / 2 / abs(dy) if dy else math.inf, 1.0)
    return start[0] + dx * share, start[1] + dy * share


def distinct(route: Route) -> list[Point]:
    """The route without points that repeat the one before."""
    kept: list[Point] = []
    for point in route:
        if not kept or distance(kept[-1], point) > 1e-6:
            kept.append(point)
    return kept


def distance(a: Point, b: Point) -> float:
    """How far it is from `a` to `b`."""
    return math.hypot(b[0] - a[0], b[1] - a[1])


def toward(a: Point, b: Point, length: float) -> Point:
    """The point `length` from `a` on the way to `b`."""
    whole = distance(a, b) or 1.0
    return a[0] + (b[0] - a[0]) * length / whole, a[1] + (b[1] - a[1]) * length / whole


def normal(a: Point, b: Point) -> Point:
    """The unit vector to the left of the way from `a` to `b`."""
    whole = distance(a, b) or 1.0
    return -(b[1] - a[1]) / whole, (b[0] - a[0]) / whole
