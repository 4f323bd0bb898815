"""A schedule's stages as CUDA kernels: what happens between two matrix products, one kernel each.

A thread takes one feature of one row and computes everything of the stage that belongs to it, in registers;
it reads and writes memory only where a value has a place. Where gates stand side by side in a wide row, it
takes the same feature of each. The text is for CuPy's RawModule (`emit(schedule, dtype).source`), which
launches `entry.name` over `rows * width` threads with `rows`, `width` and a pointer for each of
`entry.arguments` (`cuda_loops` does). float16 is how values are stored; they are computed, and summed over
the steps, in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinygrad_rnn.kernels.fusion import Fusion, Registers
from tinygrad_rnn.kernels.program import NotCompilable
from tinygrad_rnn.kernels.schedule import Place, Schedule

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
    """The text of all kernels; the fusion knows the buffers that they need."""

    source: str
    entries: list[Entry]
    fusion: Fusion


def emit(schedule: Schedule, dtype: Any) -> Kernels:
    """Write a schedule's assignments down; NotCompilable where parts of rows do not line up."""
    fusion = Fusion(schedule)
    source, entries = prelude(dtype), []
    for i, (stage, run) in enumerate(fusion.runs):
        body = Body(fusion, fusion.shortest(run))
        body.run(run)
        name = f"{schedule.name}_{i}"
        typed = "".join(f", {kind(argument)} *{argument}" for argument in body.arguments)
        source += _KERNEL.format(name=name, arguments=typed, body="\n".join(body.lines))
        entries.append(Entry(name, stage, body.width, list(body.arguments.values())))
    return Kernels(source, entries, fusion)


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


class Body(Registers[str]):
    """What one thread computes, line by line."""

    def __init__(self, fusion: Fusion, width: int) -> None:
        super().__init__(fusion, width)
        self.lines: list[str] = []
        self.arguments: dict[str, tuple[str, str]] = {}
        """The arrays that it touches: the name there → the array, and which of its steps."""

    def number(self, value: float) -> str:
        """A number."""
        return f"real({value!r})"

    def computed(self, op: str, args: list[str]) -> str:
        """op(args)"""
        return TEXTS[op].format(*args)

    def load(self, place: Place, offset: int) -> str:
        """Entry `offset` + j of a place."""
        return f"real({self._memory(place, offset)})"

    def kept(self, value: str, place: Place | None, offset: int) -> str:
        """A line of its own."""
        register = f"r{len(self.lines)}"
        memory = self._memory(place, offset) if place else ""
        stored = f" {memory} = {kind(memory)}({register});" if memory else ""
        self.lines.append(f"    real {register} = {value};{stored}")
        return register

    def argument(self, place: Place) -> str:
        """What the array of a place is called in the kernel."""
        name = place.array + (f"_{place.time}" if place.time else "")
        self.arguments[name] = (place.array, place.time)
        return name

    def _memory(self, place: Place, offset: int) -> str:
        argument, width = self.argument(place), self.width
        shape, wide = self.fusion.shape(place.array)
        column, rest = divmod(place.start + offset, width)
        if rest or (wide % width and shape != "vector"):
            raise NotCompilable(f"expected {place.array} to divide into parts of {width} features")
        at = "j" if column == 0 else f"{column} * width + j"
        return f"{argument}[{at}]" if shape == "vector" else f"{argument}[n * {wide // width} * width + {at}]"
