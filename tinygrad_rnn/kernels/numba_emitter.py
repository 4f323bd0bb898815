"""A schedule as one compiled loop over time, made by Numba (extra "fast").

Each assignment becomes one simple loop over a row that stays in the first cache: that is what compilers
vectorise (one long loop over a dozen arrays they do not). tanh is a quotient of two polynomials in float32,
within 3e-7 of the true one, and sigmoid is ½tanh(½x) + ½. Sizes are arguments, so one compilation serves all;
`native` keeps its machine code.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_rnn.kernels.buffers import Homes, Step, reads, whole
from tinygrad_rnn.kernels.products import MULTIPLY
from tinygrad_rnn.kernels.schedule import Assign, Place, Product, Schedule
from tinygrad_rnn.symbols import Symbol

TEXTS = {
    "copy": "{0}", "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}",
    "divide": "{0} / {1}", "negative": "-{0}", "square": "{0} * {0}", "power": "{0} ** {1}",
    "abs": "abs({0})", "sqrt": "math.sqrt({0})", "exp": "math.exp({0})", "expm1": "math.expm1({0})",
    "log": "math.log({0})", "log1p": "math.log1p({0})", "sin": "math.sin({0})", "cos": "math.cos({0})",
    "tanh": "tanh({0})", "sigmoid": "half * tanh(half * ({0})) + half", "erf": "math.erf({0})",
    "maximum": "max({0}, {1})", "minimum": "min({0}, {1})", "where": "{1} if {0} != 0 else {2}",
    "equal": "one if {0} == {1} else zero", "not_equal": "one if {0} != {1} else zero",
    "less": "one if {0} < {1} else zero", "less_equal": "one if {0} <= {1} else zero",
    "greater": "one if {0} > {1} else zero", "greater_equal": "one if {0} >= {1} else zero",
}  # fmt: skip
ATOMS = frozenset(TEXTS) - {"copy"}
SIMPLE = frozenset(["add", "subtract", "multiply", "negative", "square"])
"""Operations that may be written inside another one's expression."""
_STEPS = {"t": "t", "before": "t + before", "after": "t + after", "old": "old", "new": "new"}
"""How a place's time picks a step of its array."""
_NUMBERS = ("T", "backwards", "before", "rows", "first", "last")
"""What a loop is told first; then come the sizes."""
_ARRAYS = 4
"""At most so many arrays are read in one loop."""

_PRELUDE = """\
import math
import numba
import numpy as np
from numba import types

number = np.{dtype}
one, zero, half = number(1), number(0), number(0.5)
fast = {{"nsz", "arcp", "contract", "afn", "reassoc"}}  # but NaN stays NaN
quick = {{"fastmath": fast, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}}
integer, integers = types.int64, types.CPointer(types.int64)
array = types.CPointer(types.{dtype})
arrays = types.CPointer(array)
multiply = types.ExternalFunction("{multiply}", types.void(
    integer, integer, integer, integer, array, integer, integer, integer,
    array, array, integer, integer, integer))

{tanh}

"""
_TANH = {
    "float32": '''\
@numba.njit(**quick)
def tanh(x):
    """Degree 13 over 6 in x, minimax on ±7.9 and clamped there (the form that Eigen uses)."""
    x = -number(7.905311) if x < -number(7.905311) else number(7.905311) if x > number(7.905311) else x
    s = x * x
    p = number(2.00018790482477e-13) - s * number(2.76076847742355e-16)
    p = number(5.12229709037114e-08) + s * (number(-8.60467152213735e-11) + s * p)
    p = number(6.37261928875436e-04) + s * (number(1.48572235717979e-05) + s * p)
    p = x * (number(4.89352455891786e-03) + s * p)
    q = number(1.18534705686654e-04) + s * number(1.19825839466702e-06)
    q = number(4.89352518554385e-03) + s * (number(2.26843463243900e-03) + s * q)
    return p / q
''',
    "float64": """\
@numba.njit(**quick)
def tanh(x):
    return math.tanh(x)
""",
}


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
    """Write a schedule down."""
    return _Writer(schedule).loop(np.dtype(dtype).name)


class _Writer:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.stages = _inlined(schedule)
        crossing = self._crossing(self.stages)
        kind = lambda step: "rows" if isinstance(step, Product) or step.target in crossing else "row"
        self.homes = Homes(schedule, [s for stage in self.stages for s in stage], kind, whole_rows=False)
        self.sizes: list[int] = []
        self.starts: dict[str, str] = {}

    def loop(self, dtype: str) -> Loop:
        body: list[str] = []
        for stage in self.stages:
            body += [self._product(s) for s in stage if isinstance(s, Product)]
            self.starts.clear()
            rows = [line for s in stage if isinstance(s, Assign) for line in self._row(s)]
            if rows:
                starts = [f"{name} = {text}" for text, name in self.starts.items()]
                body += ["for n in range(first, N):", *(f"    {line}" for line in (*starts, *rows))]
        arrays = self.homes.arrays()
        lines = [
            "@numba.njit(types.void(integers, integers, arrays), **quick)",
            "def loop(numbers, counts, arrays):",
            *(f"    {name} = numbers[{i}]" for i, name in enumerate(_NUMBERS)),
            *(f"    size{i} = numbers[{len(_NUMBERS) + i}]" for i in range(len(self.sizes))),
            *(f"    {name} = arrays[{i}]" for i, name in enumerate(arrays)),
            "    after = 1 - before",
            "    for s in range(T):",
            "        t = T - 1 - s if backwards else s",
            "        old = s & 1",
            "        new = 1 - old",
            "        N = max(first, min(last, counts[t]))",
            *(f"        {line}" for line in body),
        ]
        prelude = _PRELUDE.format(dtype=dtype, tanh=_TANH[dtype], multiply=MULTIPLY.format(dtype))
        return Loop(prelude + "\n".join([*lines, ""]), arrays, self.homes.buffers, self.sizes)

    @staticmethod
    def _crossing(stages: list[list[Step]]) -> set[Any]:
        """The temporaries that a later stage, or a product, reads: these need a row for each sequence."""
        made = {step.target: i for i, stage in enumerate(stages) for step in stage}
        return {
            whole(a)
            for i, stage in enumerate(stages)
            for step in stage
            for a in reads(step)
            if isinstance(step, Product) or made.get(whole(a), i) != i
        }

    def _product(self, step: Product) -> str:
        a, out = self._rows(step.a), self._rows(step.target)
        depth, width = self._size(self._width(step.a)), self._size(self._width(step.target))
        return f"multiply({depth}, {width}, 1, N - first, {a}, {step.array}, {out})"

    def _rows(self, value: Any) -> str:
        """The rows of a value, as `multiply` takes them: array, entry to begin with, no other step, width."""
        place = self._place(value)
        start = f"{self._start(place, 'first')} + {self._size(place.start)}"
        return f"{place.array}, {start}, 0, {self._size(self.homes.shape(place)[1])}"

    def _start(self, place: Place, row: str) -> str:
        """Where a row of an array begins."""
        step = f"({_STEPS[place.time]}) * rows + " if place.time else ""
        return f"({step}{row}) * {self._size(self.homes.shape(place)[1])}"

    def _row(self, step: Assign) -> list[str]:
        target = self._entry(step.target)
        expression = self._expression(step)
        if target == expression:
            return []
        width = self._width(step.target)
        return [f"for j in range({self._size(width)}):", f"    {target} = {expression}"]

    def _expression(self, step: Assign) -> str:
        args = [f"({self._expression(a)})" if isinstance(a, Assign) else self._entry(a) for a in step.args]
        return TEXTS[step.op].format(*args)

    def _entry(self, value: Any) -> str:
        """Entry j of row n of a value; or a number."""
        if not isinstance(value, Symbol | Place):
            return f"number({float(value)!r})"
        place = self._place(value)
        kind, width = self.homes.shape(place)
        terms = ["j"]
        if place.start:
            terms.insert(0, self._size(place.start))
        if kind != "vector":
            row = "first" if kind == "row" else "n"  # a thread has one for itself
            name = f"{place.time or row}_{self._size(width)}"
            terms.insert(0, self.starts.setdefault(self._start(place, row), name))
        return f"{place.array}[{' + '.join(terms)}]"

    def _place(self, value: Any) -> Place:
        place = self.homes.place(value)
        assert place is not None, value
        return place

    def _width(self, value: Any) -> int:
        place = self._place(value)
        return self.homes.shape(place)[1] if place.stop is None else place.stop - place.start

    def _size(self, value: int) -> str:
        """The name of a number that depends on the layer's sizes."""
        if value == 0:
            return "0"
        if value not in self.sizes:
            self.sizes.append(value)
        return f"size{self.sizes.index(value)}"


def _inlined(schedule: Schedule) -> list[list[Step]]:
    """The stages, in which simple temporaries that are read once are written where they are read."""
    uses: Counter[Any] = Counter(whole(a) for s in schedule.steps() for a in reads(s))
    writes: Counter[Any] = Counter(s.target for s in schedule.steps())

    def movable(step: Assign, among: list[Assign]) -> bool:
        fixed = [a for a in reads(step) if (schedule.place(a) or Place("")).array.startswith("carry")]
        once = uses[step.target] == writes[step.target] == 1 and any(step.target in reads(s) for s in among)
        return once and step.op in SIMPLE and schedule.place(step.target) is None and not fixed

    found: list[list[Step]] = []
    for stage in schedule.stages:
        waiting: dict[Any, Assign] = {}
        kept: list[Step] = list(stage.products)
        for step in stage.assignments:
            merged = Assign(step.target, step.op, tuple(waiting.get(a, a) for a in step.args))
            if len(set(_arrays(merged))) > _ARRAYS:
                kept += [waiting[a] for a in step.args if a in waiting]
                merged = step
            if movable(step, stage.assignments):
                waiting[step.target] = merged
            else:
                kept.append(merged)
        found.append(kept)
    return found


def _arrays(step: Assign) -> list[Any]:
    return [a for part in step.args for a in (_arrays(part) if isinstance(part, Assign) else [part])
            if isinstance(a, Symbol | Place)]  # fmt: skip
