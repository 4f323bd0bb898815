"""Which assignments of a stage run together, and how a run goes: entry by entry, in registers.

A run takes the same entry of all its rows; where gates stand side by side in a wide row, the same entry of
each gate. It reads and writes memory only where a value has a place, or where another run, or a product,
asks for a value.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from tinygrad_rnn.kernels.buffers import reads, whole
from tinygrad_rnn.kernels.program import NotCompilable
from tinygrad_rnn.kernels.schedule import Assign, Place, Schedule
from tinygrad_rnn.symbols import Symbol

T = TypeVar("T")


class Fusion:
    """A schedule's runs, in order, and the buffers for what leaves one."""

    def __init__(self, schedule: Schedule, whole_stages: bool = False) -> None:
        """With `whole_stages` products run in a stage's run, too, and buffers are pairs, for two steps."""
        self.schedule = schedule
        self._time = "old" if whole_stages else ""
        self.buffers: dict[str, int] = {}
        """Arrays beyond the schedule's, and the widths of their rows."""
        self.between: dict[Symbol, Place] = {}
        """What lives in them."""
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
        """All rows of a run are multiples of the shortest."""
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

    def place(self, value: Any) -> Place | None:
        """Where a value, or a piece of one, lives; None where it never leaves the registers."""
        found = self.schedule.place(value) or self.between.get(value)
        if found is None and isinstance(value, Symbol) and value.op == "part":
            found = self.place(value.args[0])
            found = found and found._replace(start=found.start + value.params["start"])
        if found is None or isinstance(value, Place):
            return found
        return found._replace(stop=found.start + self.schedule.width[value])

    def shape(self, array: str) -> tuple[str, int]:
        """Kind and width of an array."""
        return self.schedule.shapes.get(array) or ("rows", self.buffers[array])

    def width(self, value: Any) -> int:
        """The length of the rows of a value or place."""
        if isinstance(value, Symbol):
            return self.schedule.width[value]
        place: Place = value
        return (place.stop or self.shape(place.array)[1]) - place.start

    def shortest(self, run: list[Assign]) -> int:
        """The length of the shortest rows."""
        return min(self.width(v) for a in run for v in (a.target, *reads(a)))


class Registers(Generic[T]):
    """What a run computes: of every value the entries j, width + j, 2 · width + j, …, each a `T`."""

    def __init__(self, fusion: Fusion, width: int) -> None:
        self.fusion, self.width = fusion, width
        self.registers: dict[tuple[Any, int], T] = {}

    def number(self, value: float) -> T:
        """A number."""
        raise NotImplementedError

    def computed(self, op: str, args: list[T]) -> T:
        """op(args)"""
        raise NotImplementedError

    def load(self, place: Place, offset: int) -> T:
        """Entry `offset` + j of a place."""
        raise NotImplementedError

    def kept(self, value: T, place: Place | None, offset: int) -> T:
        """A value in a register, and in memory where it has a place."""
        raise NotImplementedError

    def run(self, assignments: list[Assign]) -> None:
        """Compute; NotCompilable where parts of rows do not line up."""
        for step in assignments:
            for offset in range(0, self.fusion.width(step.target), self.width):
                value = self.computed(step.op, [self._entry(a, offset) for a in step.args])
                self.let(step.target, offset, value)

    def let(self, target: Any, offset: int, value: T) -> None:
        """From now on that is an entry of the target."""
        self.registers[target, offset] = self.kept(value, self.fusion.place(target), offset)

    def _entry(self, value: Any, offset: int) -> T:
        if not isinstance(value, Symbol | Place):
            return self.number(float(value))
        inner, at = value, offset
        while isinstance(inner, Symbol):
            if (inner, at) in self.registers:
                return self.registers[inner, at]
            if inner.op != "part":
                break
            inner, at = inner.args[0], at + inner.params["start"]
        place = self.fusion.place(value)
        if place is None or (isinstance(inner, Symbol) and (inner, 0) in self.registers):
            raise NotCompilable(f"expected parts that begin at multiples of {self.width} features, got {at}")
        return self.load(place, offset)
