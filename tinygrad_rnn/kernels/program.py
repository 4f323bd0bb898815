"""What a cell's step computes between its matrix products, forward and backward, as plain data.

A step is a function of the input, the states before and the weights, written with `ops`. `reading` runs it on
symbols and makes a `Program` of it: expressions in one form (`form`), in order, and differentiated. Equal
expressions are one object, so what they share is computed once; and what the backward expressions read of
the forward ones is exactly what must be saved.

Values come in two shapes: a *row* value has one row per sequence of the batch, a *vector* (a bias, a
peephole) is the same for all rows and times. A step that does anything else is not compiled: `NotCompilable`
says why, and its layer runs operation by operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tinygrad_rnn.ops import elementwise
from tinygrad_rnn.symbols import Symbol, symbol

Step = Callable[[Any, Any, Any], Any]
"""(x, state, weights) → the state after; a tuple where there are several."""

X = symbol("x")
DY = symbol("∂y")
"""The cotangent of the output sequence at this step."""

POINTWISE = frozenset(elementwise.__all__)
CHEAP = frozenset(["add", "subtract", "multiply", "negative"])
"""Worth computing again in the backward pass rather than keeping."""


class NotCompilable(Exception):
    """This step has no straight-line program; the message says what stands in the way."""


@dataclass(frozen=True)
class Leaf:
    """One use of a vector weight: its entries `start:stop`, and the cotangent they receive from every row."""

    weight: str
    start: int
    stop: int
    cotangent: Symbol


@dataclass(frozen=True)
class Program:
    """The straight-line program of one step, forward and backward; see the module."""

    before: tuple[Symbol, ...]
    """The states that the step starts from, h first."""
    after: tuple[Symbol, ...]
    """The states that it leaves."""
    constants: tuple[Symbol, ...]
    """Row values that are the same at all steps."""
    seeds: tuple[Symbol, ...]
    """The cotangents of the states that it leaves."""
    forward: tuple[Symbol, ...]
    """Products, operations and pieces, each after what it needs."""
    backward: tuple[Symbol, ...]
    """The same for the cotangents; begins with what is computed again rather than saved."""
    carries: tuple[tuple[Symbol, ...], ...]
    """For each state before the step, the terms of its cotangent, which are the step before's seed."""
    products: tuple[tuple[Symbol, Symbol], ...]
    """Every product of the forward program, with the cotangent it receives."""
    sums: tuple[Leaf, ...]
    dx: Symbol | None
    """The input's cotangent, apart from those that come through products with x itself."""
    saved: tuple[Symbol, ...]
    """What the backward program reads of the forward one, apart from x and the states."""
    kept: tuple[bool, ...]
    """For each state, whether its whole sequence is needed."""
    width: Mapping[Symbol, int]
    """The length of a value's rows."""
    vectors: frozenset[Symbol]
    """Values that are the same for all rows and times."""

    def __str__(self) -> str:
        """The program as text, an assignment a line; pieces and products are shown where they are used."""
        names: dict[Symbol, Symbol] = {}
        lines: list[str] = []

        def show(values: Iterable[Symbol], prefix: str) -> None:
            for v in values:
                if v.op in POINTWISE:
                    text = str(renamed(v, {k: n for k, n in names.items() if k is not v}))
                    names[v] = symbol(f"{prefix}{len(lines)}")
                    lines.append(f"  {names[v]} = {text}")

        show(self.forward, "v")
        show(self.backward, "g")
        lines.insert(sum(v.op in POINTWISE for v in self.forward), "backward")
        kept = ", ".join(str(names.get(s, s)) for s in self.saved) or "nothing but the states"
        return "\n".join(["forward", *lines, f"saved: {kept}"])


def ordered(values: Iterable[Symbol]) -> list[Symbol]:
    """All that the values are made of, arguments first, each once."""
    done: dict[Symbol, None] = {}
    stack = [(v, False) for v in reversed(list(values))]
    while stack:
        value, ready = stack.pop()
        if value in done:
            continue
        if ready:
            done[value] = None
            continue
        stack.append((value, True))
        stack.extend((a, False) for a in reversed(value.args) if isinstance(a, Symbol))
    return list(done)


def renamed(value: Any, names: Mapping[Symbol, Any]) -> Any:
    """The same expression with some of its parts replaced."""
    made: dict[Symbol, Any] = {}
    for v in ordered([value]):
        args = tuple(made[a] if isinstance(a, Symbol) else a for a in v.args)
        made[v] = names[v] if v in names else Symbol(v.op, args, v.params)
    return made[value]
