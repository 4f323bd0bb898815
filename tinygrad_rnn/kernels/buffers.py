"""Where temporaries live: a few buffers, shared by values that are never needed at the same time.

What has no place in the schedule gets one here. A buffer is free again once its value has been read for the
last time, in that very assignment if that goes entry by entry. And a value that only leads up to the next one
is computed where that one will be, so that a chain of operations runs in one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_rnn.kernels.schedule import Assign, Place, Product, Schedule
from tinygrad_rnn.symbols import Symbol

Step = Assign | Product
Kind = Callable[[Step], str]
"""What kind of buffer the result of a step wants ("rows", …); buffers of different kinds are not shared."""


class Homes:
    """A place for every value of a list of steps."""

    def __init__(self, schedule: Schedule, steps: Sequence[Step], kind: Kind, whole_rows: bool) -> None:
        """Plan; with `whole_rows` nothing is computed in a piece of a wider row that need not be."""
        self.schedule, self.steps, self.kind = schedule, steps, kind
        self.home: dict[Symbol, Place] = {}
        self.buffers: dict[str, tuple[str, int]] = {}
        self._lead_up(whole_rows)
        self._share()

    def place(self, value: Any) -> Place | None:
        """Where a value, or a piece of one, lives; None for a number."""
        if isinstance(value, Symbol) and value in self.home:
            return self.home[value]
        found = self.schedule.place(value)
        if found is None and isinstance(value, Symbol) and value.op == "part":
            whole = self.place(value.args[0])
            if whole is not None:
                start = whole.start + value.params["start"]
                return whole._replace(start=start, stop=start + self.schedule.width[value])
        return found

    def shape(self, place: Place) -> tuple[str, int]:
        """Kind and width of a place's array."""
        return self.schedule.shapes.get(place.array) or self.buffers[place.array]

    def arrays(self) -> list[str]:
        """Every array that the steps touch, buffers included, in the order in which the loop takes them."""
        found = {self.place(value) for step in self.steps for value in (step.target, *reads(step))}
        weights = {step.array for step in self.steps if isinstance(step, Product)}
        return sorted({place.array for place in found if place is not None} | weights)

    def _lead_up(self, whole_rows: bool) -> None:
        uses = Counter(whole(a) for step in self.steps for a in reads(step))
        for step, following in zip(self.steps[-2::-1], self.steps[:0:-1], strict=False):
            target = step.target
            if isinstance(step, Product) or isinstance(following, Product) or not isinstance(target, Symbol):
                continue
            used_up = reads(following).count(target) == uses[target] and following.op != "where"
            place = self.place(following.target)
            if (
                self.schedule.place(target) is not None
                or not used_up
                or place is None
                or place.array.startswith("carry")
            ):
                continue
            taken = [self.place(a) for a in (*reads(step), *reads(following))]
            piece = whole_rows and place.stop is not None and place.stop - place.start != self.shape(place)[1]
            if place not in taken and not piece and self.kind(step) == self.kind(following):
                self.home[target] = place

    def _share(self) -> None:
        last = {whole(a): i for i, step in enumerate(self.steps) for a in reads(step)}
        free: dict[tuple[str, int], list[Place]] = {}
        for i, step in enumerate(self.steps):
            ended = {
                v
                for v in map(whole, reads(step))
                if last[v] == i and v in self.home and self.home[v].array in self.buffers
            }
            in_place = isinstance(step, Assign) and step.op != "where"
            if in_place:
                self._release(ended, free)
            if isinstance(step.target, Symbol) and self.place(step.target) is None:
                shape = (self.kind(step), self.schedule.width[step.target])
                if not free.get(shape):
                    place = Place(f"temp{len(self.buffers)}", "", 0, shape[1])
                    self.buffers[place.array] = shape
                    free[shape] = [place]
                self.home[step.target] = free[shape].pop()
            if not in_place:
                self._release(ended, free)

    def _release(self, values: set[Symbol], free: dict[tuple[str, int], list[Place]]) -> None:
        for place in {self.home[v] for v in values}:
            free.setdefault(self.buffers[place.array], []).append(place)


def reads(step: Step | Any) -> list[Symbol]:
    """The values that a step reads."""
    return [a for a in ([step.a] if isinstance(step, Product) else step.args) if isinstance(a, Symbol)]


def whole(value: Symbol) -> Symbol:
    """What a value is a piece of; else itself."""
    while value.op == "part":
        value = value.args[0]
    return value
