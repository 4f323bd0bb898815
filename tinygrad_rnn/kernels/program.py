"""A cell, read on symbols: what it does between its matrix products, forward and backward.

A cell's step is a function of the input, the states before and the weights, written with `ops`. Run on
symbols it returns the new states as expressions. Here these are brought to one form (products of a row value
with a weight matrix, and operations entry by entry), put in order, and differentiated: each operation's own
rules, run on symbols, from the last to the first. Equal expressions are one object, so what the rules share
is computed once; and what the backward expressions read of the forward ones is exactly what must be saved.

Values come in two shapes: a *row* value has one row per sequence of the batch, a *vector* (a bias, a
peephole) is the same for all rows and times. A step that does anything else is not compiled: `NotCompilable`
says why, and its layer runs operation by operation.

>>> from tinygrad_rnn.ops import linear, tanh
>>> def step(x, h, w):
...     return tanh(linear(x, w.W) + linear(h, w.U))
>>> print(read(step, 3, {"h": 5}, {"W": (5, 3), "U": (5, 5)}))
forward
  v0 = product(x, W, transposed=True) + product(h₋, U, transposed=True)
  v1 = tanh(v0)
backward
  g2 = v1²
  g3 = 1 - g2
  g4 = ∂h·g3
saved: nothing but the states
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from tinygrad_rnn.ops import elementwise
from tinygrad_rnn.primitive import Primitive
from tinygrad_rnn.symbols import Symbol, reading, symbol, symbolic

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
    """For each state before the step, the terms of its cotangent: the seed of the step before (plus ∂y for h)."""
    products: tuple[tuple[Symbol, Symbol], ...]
    """Every product of the forward program, with the cotangent it receives."""
    sums: tuple[Leaf, ...]
    dx: tuple[Symbol, ...]
    """Terms of the input's cotangent, apart from those that come through products with x itself."""
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
                    text = str(_renamed(v, {k: n for k, n in names.items() if k is not v}))
                    names[v] = symbol(f"{prefix}{len(names)}")
                    lines.append(f"  {names[v]} = {text}")

        show(self.forward, "v")
        show(self.backward, "g")
        lines.insert(sum(v.op in POINTWISE for v in self.forward), "backward")
        kept = ", ".join(str(names.get(s, s)) for s in self.saved) or "nothing but the states"
        return "\n".join(["forward", *lines, f"saved: {kept}"])


# -- reading -------------------------------------------------------------------------------------------


def read(
    step: Step,
    x_width: int,
    states: Mapping[str, int],
    weights: Mapping[str, tuple[int, ...] | None],
    constants: Mapping[str, int] | None = None,
) -> Program:
    """The program of a step, for an input of that many features, states and weights of those shapes.

    `constants` are further names that the step finds among its weights: row values that are the same at all
    steps and get no gradient (a dropout mask), with their widths. Raises NotCompilable.
    """
    before = tuple(symbol(f"{name}₋") for name in states)
    fixed = {symbol(name): width for name, width in (constants or {}).items()}
    shapes = {symbol(name): shape for name, shape in weights.items() if shape is not None}
    form = _Form({X: x_width, **dict(zip(before, states.values(), strict=True)), **fixed}, shapes)
    names = {name: None if shape is None else symbol(name) for name, shape in weights.items()}
    names |= {name: symbol(name) for name in constants or {}}
    after = _run(step, before, SimpleNamespace(**names), form)
    after = tuple(form(a) for a in after)
    for name, a, width in zip(states, after, states.values(), strict=True):
        if a in form.vectors or form.width.get(a) != width:
            raise NotCompilable(f"expected a state {name} of {width} features, got {a}")
    return _Differentiator(form, before, after, tuple(fixed)).program()


def _run(step: Step, before: tuple[Symbol, ...], weights: Any, form: _Form) -> tuple[Symbol, ...]:
    """The step's result on symbols, which have shapes while it runs; how many rows there are nobody knows."""
    reading.shape_of = form.shape
    try:
        after = step(X, before if len(before) > 1 else before[0], weights)
    except Exception as error:  # whatever a user's step does that symbols cannot
        raise NotCompilable(f"the step cannot be read on symbols: {error}") from error
    finally:
        reading.shape_of = None
    after = after if isinstance(after, tuple) else (after,)
    if len(after) != len(before) or not all(isinstance(a, Symbol) for a in after):
        raise NotCompilable(f"expected the step to return {len(before)} states, got {after}")
    return after


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

    def shape(self, value: Symbol) -> tuple[Any, ...]:
        """A weight's shape; of a row value ("N", width), of a vector (width,)."""
        value = self(value)
        if value in self.weights:
            return self.weights[value]
        if value.op == "concatenate":
            return ("N", sum(self.width[a] for a in value.args))
        if value not in self.width:
            raise NotCompilable(f"{value} has no known shape")
        return (self.width[value],) if value in self.vectors else ("N", self.width[value])

    def _formed(self, value: Symbol, args: list[Any]) -> Symbol:
        op = value.op
        if op == "name":
            return value
        if op == "linear":
            a, weight, bias = args
            made = self.product(a, weight, True)
            return made if bias is None else self._pointwise("add", [made, bias], {})
        if op == "matmul":
            return self.product(args[0], args[1], False)
        if op in ("matrix_transpose", "permute_dims") and args[0] in self.weights or op == "split":
            return Symbol(op, tuple(args), value.params)
        if op == "concatenate" and value.params["axis"] in (1, -1):
            return Symbol(op, tuple(args), value.params)
        if op == "part":
            return self._part(args[0], value.params["index"])
        if op in POINTWISE:
            return self._pointwise(op, args, value.params)
        raise NotCompilable(f"{op} is neither a product with a weight nor computed entry by entry")

    def product(self, a: Any, weight: Any, transposed: bool) -> Symbol:
        """a @ weight, or a @ weightᵀ; of values side by side, the sum of each one's product with its block."""
        if isinstance(weight, Symbol) and weight.op in ("matrix_transpose", "permute_dims"):
            weight, transposed = weight.args[0], not transposed
        shape = self.weight_shape(weight)
        if isinstance(a, Symbol) and a.op == "concatenate" and len(shape) == 2:
            terms, start = [], 0
            for part in a.args:
                stop = start + self.width.get(part, 0)
                rows, columns = ((0, shape[0]), (start, stop)) if transposed else ((start, stop), (0, shape[1]))
                terms.append(self.product(part, self.block(weight, rows, columns), transposed))
                start = stop
            return self.total(terms)
        if a not in self.width or a in self.vectors or len(shape) != 2:
            raise NotCompilable(f"expected the product of a row value and a weight matrix, got {a} and {weight}")
        out, inner = shape if transposed else shape[::-1]
        if self.width[a] != inner:
            raise NotCompilable(f"expected {inner} features for the product with {weight}, got {self.width[a]}")
        return self._known(Symbol("product", (a, weight), {"transposed": transposed}), out)

    def weight_shape(self, weight: Any) -> tuple[int, ...]:
        """The shape of a weight or of a block of one; () where it is neither."""
        if isinstance(weight, Symbol) and weight.op == "block":
            (top, bottom), (left, right) = weight.params["rows"], weight.params["columns"]
            return (bottom - top, right - left)
        return self.weights.get(weight, ())

    def block(self, weight: Symbol, rows: tuple[int, int], columns: tuple[int, int]) -> Symbol:
        """Some rows and columns of a weight matrix."""
        if weight.op == "block":
            (top, _), (left, _) = weight.params["rows"], weight.params["columns"]
            rows, columns = (top + rows[0], top + rows[1]), (left + columns[0], left + columns[1])
            weight = weight.args[0]
        made = Symbol("block", (weight,), {"rows": rows, "columns": columns})
        self._done[made] = made
        return made

    def _part(self, split: Symbol, index: int) -> Symbol:
        of, sections = split.args[0], split.params["indices_or_sections"]
        axis, shape = split.params["axis"], self.weight_shape(of)
        rank = len(shape) or 2
        axis += rank * (axis < 0)
        whole = shape[axis] if shape else self.width.get(of, 0)
        if not whole or whole % sections or (not shape and axis != 1):
            raise NotCompilable(f"expected features that divide into {sections} parts, got {split}")
        ends = (index * whole // sections, (index + 1) * whole // sections)
        if len(shape) < 2:
            return self.piece(of, *ends)
        return self.block(of, *((ends, (0, shape[1])) if axis == 0 else ((0, shape[0]), ends)))

    def piece(self, of: Symbol, start: int, stop: int) -> Symbol:
        """Features start:stop of a value; a piece of a piece is a piece of the whole."""
        if of.op == "part":
            return self.piece(of.args[0], of.params["start"] + start, of.params["start"] + stop)
        made = Symbol("part", (of,), {"start": start, "stop": stop})
        if of in self.vectors:
            self.vectors.add(made)
        return self._known(made, stop - start)

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
        if all(a in self.vectors for a in args):
            self.vectors.add(value)
        return self._known(value, widths.pop())

    def _known(self, value: Symbol, width: Any) -> Symbol:
        self.width[value] = width
        self._done[value] = value
        return value

    def joined(self, pieces: Mapping[tuple[int, int], Symbol], width: int) -> Symbol:
        """Values side by side, zeros where there is none."""
        ends, args, reached = [], [], 0
        for start, stop in sorted(pieces):
            if start < reached:
                raise NotCompilable("expected the parts of a value not to overlap")
            if start > reached:
                ends.append((reached, start))
                args.append(0.0)
            ends.append((start, stop))
            args.append(pieces[start, stop])
            reached = stop
        if reached < width:
            ends.append((reached, width))
            args.append(0.0)
        return self._known(Symbol("join", tuple(args), {"ends": tuple(ends)}), width)

    def total(self, terms: Sequence[Symbol]) -> Symbol:
        """The sum of row values."""
        found = terms[0]
        for term in terms[1:]:
            found = self.measured(Symbol("add", (found, term)))
        return found


# -- differentiating -----------------------------------------------------------------------------------


class _Differentiator:
    """Runs the rules of the forward program's operations on symbols, from the last to the first."""

    def __init__(
        self, form: _Form, before: tuple[Symbol, ...], after: tuple[Symbol, ...], constants: tuple[Symbol, ...]
    ) -> None:
        self.form, self.before, self.after, self.constants = form, before, after, constants
        self.order = [v for v in _ordered(after) if v in form.width]
        self.received: dict[Symbol, list[Symbol]] = defaultdict(list)
        self.pieces: dict[Symbol, dict[tuple[int, int], Symbol]] = defaultdict(dict)
        self.products: list[tuple[Symbol, Symbol]] = []
        self.sums: list[Leaf] = []

    def program(self) -> Program:
        """Differentiate, and find what must be saved."""
        form = self.form
        seeds = tuple(symbol(f"∂{str(s).rstrip('₋')}") for s in self.before)
        for seed, value in zip(seeds, self.after, strict=True):
            form.width[seed] = form.width[value]
            self._send(value, seed)
        for value in reversed(self.order):
            if value in (X, *self.before, *self.constants):
                continue
            terms = self._terms(value)
            if terms:
                self._through(value, form.total(terms))
        carries = tuple(self._carried(s) for s in self.before)
        dx = tuple(self._terms(X))
        forward = tuple(v for v in self.order if v.op != "name" and v not in form.vectors)
        roots = [*(g for _, g in self.products), *(leaf.cotangent for leaf in self.sums), *dx, *sum(carries, ())]
        reads, computed = self._split(roots, set(forward))
        saved, again = self._saved(reads, forward)
        kept = tuple(
            k == 0 or b in reads or a in reads or any(b in p.args for p, _ in self.products)
            for k, (b, a) in enumerate(zip(self.before, self.after, strict=True))
        )
        return Program(
            self.before, self.after, self.constants, seeds, forward, (*again, *computed), carries,
            tuple(self.products), tuple(self.sums), dx, saved, kept, form.width, frozenset(form.vectors),
        )  # fmt: skip

    def _through(self, value: Symbol, g: Symbol) -> None:
        """Send the cotangent of a value on to what the value was made of."""
        form = self.form
        if value.op == "product":
            self.products.append((value, g))
            if value.args[0] is not X:
                self._send(value.args[0], form.product(g, value.args[1], not value.params["transposed"]))
        elif value in form.vectors and (value.op == "name" or (value.op == "part" and value.args[0] in form.weights)):
            weight = value if value.op == "name" else value.args[0]
            start = value.params.get("start", 0)
            self.sums.append(Leaf(weight.args[0], start, start + form.width[value], g))
        elif value.op == "part":
            self.pieces[value.args[0]][value.params["start"], value.params["stop"]] = g
        else:
            self._pull(value, g)

    def _pull(self, value: Symbol, g: Symbol) -> None:
        """Run the operation's own rules."""
        rules: Primitive = getattr(elementwise, value.op).primitive
        known = {p.name: p.default for p in rules.params} | value.params
        known |= {"g": g, "y": value, "xp": symbolic, **{p.name: a for p, a in zip(rules.inputs, value.args, strict=False)}}
        for p, arg in zip(rules.inputs, value.args, strict=False):
            rule = rules.rules.get(p.name)
            if rule is None or not isinstance(arg, Symbol):
                continue
            asked = inspect.signature(rule).parameters
            if not asked.keys() <= known.keys():
                raise NotCompilable(f"the rule of {value.op} looks at {sorted(asked.keys() - known.keys())}")
            d = rule(**{name: known[name] for name in asked})
            if d.op != "zeros_like":
                self._send(arg, self.form(d))

    def _send(self, value: Symbol, g: Symbol) -> None:
        self.received[value].append(g)

    def _terms(self, value: Symbol) -> list[Symbol]:
        """What a value receives; joined, where it is used in pieces."""
        terms = list(self.received[value])
        if value in self.pieces:
            terms.append(self.form.joined(self.pieces[value], self.form.width[value]))
        return terms

    def _carried(self, state: Symbol) -> tuple[Symbol, ...]:
        """What a state receives: the products one by one, all else in one sum."""
        terms = self._terms(state)
        late = [g for g in terms if g.op == "product"]
        early = [g for g in terms if g.op != "product"]
        return (*([self.form.total(early)] if early else []), *late)

    def _split(self, roots: Iterable[Symbol], forward: set[Symbol]) -> tuple[set[Symbol], list[Symbol]]:
        """What the backward expressions read of forward values, and what they compute, in order."""
        available = forward | {X, *self.before, *self.constants, *self.form.vectors}
        reads: set[Symbol] = set()
        done: dict[Symbol, None] = {}
        stack = [(v, False) for v in reversed(list(roots))]
        while stack:
            value, ready = stack.pop()
            if value in available:
                reads.add(value)
            elif ready:
                done[value] = None
            elif value not in done and value.op != "name":
                stack.append((value, True))
                stack.extend((a, False) for a in reversed(value.args) if isinstance(a, Symbol) and a in self.form.width)
        return reads, list(done)

    def _saved(self, reads: set[Symbol], forward: Sequence[Symbol]) -> tuple[tuple[Symbol, ...], list[Symbol]]:
        """What to keep of the values that are read; the cheap ones are computed again instead."""
        free = {X, *self.before, *self.after, *self.constants, *self.form.vectors}
        factors = {p.args[0] for p, _ in self.products}
        saved: list[Symbol] = []
        again: list[Symbol] = []
        for value in forward:
            if value in free or (value not in reads and value not in factors):
                continue
            if value.op == "part" and value.args[0] in free:
                again.append(value)
            elif value.op in CHEAP and value not in factors and all(a in free for a in value.args if isinstance(a, Symbol)):
                again.append(value)
            else:
                saved.append(value)
            free.add(value)
        return tuple(saved), again
