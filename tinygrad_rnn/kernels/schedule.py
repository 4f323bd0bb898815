"""In which order a program runs, and where each of its values lives.

A step becomes a list of *stages*: first the matrix products that can run now, then the assignments, entry by
entry, that need nothing more. Products with x itself are hoisted before the loop (one for all steps), and
the gradients of weights are left until after it.

A value lives in a *place*: an array, and how the time step picks from it. Whatever has a life beyond its own
step (an input, a state, a saved value, a gradient that a later product reads) has a place here; all others
are temporaries, and how to keep those is the emitter's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tinygrad_rnn.kernels.program import NotCompilable
from tinygrad_rnn.ops import elementwise
from tinygrad_rnn.primitive import Primitive
from tinygrad_rnn.symbols import Symbol, symbolic


class Place(NamedTuple):
    """Entries `start:stop` of the rows of `array`; `time` says which of its steps."""

    array: str
    time: str = ""
    """"t" (the step), "before" or "after" (the step, in a sequence of T + 1 states), "old" or "new" (of a
    pair that changes roles at each step), "" (the same at all steps)."""
    start: int = 0
    stop: int | None = None


class Assign(NamedTuple):
    """target = op(args), entry by entry; a target or argument is a value or, right away, its place."""

    target: Symbol | Place
    op: str
    args: tuple[Any, ...]


class Block(NamedTuple):
    """A weight matrix, or some rows and columns of one."""

    array: str
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None

    def of(self, arrays: Mapping[str, Any]) -> Any:
        """The block itself."""
        found = arrays[self.array]
        if self.rows is not None:
            found = found[slice(*self.rows)]
        return found if self.columns is None else found[:, slice(*self.columns)]


class Product(NamedTuple):
    """target = a @ weightᵀ where transposed, else a @ weight; the loop finds the weight in `array`."""

    target: Symbol
    a: Symbol
    weight: Block
    transposed: bool
    array: str = ""


def weight_name(name: str) -> str:
    """The array of a weight; a weight inside a module, "drive.weight", becomes a plain name."""
    return "w_" + name.replace(".", "_")


def block_of(weight: Symbol) -> Block:
    """The block that a symbol stands for."""
    if weight.op == "block":
        return Block(weight_name(weight.args[0].args[0]), weight.params["rows"], weight.params["columns"])
    return Block(weight_name(weight.args[0]))


@dataclass
class Stage:
    """Products, then assignments."""

    products: list[Product] = field(default_factory=list)
    assignments: list[Assign] = field(default_factory=list)


@dataclass
class Schedule:
    """One pass (forward or backward) of a program, ready to be written down."""

    name: str
    width: dict[Symbol, int]
    stages: list[Stage] = field(default_factory=list)
    places: dict[Symbol, Place] = field(default_factory=dict)
    """Where values live; those that are missing are temporaries."""
    shapes: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Array → kind and width: "steps" (T, N, w), "states" (T+1, N, w), "pair" (2, N, w), "rows" (N, w),
    "vector" (w), "matrix" (as the weight is)."""
    vectors: dict[str, Symbol] = field(default_factory=dict)
    """What is to be computed from the vector weights before the loop."""
    factors: list[Product] = field(default_factory=list)
    """One for each weight that the loop multiplies with."""
    hoisted: list[Product] = field(default_factory=list)
    gradients: dict[Symbol, Place] = field(default_factory=dict)
    """Cotangents that are kept for all steps, or (those without time) summed over them."""

    def place(self, value: Any) -> Place | None:
        """The place of a value, or of a piece of one; None for a temporary or a number."""
        if isinstance(value, Place):
            return value
        if not isinstance(value, Symbol) or value in self.places:
            return self.places.get(value)
        if value.op == "part":
            whole = self.place(value.args[0])
            if whole is not None:
                start = whole.start + value.params["start"]
                return whole._replace(start=start, stop=start + self.width[value])
        return None

    def size(self, product: Product) -> tuple[int, int]:
        """Depth and width of a product."""
        return self.width[product.a], self.width[product.target]

    def steps(self) -> list[Assign | Product]:
        """Everything the loop does in a step, in order."""
        found: list[Assign | Product] = []
        for stage in self.stages:
            found += [*stage.products, *stage.assignments]
        return found

    def used(self) -> list[str]:
        """The arrays that the loop touches, in the order in which it takes them."""
        found = set()
        for stage in self.stages:
            for product in stage.products:
                found |= {Place(product.array), self.place(product.target), self.place(product.a)}
            for a in stage.assignments:
                found |= {self.place(v) for v in (a.target, *a.args)}
        return sorted({place.array for place in found if place is not None})


def lowering(atoms: frozenset[str]) -> Callable[[Symbol], Symbol | None]:
    """How an emitter that knows `atoms` gets the other operations: by running their forward on symbols."""

    def lower(value: Symbol) -> Symbol | None:
        if value.op in atoms:
            return None
        if value.op == "clip":
            clipped: tuple[Any, ...] = (*value.args, None, None)
            x, least, most = clipped[:3]
            x = x if least is None else symbolic.maximum(x, least)
            made: Symbol = x if most is None else symbolic.minimum(x, most)
            return made
        primitive: Primitive = getattr(elementwise, value.op).primitive
        try:
            made = primitive.forward(symbolic, *value.args, **value.params)
        except Exception as error:  # what computes with arrays alone, as erf
            raise NotCompilable(f"{value.op} has no formula of simpler operations") from error
        if not isinstance(made, Symbol) or made is value:
            raise NotCompilable(f"{value.op} has no formula of simpler operations")
        return made

    return lower
