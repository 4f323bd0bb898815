"""A tape as plain data.

The engine's tape is made for the backward sweep: Nodes that know their parents, and nothing else. A
picture, a test or a page wants to look at it from outside, so this file turns it into a `Graph`:
vertices and edges that hold strings and numbers only, in recorded order, with stable names, and that
travel as JSON.

A Graph has a level. At "op" every recorded operation is a vertex. `quotient` contracts it to "gate" (one
vertex per labelled value: i, f, g, o, c, h), to "cell" (one per layer, direction and step) or to "layer".
An edge always points the way the data runs; its gradient runs against it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["op", "gate", "cell", "layer"]


@dataclass(frozen=True)
class Vertex:
    """One operation, value or group of them, and where in the unrolled network it stands."""

    id: str
    """Logical and deterministic: "l1.fwd.t3.f", "l0.rev.t2.cell", "weight_hh_l0", "x.t3", "loss"."""
    op: str
    """The primitive's name ("tanh"), or "parameter", "input", "constant", "cell", "gates", …"""
    kind: str
    """"op", "gate", "state", "cell", "parameter", "input", "constant", "cut" or "output"."""
    label: str = ""
    """What a reader calls it: "f", "h", "weight_hh_l0"; empty for an unnamed operation."""
    formula: str = ""
    """The forward formula, printed from the operation itself: "tanh(x)"."""
    rules: tuple[str, ...] = ()
    """The gradient formulas, printed from its rules: "∂x = g·(1 − y²)"."""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    module: str = ""
    layer: int | None = None
    direction: str | None = None
    """"forward" or "reverse"; None outside recurrent layers."""
    time: int | None = None
    """The input's index, in both directions."""
    gate: str | None = None
    backward: bool = False
    """Made by a differentiable backward (second order)."""
    members: tuple[str, ...] = ()
    """The op-level vertices that a group stands for."""
    norm: float | None = None
    """‖∂L/∂value‖ over all its entries; None where it was not computed."""
    value: dict[str, float] | None = None
    """Summary of the value where the tape still has it: min, mean, max, norm."""


@dataclass(frozen=True)
class Edge:
    """The output of `source` goes into `target`; a gradient comes back from `target` to `source`."""

    source: str
    target: str
    via: str = ""
    """In a group: the op-level vertex of `source` that is read ("…​.h" or "….c" between two cells)."""
    slot: int = 0
    """Which input of the target, in the order of its arguments."""
    cut: bool = False
    """A detached value: the forward pass goes through, BPTT stops."""
    norm: float | None = None
    """‖g_edge‖, the gradient that comes back along this edge; None where it was not computed."""
    projection: float | None = None
    """⟨g_edge, g⟩/‖g‖, its signed share in the gradient of `via`: shares sum to that gradient's norm."""


@dataclass(frozen=True)
class Graph:
    """Vertices in recorded order, and the edges between them."""

    nodes: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    level: Level = "op"
    notes: tuple[str, ...] = field(default=())
    """What a reader must be told: "replayed from its definition", "gradients not computed", …"""

    def to_json(self) -> str:
        """The graph as JSON text; `Graph.from_json` reads it back."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Read back what `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        lists = ("rules", "shape", "members")
        return cls(
            nodes=tuple(
                Vertex(**{k: tuple(v) if k in lists else v for k, v in n.items()}) for n in raw["nodes"]
            ),
            edges=tuple(Edge(**e) for e in raw["edges"]),
            level=raw["level"],
            notes=tuple(raw["notes"]),
        )

def trace(*outputs): ...
