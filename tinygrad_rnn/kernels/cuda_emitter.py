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
    writer = _Writer(schedule)
    kernels = [writer.kernel(stage, run) for stage, run in writer.runs]
    storage, real = _TYPES[str(dtype)]
    include = "#include <cuda_fp16.h>\n" if storage == "__half" else ""
    source = _PRELUDE.format(include=include, storage=storage, real=real)
    source += "".join(text for text, _ in kernels)
    return Kernels(source, [entry for _, entry in kernels], writer.buffers, writer.between)


def is_sum(array: str) -> bool:
    """Whether an array is summed up over the steps, and so kept as precise as what is computed."""
    return array.startswith("sum")


def _kind(array: str) -> str:
    return "real" if is_sum(array) else "storage"


class _Writer:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._number = itertools.count()
        self.buffers: dict[str, int] = {}
        self.between: dict[Symbol, Place] = {}
        """Temporaries that leave their stage, or come out of a product: these need memory."""
        self.runs = [
            (i, run) for i, stage in enumerate(schedule.stages) for run in self._runs(stage.assignments)
        ]
        made: dict[Any, int] = {s.target: i for i, (_, run) in enumerate(self.runs) for s in run}
        for product in (p for stage in schedule.stages for p in stage.products):
            self._keep(product.target)
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
            new = {self._width(v) for v in (step.target, *reads(step))}
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
            self.between[value] = Place(name)

    def kernel(self, stage: int, assignments: list[Assign]) -> tuple[str, Entry]:
        """The text of one run, and how to call it."""
        width = min(self._width(v) for a in assignments for v in (a.target, *reads(a)))
        name = f"{self.schedule.name}_{next(self._number)}"
        arguments: dict[str, tuple[str, str]] = {}
        registers: dict[tuple[Any, int], str] = {}
        lines: list[str] = []

        def memory(value: Any, offset: int) -> str | None:
            place = self.schedule.place(value) or self.between.get(value)
            if place is None:
                return None
            argument = place.array + (f"_{place.time}" if place.time else "")
            arguments[argument] = (place.array, place.time)
            kind, wide = self.schedule.shapes.get(place.array) or ("rows", self.buffers[place.array])
            column, rest = divmod(place.start + offset, width)
            if rest or (wide % width and kind != "vector"):
                raise NotCompilable(f"expected {place.array} to divide into parts of {width} features")
            at = "j" if column == 0 else f"{column} * width + j"
            return (
                f"{argument}[{at}]" if kind == "vector" else f"{argument}[n * {wide // width} * width + {at}]"
            )

        def entry(value: Any, offset: int) -> str:
            if isinstance(value, Symbol):
                if (value, offset) in registers:
                    return registers[value, offset]
                if value.op == "part" and (
                    self.schedule.place(value) is None or value.args[0] in self.schedule.width
                ):
                    inner = (value.args[0], value.params["start"] + offset)
                    if inner in registers:
                        return registers[inner]
            if isinstance(value, Symbol | Place):
                found = memory(value, offset)
                if found is not None:
                    return f"real({found})"
                assert isinstance(value, Symbol) and value.op == "part", value
                return entry(value.args[0], value.params["start"] + offset)
            return f"real({float(value)!r})"

        for step in assignments:
            for offset in range(0, self._width(step.target), width):
                text = TEXTS[step.op].format(*(entry(a, offset) for a in step.args))
                register = f"r{len(lines)}"
                target = memory(step.target, offset)
                stored = f" {target} = {_kind(target)}({register});" if target else ""
                lines.append(f"    real {register} = {text};{stored}")
                registers[step.target, offset] = register
        typed = "".join(f", {_kind(argument)} *{argument}" for argument in arguments)
        source = _KERNEL.format(name=name, arguments=typed, body="\n".join(lines))
        return source, Entry(name, stage, width, list(arguments.values()))

    def _width(self, value: Any) -> int:
        if isinstance(value, Symbol):
            return self.schedule.width[value]
        place: Place = value
        return (place.stop or self.schedule.shapes[place.array][1]) - place.start
