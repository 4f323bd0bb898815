"""A cell, read on symbols: what it does between its matrix products, forward and backward.

A cell's step is a function of the input, the states before and the weights, written with `ops`. Run on
symbols it returns the new states as expressions. Here these are brought to one form (products of a row value
with a weight matrix, and operations entry by entry), put in order, and differentiated: each operation's own
rules, run on symbols, from the last to the first. Equal expressions are one object, so what the rules share
is computed once; and what the backward expressions read of the forward ones is exactly what must be saved.

Values come in two shapes: a *row* value has one row per sequence of the batch, a *vector* (a bias, a
peephole) is the same for all rows and times. A step that does anything else is not compiled: `NotCompilable`
says why, and its layer runs operation by operation.

>>> program = read(lambda x, h, w: ops.tanh(ops.linear(x, w.W) + ops.linear(h, w.U)),
...                3, {"h": 5}, {"W": (5, 3), "U": (5, 5)})
>>> print(program)
forward
  tanh(W·x + U·h₋)
backward
  ∂h·(1 - h²)
saved: nothing but the states
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from tinygrad_rnn import ops
from tinygrad_rnn.ops import elementwise
from tinygrad_rnn.primitive import Primitive
from tinygrad_rnn.symbols import Symbol, symbol, symbolic

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
    """One use of a weight: its rows `start:stop`, and the cotangent that they receive at each step."""

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
    forward: tuple[Symbol, ...]
    """What it computes, in an order that can be followed."""
    backward: tuple[Symbol, ...]
    carries: tuple[tuple[Symbol, ...], ...]
    """For each state, the terms whose sum is the cotangent of that state before the step."""
    products: tuple[tuple[Symbol, Symbol], ...]
    """Every product of the forward program, with the cotangent it receives."""
    sums: tuple[Leaf, ...]
    """Every vector weight, with a cotangent that is summed over rows and times."""
    dx: tuple[Symbol, ...]
    """Terms of the input's cotangent, apart from those that come through products with x itself."""
    saved: tuple[Symbol, ...]
    """What the backward program reads of the forward one, apart from x and the states."""
    width: Mapping[Symbol, int]
    """The length of a value's rows."""
    vectors: frozenset[Symbol]
    """Values that are the same for all rows and times."""

    def __str__(self) -> str:
        """The program as text, one assignment a line."""
        names = {v: symbol(str(s).rstrip("₋")) for v, s in zip(self.after, self.before, strict=True)}
        kept = ", ".join(str(s) for s in self.saved) or "nothing but the states"
        text = lambda v: str(_renamed(v, {k: n for k, n in names.items() if k is not v}))
        lines = ["forward", *(f"  {text(v)}" for v in self.forward), "backward", *(f"  {text(v)}" for v in self.backward)]
        return "\n".join([*lines, f"saved: {kept}"])


def is_assignment(value: Symbol) -> bool:
    """Whether a value is computed entry by entry (and not a name, a product, or a piece of something)."""
    return value.op in POINTWISE


# -- reading -------------------------------------------------------------------------------------------


def read(
    step: Step, x_width: int, states: Mapping[str, int], weights: Mapping[str, tuple[int, ...] | None]
) -> Program:
    """The program of a step, for an input of that many features, states and weights of those shapes.

    Raises NotCompilable.
    """
    before = tuple(symbol(f"{name}₋") for name in states)
    names = {name: None if shape is None else symbol(name) for name, shape in weights.items()}
    try:
        after = step(X, before if len(before) > 1 else before[0], SimpleNamespace(**names))
    except Exception as error:  # whatever a user's step does that symbols cannot
        raise NotCompilable(f"the step cannot be read on symbols: {error}") from error
    after = after if isinstance(after, tuple) else (after,)
    if len(after) != len(before) or not all(isinstance(a, Symbol) for a in after):
        raise NotCompilable(f"expected the step to return {len(before)} states, got {after}")
    shapes = {symbol(n): s for n, s in weights.items() if s is not None}
    form = _Form({X: x_width, **dict(zip(before, states.values(), strict=True))}, shapes)
    after = tuple(form(a) for a in after)
    for name, a, width in zip(states, after, states.values(), strict=True):
        if a in form.vectors or form.width[a] != width:
            raise NotCompilable(f"expected a state {name} of {width} features, got {a}")
    order = _ordered(after)
    return _Differentiator(form, before, order).program(after)


def _ordered(values: Iterable[Symbol]) -> list[Symbol]:
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


def _renamed(value: Any, names: Mapping[Symbol, Any]) -> Any:
    """The same expression with some of its parts replaced."""
    made: dict[Symbol, Any] = {}
    for v in _ordered([value]):
        args = tuple(made[a] if isinstance(a, Symbol) else a for a in v.args)
        made[v] = names[v] if v in names else Symbol(v.op, args, v.params)
    return made[value]


class _Form:
    """Brings expressions to the one form, and knows how wide each of them is."""

    def __init__(self, widths: Mapping[Symbol, int], weights: Mapping[Symbol, tuple[int, ...]]) -> None:
        self.width: dict[Symbol, int] = dict(widths)
        self.weights = weights
        self.vectors: set[Symbol] = set()
        for name, shape in weights.items():
            if len(shape) == 1:
                self.vectors.add(name)
                self.width[name] = shape[0]
        self._done: dict[Symbol, Symbol] = {}

    def __call__(self, value: Symbol) -> Symbol:
        """The value in that form."""
        for v in _ordered([value]):
            if v not in self._done:
                self._done[v] = self._formed(v, [self._done.get(a, a) if isinstance(a, Symbol) else a for a in v.args])
        return self._done[value]

    def _formed(self, value: Symbol, args: list[Any]) -> Symbol:
        op = value.op
        if op == "name":
            return value
        if op == "linear":
            a, weight, bias = args
            made = self._product(a, weight, True)
            return made if bias is None else self._pointwise("add", [made, bias], {})
        if op == "matmul":
            return self._product(args[0], args[1], False)
        if op in ("matrix_transpose", "permute_dims") and args[0] in self.weights or op == "split":
            return Symbol(op, tuple(args), value.params)
        if op == "part":
            return self._part(args[0], value.params["index"])
        if op in POINTWISE:
            return self._pointwise(op, args, value.params)
        raise NotCompilable(f"{op} is neither a product with a weight nor computed entry by entry")

    def _product(self, a: Any, weight: Any, transposed: bool) -> Symbol:
        """a @ weight, or a @ weightᵀ."""
        if isinstance(weight, Symbol) and weight.op in ("matrix_transpose", "permute_dims"):
            weight, transposed = weight.args[0], not transposed
        shape = self.weight_shape(weight)
        if a not in self.width or a in self.vectors or len(shape) != 2:
            raise NotCompilable(f"expected the product of a row value and a weight matrix, got {a} and {weight}")
        out, inner = shape if transposed else shape[::-1]
        if self.width[a] != inner:
            raise NotCompilable(f"expected {inner} features for the product with {weight}, got {self.width[a]}")
        made = product(a, weight, transposed)
        self.width[made] = out
        return made

    def weight_shape(self, weight: Any) -> tuple[int, ...]:
        """The shape of a weight or of some of its rows; () where it is neither."""
        if isinstance(weight, Symbol) and weight.op == "rows":
            return (weight.params["stop"] - weight.params["start"], *self.weights[weight.args[0]][1:])
        return self.weights.get(weight, ())

    def _part(self, split: Symbol, index: int) -> Symbol:
        of, sections = split.args[0], split.params["indices_or_sections"]
        axis = split.params["axis"]
        shape = self.weight_shape(of)
        if shape and axis in (0, -len(shape)):
            width, op = shape[0], "rows" if len(shape) == 2 else "part"
        elif of in self.width and axis in (1, -1):
            width, op = self.width[of], "part"
        else:
            raise NotCompilable(f"expected to split features, got {split}")
        if width % sections:
            raise NotCompilable(f"expected {width} features to divide into {sections} parts")
        length = width // sections
        return self.piece(of, op, index * length, (index + 1) * length)

    def piece(self, of: Symbol, op: str, start: int, stop: int) -> Symbol:
        """Features (or a matrix' rows) start:stop of a value; a piece of a piece is a piece of the whole."""
        if of.op == op:
            return self.piece(of.args[0], op, of.params["start"] + start, of.params["start"] + stop)
        made = Symbol(op, (of,), {"start": start, "stop": stop})
        if op == "part":
            self.width[made] = stop - start
            if of in self.vectors:
                self.vectors.add(made)
        return made

    def _pointwise(self, op: str, args: list[Any], params: dict[str, Any]) -> Symbol:
        if op == "add":
            args = self._biases_last(*args)
        return self.measured(Symbol(op, tuple(args), params))

    def _biases_last(self, a: Any, b: Any) -> list[Any]:
        """(a + u) + (b + v) as (a + b) + (u + v), so that all biases of a sum are one."""
        rows, vectors = [], []
        for term in (a, b):
            split = isinstance(term, Symbol) and term.op == "add" and term not in self.vectors and term.args[1] in self.vectors
            for part in term.args if split else (term,):
                (vectors if part in self.vectors else rows).append(part)
        if not vectors or not rows or len(rows) + len(vectors) == 2:
            return [a, b] if b in self.vectors or a not in self.vectors else [b, a]
        row = rows[0] if len(rows) == 1 else self.measured(Symbol("add", tuple(rows)))
        vector = vectors[0] if len(vectors) == 1 else self.measured(Symbol("add", tuple(vectors)))
        return [row, vector]

    def measured(self, value: Symbol) -> Symbol:
        """Note how wide a pointwise value is; all its arguments must be as wide."""
        args = [a for a in value.args if isinstance(a, Symbol)]
        widths = {self.width.get(a) for a in args}
        if len(widths) != 1 or None in widths or not all(isinstance(a, Symbol | int | float) or a is None for a in value.args):
            raise NotCompilable(f"expected values of one width in {value}, got {[self.width.get(a, a) for a in value.args]}")
        self.width[value] = widths.pop()  # type: ignore[assignment]
        if all(a in self.vectors for a in args):
            self.vectors.add(value)
        return value


def product(a: Symbol, weight: Symbol, transposed: bool) -> Symbol:
    """a @ weightᵀ where transposed (as in `linear`), else a @ weight."""
    return Symbol("product", (a, weight), {"transposed": transposed})


# -- differentiating -----------------------------------------------------------------------------------


class _Differentiator:
    """Runs the rules of the forward program's operations on symbols, from the last to the first."""

    def __init__(self, form: _Form, before: tuple[Symbol, ...], order: list[Symbol]) -> None:
        self.form, self.before = form, before
        self.order = [v for v in order if v in form.width]
        self.received: dict[Symbol, list[Symbol]] = defaultdict(list)
        self.pieces: dict[Symbol, dict[tuple[int, int], Symbol]] = defaultdict(dict)

    def program(self, after: tuple[Symbol, ...]) -> Program:
        form = self.form
        forward = [v for v in self.order if v.op != "name" and v not in form.vectors]
        seeds = [symbol(f"∂{str(s).rstrip('₋')}") for s in self.before]
        for seed, value in zip(seeds, after, strict=True):
            form.width[seed] = form.width[value]
            self.received[value].append(seed)
        products: list[tuple[Symbol, Symbol]] = []
        sums: list[Leaf] = []
        for value in reversed(self.order):
            g = self._total(value)
            if g is None:
                continue
            if value.op == "product":
                products.append((value, g))
                if value.args[0] is not X:
                    self._send(value.args[0], form._product(g, value.args[1], not value.params["transposed"]))
            elif value.op == "part":
                self.pieces[value.args[0]][value.params["start"], value.params["stop"]] = g
            elif value.op == "name":
                if value in form.vectors:
                    sums.append(Leaf(value.args[0], 0, form.width[value], g))
            else:
                self._pull(value, g)
        terms = [self._terms(s) for s in self.before]
        names = {seed: _sum([*([DY] if k == 0 else []), *(carry(k, j) for j in range(len(t)))], form)
                 for k, (seed, t) in enumerate(zip(seeds, terms, strict=True))}  # fmt: skip
        ...
