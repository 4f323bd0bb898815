"""A schedule's stages as CUDA kernels: what happens between two matrix products, one kernel each.

A thread takes one feature of one row and computes everything of the stage that belongs to it, in registers;
it reads and writes memory only where a value has a place. Where gates stand side by side in a wide row, it
takes the same feature of each. The text is for CuPy's RawModule (`emit(schedule, dtype).source`), which
launches `entry.name` over `rows * width` threads with `rows`, `width` and a pointer for each of
`entry.arguments` (`cuda_loops` does). float16 is how values are stored; they are computed, and summed over
the steps, in float32.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from tinygrad_rnn.kernels.buffers import reads, whole
from tinygrad_rnn.kernels.program import NotCompilable
from tinygrad_rnn.kernels.schedule import Assign, Place, Schedule
from tinygrad_rnn.symbols import Symbol

TEXTS = {
    "copy": "{0}",
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negative": "-{0}",
    "square": "{0} * {0}",
    "abs": "fabs({0})",
    "maximum": "largest({0}, {1})",
    "minimum": "least({0}, {1})",
    "power": "pow({0}, {1})",
    "where": "{0} != real(0) ? {1} : {2}",
    "equal": "real({0} == {1})",
    "not_equal": "real({0} != {1})",
    "less": "real({0} < {1})",
    "less_equal": "real({0} <= {1})",
    "greater": "real({0} > {1})",
    "greater_equal": "real({0} >= {1})",
} | {
    op: op + "({0})"
    for op in ("sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "sigmoid")
}
ATOMS = frozenset(TEXTS) - {"copy"}

_PRELUDE = """\
{include}typedef {storage} storage;
typedef {real} real;
__device__ inline real sigmoid(real x) {{ return real(0.5) * tanh(real(0.5) * x) + real(0.5); }}
__device__ inline real largest(real a, real b) {{ return a != a || a > b ? a : b; }}  // NaN stays NaN
__device__ inline real least(real a, real b) {{ return a != a || a < b ? a : b; }}
"""
_TYPES = {"float16": ("__half", "float"), "float32": ("float", "float"), "float64": ("double", "double")}
"""How values are stored, and how they are computed with."""
_KERNEL = """
extern "C" __global__ void {name}(int rows, int width{arguments})
{{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * width) return;
    int n = i / width, j = i % width;
{body}
}}
"""


@dataclass
class Entry:
    """One kernel: its name and stage, its row width, and its arguments: arrays, and which of their steps."""

    name: str
    stage: int
    width: int
    arguments: list[tuple[str, str]]


@dataclass
class Kernels:
    """The text of all kernels; `buffers` are arrays (N, width) that they need beyond the schedule's."""

    source: str
    entries: list[Entry]
    buffers: dict[str, int]
    between: dict[Symbol, Place]
    """The values that live in those buffers."""


def emit(schedule: Schedule, dtype: Any) -> Kernels:
    """Write a schedule's assignments down; NotCompilable where parts of rows do not line up."""
    writer = Writer(schedule)
    kernels = [writer.kernel(stage, run) for stage, run in writer.runs]
    source = prelude(dtype) + "".join(text for text, _ in kernels)
    return Kernels(source, [entry for _, entry in kernels], writer.buffers, writer.between)


def prelude(dtype: Any) -> str:
    """What every source begins with: how values are stored and computed with, and a few functions."""
    storage, real = _TYPES[str(dtype)]
    include = "#include <cuda_fp16.h>\n" if storage == "__half" else ""
    return _PRELUDE.format(include=include, storage=storage, real=real)


def is_sum(array: str) -> bool:
    """Whether an array is summed up over the steps, and so kept as precise as what is computed."""
    return array.startswith("sum")


def kind(array: str) -> str:
    """The type of an array's entries."""
    return "real" if is_sum(array) else "storage"


class Writer:
    """Which assignments go into one kernel, and which values need memory between two."""

    def __init__(self, schedule: Schedule, whole_stages: bool = False) -> None:
        """With `whole_stages` products run in a stage's kernel, too, and buffers are pairs, for two steps."""
        self.schedule = schedule
        self._number = itertools.count()
        self._time = "old" if whole_stages else ""
        self.buffers: dict[str, int] = {}
        self.between: dict[Symbol, Place] = {}
        """Temporaries that leave their kernel: these need memory."""
        self.runs = [
            (i, run)
            for i, stage in enumerate(schedule.stages)
            for run in self._runs(stage.assignments) or [[]] * whole_stages
        ]
        made: dict[Any, int] = {s.target: i for i, (_, run) in enumerate(self.runs) for s in run}
        for i, stage in enumerate(schedule.stages):
            for product in stage.products:
                made[product.target] = i if whole_stages else -1
                self._keep(whole(product.a))
        for i, (_, run) in enumerate(self.runs):
            for value in (whole(a) for step in run for a in reads(step)):
                if made.get(value, i) != i:
                    self._keep(value)

    def _runs(self, assignments: list[Assign]) -> list[list[Assign]]:
        """The assignments in runs for one kernel each: all rows are multiples of the shortest."""
        found: list[list[Assign]] = []
        widths: set[int] = set()
        for step in assignments:
            new = {self.width(v) for v in (step.target, *reads(step))}
            if not found or any(w % min(widths | new) for w in widths | new):
                found.append([])
                widths = set()
            found[-1].append(step)
            widths |= new
        return found

    def _keep(self, value: Any) -> None:
        if isinstance(value, Symbol) and value not in self.between and self.schedule.place(value) is None:
            name = f"between{len(self.buffers)}"
            self.buffers[name] = self.schedule.width[value]
            self.between[value] = Place(name, self._time)

    def kernel(self, stage: int, assignments: list[Assign]) -> tuple[str, Entry]:
        """The text of one run, and how to call it."""
        body = Body(self, self.shortest(assignments))
        body.run(assignments)
        name = f"{self.schedule.name}_{next(self._number)}"
        typed = "".join(f", {kind(argument)} *{argument}" for argument in body.arguments)
        source = _KERNEL.format(name=name, arguments=typed, body="\n".join(body.lines))
        return source, Entry(name, stage, body.width, list(body.arguments.values()))

    def shortest(self, assignments: list[Assign]) -> int:
        """The length of the shortest rows."""
        return min(self.width(v) for a in assignments for v in (a.target, *reads(a)))

    def width(self, value: Any) -> int:
        """The length of the rows of a value or place."""
        if isinstance(value, Symbol):
            return self.schedule.width[value]
        place: Place = value
        return (place.stop or self.schedule.shapes[place.array][1]) - place.start


class Body:
    """What one thread computes, line by line: of every value the entries j, width + j, 2 * width + j, …"""

    def __init__(self, writer: Writer, width: int) -> None:
        self.writer, self.width = writer, width
        self.lines: list[str] = []
        self.arguments: dict[str, tuple[str, str]] = {}
        """The arrays that it touches: the name there → the array, and which of its steps."""
        self.registers: dict[tuple[Any, int], str] = {}

    def run(self, assignments: list[Assign]) -> None:
        """Write assignments down."""
        for step in assignments:
            for offset in range(0, self.writer.width(step.target), self.width):
                text = TEXTS[step.op].format(*(self._entry(a, offset) for a in step.args))
                self.let(step.target, offset, text)

    def let(self, target: Any, offset: int, text: str) -> None:
        """Compute one entry into a register, and into memory where it has a place there."""
        register = f"r{len(self.lines)}"
        memory = self._memory(target, offset)
        stored = f" {memory} = {kind(memory)}({register});" if memory else ""
        self.lines.append(f"    real {register} = {text};{stored}")
        self.registers[target, offset] = register

    def argument(self, place: Place) -> str:
        """What the array of a place is called in the kernel."""
        name = place.array + (f"_{place.time}" if place.time else "")
        self.arguments[name] = (place.array, place.time)
        return name

    def _memory(self, value: Any, offset: int) -> str | None:
        schedule, width = self.writer.schedule, self.width
        place = schedule.place(value) or self.writer.between.get(value)
        if place is None:
            return None
        argument = self.argument(place)
        shape, wide = schedule.shapes.get(place.array) or ("rows", self.writer.buffers[place.array])
        column, rest = divmod(place.start + offset, width)
        if rest or (wide % width and shape != "vector"):
            raise NotCompilable(f"expected {place.array} to divide into parts of {width} features")
        at = "j" if column == 0 else f"{column} * width + j"
        return f"{argument}[{at}]" if shape == "vector" else f"{argument}[n * {wide // width} * width + {at}]"

    def _entry(self, value: Any, offset: int) -> str:
        schedule = self.writer.schedule
        if isinstance(value, Symbol):
            if (value, offset) in self.registers:
                return self.registers[value, offset]
            if value.op == "part" and (schedule.place(value) is None or value.args[0] in schedule.width):
                inner = (value.args[0], value.params["start"] + offset)
                if inner in self.registers:
                    return self.registers[inner]
        if isinstance(value, Symbol | Place):
            found = self._memory(value, offset)
            if found is not None:
                return f"real({found})"
            assert isinstance(value, Symbol) and value.op == "part", value
            return self._entry(value.args[0], value.params["start"] + offset)
        return f"real({float(value)!r})"


def place_of(value: Any, schedule: Schedule, between: dict[Symbol, Place]) -> Place:
    """Where a factor or result of a product lives, in the schedule or between kernels."""
    place = schedule.place(value)
    if place is not None:
        return place
    start, inside = (value.params["start"], value.args[0]) if value.op == "part" else (0, value)
    return between[inside]._replace(start=start, stop=start + schedule.width[value])
