"""Long sequences, shortened without hiding what matters.

A picture of a thousand steps tells nobody anything, so steps in the middle are folded: one box per row stands
for them, and says which steps it hides, how many, and the smallest, median and largest norm among them. The
first and last steps, the focus, and every step that a reader must not miss (a loss, a cut, a NaN, the largest
and smallest gradient) stay open; where those are too many to keep, the box counts them.

Folding turns a Graph into a smaller one, so the layout need not know about it.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tinygrad_rnn.trace import Edge, Graph, Vertex
from visual.style import look, number

MOST = {"op": 12, "gate": 40, "cell": 200}
"""A picture with more steps than this folds."""
KEPT = {"op": 2, "gate": 2, "cell": 3}
"""So many steps stay open at each end."""
NOTABLE = 12
"""More losses, cuts or NaNs than this are counted by the fold instead of kept open."""
BINS = 48
"""A fold's strip has at most so many bins."""


@dataclass(frozen=True)
class Spread:
    """What hidden norms amount to; vectors add, norms don't, so there is no sum and no mean."""

    count: int
    missing: int = 0
    zeros: int = 0
    broken: int = 0
    low: float | None = None
    median: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        parts = []
        if self.low is not None:
            parts.append(f"min {number(self.low)} · median {number(self.median)} · max {number(self.high)}")
        parts += [f"{self.zeros} exactly zero"] if self.zeros else []
        parts += [f"{self.broken} NaN or infinite"] if self.broken else []
        parts += [f"{self.missing} not computed"] if self.missing else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Fold:
    """One row's hidden steps."""

    id: str
    first: int
    last: int
    steps: int
    norms: Spread
    bins: tuple[tuple[float | None, float | None], ...]
    """Median and largest norm of each bin, in the order of time."""
    counts: str = ""
    """Notable things inside, as "37 losses, 12 cuts"."""


class Link(NamedTuple):
    """An edge of the picture: one of the graph's, or what several became when their ends were folded."""

    edge: Edge
    spread: Spread | None = None


@dataclass(frozen=True)
class Folded:
    """The graph as it will be drawn."""

    nodes: tuple[Vertex, ...]
    links: tuple[Link, ...]
    folds: dict[str, Fold]
    times: tuple[int, ...] = ()
    """The time of each column."""


def folded(graph: Graph, fold: str | bool | int = "auto", focus: int | Sequence[int] | None = None) -> Folded:
    """The graph with its middle steps folded where there are too many of them.

    `fold` is "auto" (by the level's threshold), True, False, or the number of steps above which to fold;
    `focus` is a step or a range of steps that stays open.
    """
    times = sorted({v.time for v in graph.nodes if v.time is not None})
    most = _most(graph.level, fold)
    if most is None or len(times) <= most:
        return Folded(graph.nodes, tuple(map(Link, graph.edges)), {}, tuple(times))
    marks = notable(graph)
    open_steps = _open_steps(graph.level, times, marks, focus)
    ranges = _ranges(times, open_steps)
    place = {t: r for r in ranges for t in r}
    return _merge(graph, place, marks)


def spread(norms: Iterable[float | None]) -> Spread:
    """Count and order the norms; NaN, zero and "not computed" each stay apart.

    >>> str(spread([0.1, 0.3, 0.2, None]))
    'min 0.1 · median 0.2 · max 0.3, 1 not computed'
    """
    norms = list(norms)
    looks = [look(n) for n in norms]
    finite = [n for n, seen in zip(norms, looks, strict=True) if n is not None and seen == "number"]
    counted = Spread(len(norms), looks.count("missing"), looks.count("zero"), looks.count("broken"))
    if not finite:
        return counted
    return replace(counted, low=min(finite), median=statistics.median(finite), high=max(finite))


def worst(norms: Iterable[float | None]) -> float | None:
    """The largest norm, NaN where there is one: an extreme is never averaged away."""
    known = [n for n in norms if n is not None]
    broken = [n for n in known if not math.isfinite(n)]
    return broken[0] if broken else max(known, default=None)


def _most(level: str, fold: str | bool | int) -> int | None:
    if fold == "auto":
        return MOST.get(level)
    if fold is True:
        return 2 * KEPT.get(level, 2)
    if fold is False:
        return None
    if isinstance(fold, int) and fold > 0:
        return fold
    raise ValueError(f"expected fold 'auto', True, False or a positive number of steps, got {fold!r}")


def _open_steps(
    level: str, times: Sequence[int], marks: Mapping[str, set[int]], focus: int | Sequence[int] | None
) -> set[int]:
    ends = KEPT.get(level, 2)
    kept = {*times[:ends], *times[-ends:]}
    if isinstance(focus, int):
        kept |= {focus - 1, focus, focus + 1}
    elif focus is not None:
        kept |= {*focus}
    for group in marks.values():
        kept |= {*group} if len(group) <= NOTABLE else {min(group), max(group)}
    return kept & {*times}


def notable(graph: Graph) -> dict[str, set[int]]:
    """The steps that must not vanish: losses, cuts, NaNs, and the two extremes of the gradient's norm."""
    found: dict[str, set[int]] = {"losses": set(), "cuts": set(), "NaN or infinite": set(), "extremes": set()}
    time = {}
    low, high = (math.inf, -1), (-math.inf, -1)
    for v in graph.nodes:
        t = v.time
        if t is None:
            continue
        time[v.id] = t
        if v.kind == "output":
            found["losses"].add(t)
        elif v.kind == "cut":
            found["cuts"].add(t)
        norm = v.norm
        if norm is not None:
            if not math.isfinite(norm):
                found["NaN or infinite"].add(t)
            elif v.layer is not None and norm > 0.0:
                low, high = min(low, (norm, t)), max(high, (norm, t))
    found["extremes"] = {t for _, t in (low, high) if t >= 0}
    for e in graph.edges:
        if e.cut:
            found["cuts"] |= {time[end] for end in (e.source, e.target) if end in time}
        elif e.norm is not None and not math.isfinite(e.norm):
            found["NaN or infinite"] |= {time[end] for end in (e.source, e.target) if end in time}
    return found


def _ranges(times: Sequence[int], kept: Collection[int]) -> list[tuple[int, ...]]:
    """The runs of steps that are not kept; a run of one or two is not worth a fold and stays open."""
    ranges, run = [], []
    for t in times:
        if t not in kept:
            run.append(t)
        elif run:
            ranges.append(tuple(run))
            run = []
    return [run for run in [*ranges, tuple(run)] if len(run) > 2]


def _merge(graph: Graph, place: Mapping[int, tuple[int, ...]], marks: Mapping[str, set[int]]) -> Folded:
    """Put every hidden vertex into the fold of its row and range, and join the edges that then coincide."""
    home: dict[str, str] = {}
    inside: dict[str, list[Vertex]] = {}
    nodes: list[Vertex] = []
    seen: dict[tuple[int, str], int] = {}
    for v in graph.nodes:
        if v.time is None or v.time not in place:
            nodes.append(v)
            continue
        steps = place[v.time]
        if v.layer is not None:
            row = f"l{v.layer}.{'rev' if v.direction == 'reverse' else 'fwd'}"
        else:
            nth = seen[v.time, v.op] = seen.get((v.time, v.op), -1) + 1
            stem = f".{v.id}.".replace(f".t{v.time}.", ".").strip(".") or v.op
            row = stem if nth == 0 else f"{stem}.{nth}"
        name = f"{row}.t{steps[0]}-t{steps[-1]}"
        home[v.id] = name
        if name not in inside:
            inside[name] = []
            nodes.append(
                v._replace(
                    id=name,
                    op="fold",
                    kind="fold",
                    time=steps[0],
                    gate=None,
                    norm=None,
                    label=v.label or v.op,
                    value=None,
                    formula="",
                    rules=(),
                    members=(),
                )
            )
        inside[name].append(v)

    links: list[Link] = []
    bundles: dict[tuple[str, str, str], list[Edge]] = {}
    for e in graph.edges:
        source, target = home.get(e.source), home.get(e.target)
        if source is None and target is None:
            links.append(Link(e))
        elif source != target:
            state = "c" if e.via.endswith(".c") else ""
            bundles.setdefault((source or e.source, target or e.target, state), []).append(e)
    for (source_id, target_id, _), edges in bundles.items():
        if len(edges) == 1:
            links.append(Link(edges[0]._replace(source=source_id, target=target_id)))
        else:
            merged = edges[0]._replace(
                source=source_id,
                target=target_id,
                norm=worst(e.norm for e in edges),
                projection=None,
                cut=all(e.cut for e in edges),
            )
            links.append(Link(merged, spread(e.norm for e in edges)))

    folds = {}
    cuts = _cuts(graph, place)
    for name, hidden in inside.items():
        steps = place[hidden[0].time or 0]
        counts = {word: len(found.intersection(steps)) for word, found in marks.items() if word != "extremes"}
        counts["cuts"] = len(cuts.get(steps, ()))
        said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        states = [v for v in hidden if v.gate == "h"] or hidden
        folds[name] = Fold(
            name, steps[0], steps[-1], len(steps), spread(v.norm for v in states), _bins(states), said
        )
    times = tuple(sorted({v.time for v in nodes if v.time is not None}))
    return Folded(tuple(nodes), tuple(links), folds, times)


def _cuts(graph: Graph, place: Mapping[int, tuple[int, ...]]) -> dict[tuple[int, ...], set[int]]:
    """The steps within each range before which BPTT was cut."""
    time = {v.id: v.time for v in graph.nodes if v.time is not None}
    found: dict[tuple[int, ...], set[int]] = {}
    for e in graph.edges:
        ranges = place.get(time.get(e.source, -1)), place.get(time.get(e.target, -1))
        if e.cut and ranges[1] is not None and ranges[0] is ranges[1]:
            found.setdefault(ranges[1], set()).add(time[e.target])
    return found


def _bins(hidden: Sequence[Vertex]) -> tuple[tuple[float | None, float | None], ...]:
    hidden = sorted(hidden, key=lambda v: v.time or 0)
    count = min(BINS, len(hidden))
    bounds = [len(hidden) * k // count for k in range(count + 1)]
    groups = [[v.norm for v in hidden[a:b]] for a, b in itertools.pairwise(bounds)]
    return tuple((_median(group), worst(group)) for group in groups)


def _median(norms: Sequence[float | None]) -> float | None:
    known = [n for n in norms if n is not None and math.isfinite(n)]
    return statistics.median(known) if known else None
