"""A step, run on symbols and differentiated: its `Program`.

The step's own lines give the forward expressions. Each operation's own rules, run on symbols from the last
operation to the first, give the backward ones; only products are known here, since their weights' gradients
are left until after the loop.

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
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from tinygrad_rnn.kernels.form import Form
from tinygrad_rnn.kernels.program import CHEAP, Leaf, NotCompilable, Program, Step, X, ordered
from tinygrad_rnn.ops import elementwise
from tinygrad_rnn.primitive import Primitive
from tinygrad_rnn.symbols import Symbol, reading, symbol, symbolic


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
    form = Form({X: x_width, **dict(zip(before, states.values(), strict=True)), **fixed}, shapes)
    names = {name: None if shape is None else symbol(name) for name, shape in weights.items()}
    names |= {name: symbol(name) for name in constants or {}}
    after = _run(step, before, SimpleNamespace(**names), form)
    after = tuple(form(a) for a in after)
    for name, a, width in zip(states, after, states.values(), strict=True):
        if a in form.vectors or form.width.get(a) != width:
            raise NotCompilable(f"expected a state {name} of {width} features, got {a}")
    return _Differentiator(form, before, after, tuple(fixed)).program()


def _run(step: Step, before: tuple[Symbol, ...], weights: Any, form: Form) -> tuple[Symbol, ...]:
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


class _Differentiator:
    """Runs the rules of the forward program's operations on symbols, from the last to the first."""

    def __init__(
        self,
        form: Form,
        before: tuple[Symbol, ...],
        after: tuple[Symbol, ...],
        constants: tuple[Symbol, ...],
    ) -> None:
        self.form, self.before, self.after, self.constants = form, before, after, constants
        self.order = [v for v in ordered(after) if v in form.width]
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
        terms = self._terms(X)
        dx = form.total(terms) if terms else None
        forward = tuple(v for v in self.order if v.op != "name" and v not in form.vectors)
        roots = [
            *(g for _, g in self.products),
            *(leaf.cotangent for leaf in self.sums),
            *([] if dx is None else [dx]),
            *sum(carries, ()),
        ]
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
        elif value in form.vectors and (
            value.op == "name" or (value.op == "part" and value.args[0] in form.weights)
        ):
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
        known |= {
            "g": g,
            "y": value,
            "xp": symbolic,
            **{p.name: a for p, a in zip(rules.inputs, value.args, strict=False)},
        }
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
                stack.extend(
                    (a, False) for a in reversed(value.args) if isinstance(a, Symbol) and a in self.form.width
                )
        return reads, list(done)

    def _saved(
        self, reads: set[Symbol], forward: Sequence[Symbol]
    ) -> tuple[tuple[Symbol, ...], list[Symbol]]:
        """What to keep of the values that are read; the cheap ones are computed again instead."""
        free = {X, *self.before, *self.after, *self.constants, *self.form.vectors}
        factors = {p.args[0] for p, _ in self.products}
        saved: list[Symbol] = []
        again: list[Symbol] = []
        for value in forward:
            if value in free or (value not in reads and value not in factors):
                continue
            if (value.op == "part" and value.args[0] in free) or (
                value.op in CHEAP
                and value not in factors
                and all(a in free for a in value.args if isinstance(a, Symbol))
            ):
                again.append(value)
            else:
                saved.append(value)
            free.add(value)
        return tuple(saved), again
