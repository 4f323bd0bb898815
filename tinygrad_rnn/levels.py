"""From every operation to one box per gate, per cell or per layer.

A level is a grouping of a trace's vertices; the drawing and the gradient on its edges follow from it.

- "gate": inside a cell, an operation without a name goes into the named value that it alone serves (in an
  LSTM, f·c₋ and i·g become part of c). What serves several, the pre-activations, is a box of its own, "a".
- "cell": all operations of one layer, direction and time step.
- "layer": all operations of one layer and direction, and everything of one module outside the layers.

Parameters, named inputs, cuts and outputs stay what they are; unnamed constants are left out.
"""

from __future__ import annotations

from collections import defaultdict
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
    groups: dict[str, str] = {}
    for v in graph.nodes:
        if v.kind in _OWN:
            groups[v.id] = v.id
        elif v.kind != "constant":
            groups[v.id] = _place(v, level)
    if level == "gate":
        _split_cells_into_gates(graph, groups)
    return groups


def _place(v: Vertex, level: str) -> str:
    if v.layer is not None and v.direction is not None:
        cell = v.id.split(f"l{v.layer}.{SHORT[v.direction]}")[0] + f"l{v.layer}.{SHORT[v.direction]}"
        return cell if level == "layer" or v.time is None else f"{cell}.t{v.time}"
    if level == "layer":
        return v.module or v.id
    if v.module and v.layer is None and v.op not in JOINS:
        return v.module if v.time is None else f"{v.module}.t{v.time}"
    return v.id


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
        serves = {groups[u] if cell.get(u) == cell[v.id] else None for u in users[v.id]}
        alone = serves.pop() if len(serves) == 1 else None
        if v.label or alone is None:
            groups[v.id] = v.id
            if not v.label:
                shared.append(v.id)
        else:
            groups[v.id] = alone
    names: dict[str, str] = {}
    for v_id in reversed(shared):
        taken = sum(name.startswith(f"{cell[v_id]}.a") for name in names.values())
        names[v_id] = f"{cell[v_id]}.a{taken + 1 if taken else ''}"
    for v_id, own in groups.items():
        groups[v_id] = names.get(own, own)
