"""From every operation to one box per gate, per cell or per layer.

A level is a grouping of a trace's vertices; the drawing and the gradient on its edges follow from it.

- "gate": inside a cell, an operation without a name goes into the named value that it alone serves (in an
  LSTM, f·c₋ and i·g become part of c). What serves several, the pre-activations, is a box of its own, "a".
  A detached state belongs to the state, so that the way on from it is what is cut.
- "cell": all operations of one layer, direction and time step.
- "layer": all operations of one layer and direction; what else there is at every step is one vertex, too.

Outside the layers all operations of a module that is no mere frame for others are one vertex, and so is a
chain of additions (a loss summed step by step). Parameters, named inputs, cuts and outputs stay what they
are; unnamed constants are left out. No grouping makes a cycle: a module called twice in a row stays apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygrad_rnn.trace import Graph, Vertex

_OWN = ("parameter", "input", "output")
SHORT = {"forward": "fwd", "reverse": "rev"}


def group(graph: Graph, level: str) -> dict[str, str]:
    """Vertex id → group id at that level; a vertex that is left out is missing.

    Raises ValueError for a level that is none of "op", "gate", "cell", "layer".
    """
    if level == "op":
        return {v.id: v.id for v in graph.nodes}
    if level not in ("gate", "cell", "layer"):
        raise ValueError(f"expected level 'op', 'gate', 'cell' or 'layer', got {level!r}")
    blocks = _blocks(graph)
    recursions = _recursions(graph, blocks) if level == "layer" else set()
    groups: dict[str, str] = {}
    for v in graph.nodes:
        if v.kind in _OWN:
            groups[v.id] = _timeless(v) if level == "layer" else v.id
        elif v.kind != "constant":
            joined = v.op not in JOINS or blocks.get(v.module) in recursions
            groups[v.id] = _place(v, level, blocks if joined else {})
    groups |= _chains(graph, groups)
    _dissolve_cycles(graph, groups)
    if level == "gate":
        _split_cells_into_gates(graph, groups)
    return groups


def _place(v: Vertex, level: str, blocks: Mapping[str, str]) -> str:
    if v.layer is not None and v.direction is not None:
        cell = v.id.split(f"l{v.layer}.{SHORT[v.direction]}")[0] + f"l{v.layer}.{SHORT[v.direction]}"
        return cell if level == "layer" or v.time is None else f"{cell}.t{v.time}"
    if v.module in blocks:
        block = blocks[v.module]
        return block if v.time is None or level == "layer" else f"{block}.t{v.time}"
    return _timeless(v) if level == "layer" else v.id


def _blocks(graph: Graph) -> dict[str, str]:
    """Module → the outermost module around it that does as much by itself as its parts do together."""
    own = Counter(v.module for v in graph.nodes if v.module and v.layer is None and v.kind == "op")
    whole: Counter[str] = Counter()
    for module, count in own.items():
        for outer in _path(module):
            whole[outer] += count
    found: dict[str, str] = {}
    for module in own:
        block = next((outer for outer in _path(module) if 2 * own[outer] >= whole[outer]), None)
        if block is not None:
            found[module] = block
    return found


def _recursions(graph: Graph, blocks: Mapping[str, str]) -> set[str]:
    """The blocks outside the layers that work step by step: what joins their steps is a part of them."""
    steps = (v for v in graph.nodes if v.time is not None and v.layer is None and v.op not in JOINS)
    return {blocks[v.module] for v in steps if v.module in blocks and v.kind == "op"}


def _path(module: str) -> Iterator[str]:
    """The modules around a module, outermost first, and itself."""
    parts = module.split(".")
    return (".".join(parts[: k + 1]) for k in range(len(parts)))


def _timeless(v: Vertex) -> str:
    """The vertex's id without its time."""
    return ".".join(part for part in v.id.split(".") if part != f"t{v.time}")


def _chains(graph: Graph, groups: dict[str, str]) -> dict[str, str]:
    """Additions that only serve another addition, each with the last of its chain."""
    users: dict[str, set[str]] = defaultdict(set)
    for edge in graph.edges:
        users[edge.source].add(edge.target)
    plain = {v.id for v in graph.nodes if v.op == "add" and v.layer is None and groups.get(v.id) == v.id}
    plain -= {v.id for v in graph.nodes if v.kind in _OWN}
    last: dict[str, str] = {}
    for v in reversed(graph.nodes):
        if v.id in plain:
            (user, *others) = users[v.id] or {v.id}
            last[v.id] = last.get(user, v.id) if not others else v.id
    return last


def _dissolve_cycles(graph: Graph, groups: dict[str, str]) -> None:
    """Take apart the groups without which there would be no cycle."""
    ends = ((groups.get(e.source), groups.get(e.target)) for e in graph.edges)
    edges = [(a, b) for a, b in ends if a is not None and b is not None and a != b]
    stuck = _unreached(set(groups.values()), edges)
    stuck = _unreached(stuck, [(b, a) for a, b in edges if a in stuck and b in stuck])
    for v in graph.nodes:
        if v.layer is None and groups.get(v.id) in stuck:
            groups[v.id] = v.id


def _unreached(names: set[str], edges: Sequence[tuple[str, str]]) -> set[str]:
    """What an order by the edges never comes to: cycles, and all behind them."""
    waiting, readers = Counter(b for _, b in edges), defaultdict(list)
    for a, b in edges:
        readers[a].append(b)
    ready = [name for name in names if not waiting[name]]
    for name in ready:
        for reader in readers[name]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    return names - set(ready)


JOINS = ("stack", "concatenate")
"""Operations that only bring values together: small joints in a picture, never part of a box."""


def _split_cells_into_gates(graph: Graph, groups: dict[str, str]) -> None:
    """Refine cells: every unnamed operation goes to the one named value it serves, if it is one."""
    cell = {v.id: groups[v.id] for v in graph.nodes if v.direction is not None and v.id in groups}
    users: dict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        users[edge.source].append(edge.target)
    shared: list[str] = []
    for v in reversed(graph.nodes):
        if v.id not in cell:
            continue
        if v.kind == "cut" and (state := v.id.removesuffix(".cut")) in cell:
            groups[v.id] = state
            continue
        serves = {groups[u] if cell.get(u) == cell[v.id] else None for u in users[v.id]}
        alone = serves.pop() if len(serves) == 1 else None
        if v.label or alone is None:
            groups[v.id] = v.id
            if not v.label:
                shared.append(v.id)
        else:
            groups[v.id] = alone
    names: dict[str, str] = {}
    taken: Counter[str] = Counter()
    for v_id in reversed(shared):
        taken[cell[v_id]] += 1
        names[v_id] = f"{cell[v_id]}.a{taken[cell[v_id]] if taken[cell[v_id]] > 1 else ''}"
    for v_id, own in groups.items():
        groups[v_id] = names.get(own, own)
