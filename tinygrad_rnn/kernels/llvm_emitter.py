"""A schedule as one compiled loop over time, in LLVM's own language (llvmlite, extra "fast").

Between two products a row is gone through once, as many features at a time as fill a line of the cache, and
everything that belongs to them is computed in registers (at a row's end a quarter of that at a time, then one
by one). tanh is a quotient of two polynomials in float32, within 3e-7 of the true one, and sigmoid is
½tanh(½x) + ½. Sizes are arguments, so one compilation serves all; `native` compiles it and keeps its machine
code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import llvmlite.ir as ir
import numpy as np

from tinygrad_rnn.kernels.fusion import Fusion, Registers
from tinygrad_rnn.kernels.products import INT, LINE, MULTIPLY, REALS, counted, kinds
from tinygrad_rnn.kernels.schedule import Assign, Place, Product, Schedule

_OPERATORS = {"add": "fadd", "subtract": "fsub", "multiply": "fmul", "divide": "fdiv"}
_COMPARED = {"equal": "==", "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">="}
_INTRINSICS = {"abs": "fabs", "sqrt": "sqrt"}
_ALIKE = ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf")
MATHS = {**dict(zip(_ALIKE, _ALIKE, strict=True)), "power": "pow"}
"""What the C library computes, one number at a time (tanh in float64), and its name there."""
ATOMS = frozenset(
    ["negative", "square", "sigmoid", "maximum", "minimum", "not_equal", "where",
     *_OPERATORS, *_COMPARED, *_INTRINSICS, *MATHS]
)  # fmt: skip
_JOINED = ("contract",)
"""A product and a sum may become one instruction."""
_CLAMP = 7.905311
_NUMERATOR = (
    -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
    1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03,
)  # fmt: skip
_DENOMINATOR = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
"""tanh(x) = x · n(x²) / d(x²), minimax on ±7.9 and clamped there (the form that Eigen uses)."""
_NUMBERS = ("T", "backwards", "before", "rows", "first", "last")
"""What a loop is told first; then come the sizes."""


@dataclass
class Loop:
    """A loop over time: its text, the arrays it takes, its buffers, and the sizes it is to be told.

    `loop(numbers, counts, arrays)` takes addresses: of integers (steps to run, whether backwards, which
    neighbour of a step comes before it, rows of the arrays, from which to which row to go, sizes), of how
    many rows take part in each step, and of the arrays' addresses.
    """

    source: str
    arrays: list[str]
    buffers: dict[str, tuple[str, int]]
    sizes: list[int]


def emit(schedule: Schedule, dtype: Any) -> Loop:
    """Write a schedule down; NotCompilable where parts of rows do not line up."""
    return _Writer(schedule, np.dtype(dtype)).loop()


class _Writer:
    def __init__(self, schedule: Schedule, dtype: Any) -> None:
        self.schedule, self.fusion = schedule, Fusion(schedule)
        self.dtype, self.real = dtype, REALS[dtype.name]
        self.module = ir.Module("loop")
        integers, arrays = INT.as_pointer(), self.real.as_pointer().as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [integers, integers, arrays])
        self.function = ir.Function(self.module, kind, "loop")
        self.start = self.function.append_basic_block()
        self.b = ir.IRBuilder(self.start)
        self.arrays: dict[str, Any] = {}
        self.sizes: list[int] = []
        self._sizes: dict[int, Any] = {0: INT(0)}

    def loop(self) -> Loop:
        b, (numbers, counts, _) = self.b, self.function.args
        told = [b.load(b.gep(numbers, [INT(i)])) for i in range(len(_NUMBERS))]
        steps, backwards, before, self.rows, self.first, last = told
        with counted(b, INT(0), steps) as (s, _):
            t = b.select(b.icmp_signed("!=", backwards, INT(0)), b.sub(b.sub(steps, s), INT(1)), s)
            old = b.and_(s, INT(1))
            self.times = {
                "t": t, "before": b.add(t, before), "after": b.sub(b.add(t, INT(1)), before),
                "old": old, "new": b.sub(INT(1), old), "": INT(0),
            }  # fmt: skip
            count = b.load(b.gep(counts, [t]))
            end = b.select(b.icmp_signed("<", count, last), count, last)
            with b.if_then(b.icmp_signed("<", self.first, end)):
                self._step(end)
        b.ret_void()
        buffers = {name: self.fusion.shape(name) for name in self.fusion.buffers}
        return Loop(str(self.module), list(self.arrays), buffers, self.sizes)

    def _step(self, end: Any) -> None:
        for i, stage in enumerate(self.schedule.stages):
            for product in stage.products:
                self._product(product, end)
            for run in (run for at, run in self.fusion.runs if at == i):
                with counted(self.b, self.first, end) as (n, _):
                    self._row(run, n)

    def _product(self, product: Product, end: Any) -> None:
        name = MULTIPLY.format(self.dtype.name)
        multiply = self.module.globals.get(name) or ir.Function(self.module, kinds(MULTIPLY, self.real), name)
        sizes = [self.size(self.fusion.width(v)) for v in (product.a, product.target)]
        (a, a_row), (out, out_row) = (self._rows(v) for v in (product.a, product.target))
        self.b.call(multiply, [
            *sizes, INT(1), self.b.sub(end, self.first), a, INT(0), INT(0), a_row,
            self.array(product.array), out, INT(0), INT(0), out_row,
        ])  # fmt: skip

    def _rows(self, value: Any) -> tuple[Any, Any]:
        """Where the first row of a value begins, and how far apart rows are."""
        place = self.fusion.place(value)
        assert place is not None, value
        return self.pointer(self.b, place, self.first), self.size(self.fusion.shape(place.array)[1])

    def _row(self, run: list[Assign], n: Any) -> None:
        row, shortest, lanes = _Row(self, n), self.fusion.shortest(run), LINE // self.dtype.itemsize
        start = INT(0)
        for many in (lanes, lanes // 4, 1):
            stop = self.b.and_(self.size(shortest), INT(-many))
            with counted(self.b, start, stop, many) as (j, _):
                _Lanes(row, shortest, j, many).run(run)
            start = stop

    def pointer(self, b: Any, place: Place, n: Any) -> Any:
        """Where row n of a place begins."""
        kind, width = self.fusion.shape(place.array)
        start = self.size(place.start)
        if kind != "vector":
            row = b.add(b.mul(self.times[place.time], self.rows), n) if place.time else n
            start = b.add(start, b.mul(row, self.size(width)))
        return b.gep(self.array(place.array), [start])

    def array(self, name: str) -> Any:
        """The address of an array."""
        if name not in self.arrays:
            self.arrays[name] = self._given(self.function.args[2], len(self.arrays))
        return self.arrays[name]

    def size(self, value: int) -> Any:
        """A number that depends on the layer's sizes."""
        if value not in self._sizes:
            self._sizes[value] = self._given(self.function.args[0], len(_NUMBERS) + len(self.sizes))
            self.sizes.append(value)
        return self._sizes[value]

    def _given(self, argument: Any, i: int) -> Any:
        b = _ending(self.start)
        return b.load(b.gep(argument, [INT(i)]))


def _ending(block: Any) -> Any:
    """A builder for what is to stand at the end of a block that has been left."""
    b = ir.IRBuilder(block)
    b.position_before(block.terminator)
    return b


def _entry(place: Place, offset: int) -> Place:
    """Where the entries of a place from `offset` on begin."""
    return place._replace(start=place.start + offset, stop=None)


class _Row:
    """Row n; where its values begin is found before the loops over it."""

    def __init__(self, writer: _Writer, n: Any) -> None:
        self.writer, self.n, self.block = writer, n, writer.b.block
        self.pointers: dict[Place, Any] = {}

    def pointer(self, place: Place) -> Any:
        """Where a place begins."""
        if place not in self.pointers:
            self.pointers[place] = self.writer.pointer(_ending(self.block), place, self.n)
        return self.pointers[place]


class _Lanes(Registers[Any]):
    """Entries j, j + 1, …, as many as there are lanes, of one row."""

    def __init__(self, row: _Row, width: int, j: Any, lanes: int) -> None:
        super().__init__(row.writer.fusion, width)
        self.row, self.writer, self.b, self.j, self.lanes = row, row.writer, row.writer.b, j, lanes
        self.kind = ir.VectorType(self.writer.real, lanes)
        self.memory: dict[Place, Any] = {}

    def number(self, value: float) -> Any:
        """A number."""
        return ir.Constant(self.kind, [value] * self.lanes)

    def load(self, place: Place, offset: int) -> Any:
        """Entry `offset` + j of a place."""
        at = _entry(place, offset)
        if at not in self.memory:
            self.memory[at] = self.b.load(self._address(at), align=self.writer.dtype.itemsize)
        return self.memory[at]

    def kept(self, value: Any, place: Place | None, offset: int) -> Any:
        """A value in a register, and in memory where it has a place."""
        if place is not None:
            at = _entry(place, offset)
            self.b.store(value, self._address(at), align=self.writer.dtype.itemsize)
            self.memory[at] = value
        return value

    def _address(self, at: Place) -> Any:
        return self.b.bitcast(self.b.gep(self.row.pointer(at), [self.j]), self.kind.as_pointer())

    def computed(self, op: str, args: list[Any]) -> Any:
        """op(args)"""
        b = self.b
        if op in _OPERATORS:
            return getattr(b, _OPERATORS[op])(*args, flags=_JOINED)
        if op in _COMPARED:
            return self._truth(b.fcmp_ordered(_COMPARED[op], *args))
        if op in _INTRINSICS:
            name = f"llvm.{_INTRINSICS[op]}.v{self.lanes}{self.writer.real.intrinsic_name}"
            return b.call(self._function(name, self.kind, len(args)), args)
        if op in MATHS and (op != "tanh" or self.writer.dtype != np.float32):
            return self._one_by_one(MATHS[op], args)
        return getattr(self, f"_{op}")(*args)

    def _function(self, name: str, kind: Any, many: int) -> Any:
        module = self.writer.module
        return module.globals.get(name) or ir.Function(module, ir.FunctionType(kind, [kind] * many), name)

    def _one_by_one(self, name: str, args: list[Any]) -> Any:
        """A function of the C library."""
        b, single = self.b, self.writer.dtype == np.float32
        function = self._function(name + "f" * single, self.writer.real, len(args))
        found = ir.Constant(self.kind, ir.Undefined)
        for lane in map(ir.IntType(32), range(self.lanes)):
            value = b.call(function, [b.extract_element(a, lane) for a in args])
            found = b.insert_element(found, value, lane)
        return found

    def _truth(self, condition: Any) -> Any:
        return self.b.select(condition, self.number(1), self.number(0))

    def _copy(self, x: Any) -> Any:
        return x

    def _negative(self, x: Any) -> Any:
        return self.b.fneg(x)

    def _square(self, x: Any) -> Any:
        return self.b.fmul(x, x, flags=_JOINED)

    def _maximum(self, x: Any, y: Any) -> Any:
        return self._unless_nan(y, self.b.select(self.b.fcmp_unordered(">", x, y), x, y))

    def _minimum(self, x: Any, y: Any) -> Any:
        return self._unless_nan(y, self.b.select(self.b.fcmp_unordered("<", x, y), x, y))

    def _unless_nan(self, y: Any, found: Any) -> Any:
        return self.b.select(self.b.fcmp_unordered("uno", y, y), y, found)

    def _not_equal(self, x: Any, y: Any) -> Any:
        return self._truth(self.b.fcmp_unordered("!=", x, y))

    def _where(self, condition: Any, x: Any, y: Any) -> Any:
        return self.b.select(self.b.fcmp_unordered("!=", condition, self.number(0)), x, y)

    def _sigmoid(self, x: Any) -> Any:
        half = self.number(0.5)
        turned = self.computed("tanh", [self.b.fmul(half, x, flags=_JOINED)])
        return self.b.fadd(self.b.fmul(half, turned, flags=_JOINED), half, flags=_JOINED)

    def _tanh(self, x: Any) -> Any:
        b, most, least = self.b, self.number(_CLAMP), self.number(-_CLAMP)
        x = b.select(b.fcmp_ordered("<", x, least), least, x)
        x = b.select(b.fcmp_ordered(">", x, most), most, x)
        s = self._square(x)
        numerator, denominator = (self._polynomial(s, c) for c in (_NUMERATOR, _DENOMINATOR))
        return b.fdiv(b.fmul(x, numerator, flags=_JOINED), denominator, flags=_JOINED)

    def _polynomial(self, x: Any, coefficients: tuple[float, ...]) -> Any:
        """By Horner's rule, the highest power first."""
        total = self.number(coefficients[0])
        for c in coefficients[1:]:
            total = self.b.fadd(self.b.fmul(total, x, flags=_JOINED), self.number(c), flags=_JOINED)
        return total
