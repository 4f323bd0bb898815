"""The one form of expressions: products of a row value with a weight, and operations entry by entry.

What a step writes in other ways is brought to it: `linear` is a product and a sum, a product of joined values
is a sum of products with blocks of the weight, all biases of a sum are one, a piece of a piece is a piece of
the whole. On the way every value's width is found.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_rnn.kernels.program import POINTWISE, NotCompilable, ordered
from tinygrad_rnn.ops import elementwise
from tinygrad_rnn.symbols import Symbol


class Form:
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
        for v in ordered([value]):
            if v not in self._done:
                self._done[v] = self._formed(
                    v, [self._done.get(a, a) if isinstance(a, Symbol) else a for a in v.args]
                )
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
        if (op in ("matrix_transpose", "permute_dims") and args[0] in self.weights) or op == "split":
            return Symbol(op, tuple(args), value.params)
        if op == "concatenate" and value.params["axis"] in (1, -1):
            return Symbol(op, tuple(args), value.params)
        if op == "part":
            return self._part(args[0], value.params["index"])
        if op == "getitem":
            return self._slice(args[0], value.params["key"])
        if op in POINTWISE:
            return self._pointwise(op, args, value.params)
        raise NotCompilable(f"{op} is neither a product with a weight nor computed entry by entry")

    def product(self, a: Any, weight: Any, transposed: bool) -> Symbol:
        """a @ weight, or a @ weightᵀ; of values side by side, the sum of each one's with its block."""
        if isinstance(weight, Symbol) and weight.op in ("matrix_transpose", "permute_dims"):
            weight, transposed = weight.args[0], not transposed
        shape = self.weight_shape(weight)
        if isinstance(a, Symbol) and a.op == "concatenate" and len(shape) == 2:
            terms, start = [], 0
            for part in a.args:
                stop = start + self.width.get(part, 0)
                rows, columns = (
                    ((0, shape[0]), (start, stop)) if transposed else ((start, stop), (0, shape[1]))
                )
                terms.append(self.product(part, self.block(weight, rows, columns), transposed))
                start = stop
            return self.total(terms)
        if a not in self.width or a in self.vectors or len(shape) != 2:
            raise NotCompilable(
                f"expected the product of a row value and a weight matrix, got {a} and {weight}"
            )
        out, inner = shape if transposed else shape[::-1]
        if self.width[a] != inner:
            raise NotCompilable(
                f"expected {inner} features for the product with {weight}, got {self.width[a]}"
            )
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

    def _slice(self, of: Symbol, key: Any) -> Symbol:
        """z[:, a:b] or z[..., a:b]."""
        match key:
            case (slice(start=None, stop=None) | builtins.Ellipsis, slice(step=None) as features):
                start, stop, _ = features.indices(self.width.get(of, 0))
                if start < stop:
                    return self.piece(of, start, stop)
        raise NotCompilable(f"expected a slice of features, z[:, a:b], got {of}[{key}]")

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
        rows: list[Any] = []
        vectors: list[Any] = []
        for term in (a, b):
            split = (
                isinstance(term, Symbol)
                and term.op == "add"
                and term not in self.vectors
                and term.args[1] in self.vectors
            )
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
        if any(a.op == "join" for a in args):
            return self._piece_by_piece(value)
        widths = {self.width.get(a) for a in args}
        if (
            len(widths) != 1
            or None in widths
            or not all(isinstance(a, Symbol | int | float) or a is None for a in value.args)
        ):
            raise NotCompilable(
                f"expected values of one width in {value}, got {[self.width.get(a, a) for a in value.args]}"
            )
        if all(a in self.vectors for a in args):
            self.vectors.add(value)
        return self._known(value, widths.pop())

    def _piece_by_piece(self, value: Symbol) -> Symbol:
        """What is computed from joined values, joined."""
        joins = [a for a in value.args if isinstance(a, Symbol) and a.op == "join"]
        cuts = sorted({end for a in joins for ends in a.params["ends"] for end in ends})
        found: dict[tuple[int, int], Any] = {}
        for start, stop in pairwise(cuts):
            args = [self._between(a, start, stop) if isinstance(a, Symbol) else a for a in value.args]
            if any(isinstance(a, Symbol) for a in args):
                found[start, stop] = self.measured(Symbol(value.op, tuple(args), value.params))
            else:
                forward = getattr(elementwise, value.op).primitive.forward
                found[start, stop] = float(forward(np, *args, **value.params))
        return self.joined(found, cuts[-1])

    def _between(self, value: Symbol, start: int, stop: int) -> Any:
        """Features start:stop of a value, which in a joined one do not reach beyond a piece."""
        if value.op != "join":
            return self.piece(value, start, stop)
        ((piece, first, last),) = (
            (piece, *ends)
            for piece, ends in zip(value.args, value.params["ends"], strict=True)
            if ends[0] <= start < ends[1]
        )
        whole = (first, last) == (start, stop) or not isinstance(piece, Symbol)
        return piece if whole else self.piece(piece, start - first, stop - first)

    def _known(self, value: Symbol, width: Any) -> Symbol:
        self.width[value] = width
        self._done[value] = value
        return value

    def joined(self, pieces: Mapping[tuple[int, int], Any], width: int) -> Symbol:
        """Values side by side, zeros where there is none."""
        ends: list[tuple[int, int]] = []
        args: list[Any] = []
        reached = 0
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
