"""What a loop need not wait for: computed for many steps at once, ahead of them.

Of a step's assignments some read nothing that an earlier step has computed, only what is known before the
loop: products with the input and, in the backward pass, all that was saved. So derivatives of gates are known
before any gradient arrives. Sums and products are regrouped for that, (a·b)·c = a·(b·c) where only a must be
waited for; what is left in the loop is the recurrence itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tinygrad_rnn.kernels.buffers import Step, reads, whole
from tinygrad_rnn.kernels.schedule import Assign, Place, Schedule
from tinygrad_rnn.symbols import Symbol


def split(schedule: Schedule, steps: Sequence[Step], ragged: bool) -> tuple[list[Assign], list[Step]]:
    """The assignments that need not wait, and the steps that must.

    Where sequences end at different times (`ragged`), what outlives its step must: only the loop knows how
    many rows take part.
    """
    return _Split(schedule, steps, ragged).found()


class _Split:
    def __init__(self, schedule: Schedule, steps: Sequence[Step], ragged: bool) -> None:
        self.schedule, self.steps, self.ragged = schedule, steps, ragged
        places = [schedule.place(step.target) for step in steps]
        self.written = {place.array for place in places if place is not None}
        self.times_written = Counter(step.target for step in steps)
        self.uses = Counter(whole(a) for step in steps for a in reads(step))
        self.early: list[Assign] = []
        self.late: list[Step] = []
        self.early_values: set[Symbol | Place] = set()
        self.late_ones: dict[Any, int] = {}
        """Where in `late` a value is computed."""

    def found(self) -> tuple[list[Assign], list[Step]]:
        for step in self.steps:
            if isinstance(step, Assign) and self._may_be_early(step):
                self._now(step)
            elif not (isinstance(step, Assign) and self._regrouped(step)):
                self.late_ones[step.target] = len(self.late)
                self.late.append(step)
        return self.early, self.late

    def _now(self, step: Assign) -> None:
        self.early.append(step)
        self.early_values.add(step.target)

    def _known(self, value: Any) -> bool:
        """Whether a value is there before the loop."""
        if isinstance(value, Symbol) and whole(value) in self.early_values:
            return True
        place = self.schedule.place(value)
        return place.array not in self.written if place is not None else not isinstance(value, Symbol)

    def _may_be_early(self, step: Assign) -> bool:
        place = self.schedule.place(step.target)
        lasts = place is not None and (place.time != "t" or self.ragged)
        return not lasts and self.times_written[step.target] == 1 and all(map(self._known, step.args))

    def _regrouped(self, step: Assign) -> bool:
        """Whether `step` is (a·b)·c, or (a+b)+c, where only a must wait; it then stands where a·b stood."""
        place = self.schedule.place(step.target)
        if step.op not in ("add", "multiply") or (place is not None and not place.time):
            return False
        for first, c in (step.args, step.args[::-1]):
            at = self.late_ones.get(first)
            if at is None or self.uses[first] > 1 or self.schedule.place(first) is not None:
                continue
            inner = self.late[at]
            if not isinstance(inner, Assign) or inner.op != step.op or not self._known(c):
                continue
            known = [self._known(a) for a in inner.args]
            if sum(known) == 1:
                a, b = inner.args if known[1] else inner.args[::-1]
                made = Symbol("early", (b, c), {"op": step.op})
                if made not in self.early_values:
                    self.schedule.width[made] = self.schedule.width[first]
                    self._now(Assign(made, step.op, (b, c)))
                self.late[at] = Assign(step.target, step.op, (a, made))
                self.late_ones[step.target] = at
                return True
        return False
