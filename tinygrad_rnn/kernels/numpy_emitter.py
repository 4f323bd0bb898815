"""A schedule as a Python loop over NumPy calls that write into buffers planned beforehand.

Every assignment is one ufunc that writes into a buffer (`buffers` says which). A ufunc walks pieces of wider
rows three times slower than rows of their own, and a copy is cheap: so pieces are copied out before, and in
after. Where rows are short the calls themselves are what takes long: so what need not wait for the step
before is computed for a block of steps at once (`ahead`), and the gates that make up a row are squashed in
one go. Numbers are arrays without axes, which a ufunc takes in half the time. The text can be read:
`print(emit(schedule).source)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, cycle
from typing import Any

import numpy as np

from tinygrad_rnn.kernels.ahead import split
from tinygrad_rnn.kernels.buffers import Homes, Step, reads, whole
from tinygrad_rnn.kernels.program import POINTWISE
from tinygrad_rnn.kernels.schedule import Assign, Place, Product, Schedule
from tinygrad_rnn.symbols import Symbol

_UFUNCS = frozenset(op for op in POINTWISE if isinstance(getattr(np, op, None), np.ufunc))
ATOMS = _UFUNCS | {"where", "sigmoid"}
TRUTHS = frozenset(
    ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "isnan", "isinf", "isfinite",
     "logical_and", "logical_or", "logical_xor", "logical_not"]
)  # fmt: skip
"""Operations whose result is a truth value."""
SLOW = frozenset(["sigmoid", "tanh", "exp", "expm1", "log", "log1p", "logaddexp", "sin", "cos", "power"])
"""Operations that take longer than any walk."""


_BLOCKS = {
    "": ":last - first", "t": "first:last", "before": "first + before:last + before",
    "after": "first + after:last + after",
}  # fmt: skip
"""Which entries of an array a block of steps has, by the time of its places; "" is a buffer's."""


@dataclass
class Loop:
    """A loop over time: its text, the arrays it takes, and the buffers it needs beyond the schedule's."""

    source: str
    arrays: list[str]
    buffers: dict[str, tuple[str, int]]
    """Kind and width: "rows" or "truths" for a step, "block" or "truths block" for as many as are ahead."""
    constants: dict[str, float]
    rows: dict[str, np.ndarray[Any, Any]]
    """Rows of numbers, to be laid out for every sequence."""

    def compiled(self, xp: Any, dtype: Any) -> Callable[..., None]:
        """loop(blocks, way, before, counts, *arrays).

        Blocks come in the order in which they run, and so do the steps in them if `way` is 1 (if -1, the last
        comes first). The state before step t stands at t + `before`, the one after it at t + 1 - `before`.
        """
        names: dict[str, Any] = {op: getattr(xp, op) for op in _UFUNCS | {"where", "matmul"}}
        names |= {name: xp.asarray(value, dtype=dtype) for name, value in self.constants.items()}
        names["cycle"] = cycle
        exec(compile(self.source, "<kernel>", "exec"), names)
        loop: Callable[..., None] = names["loop"]
        return loop


def emit(schedule: Schedule, copying: bool = True, ragged: bool = False, ahead: bool = True) -> Loop:
    """Write a schedule down.

    Args:
        schedule: what to write.
        copying: copy pieces out and in, which does not pay for a single row.
        ragged: the loop is told how many rows take part in each step, always the first ones.
        ahead: compute what need not wait for a block of steps at once.
    """
    return _Writer(schedule, copying, ragged, ahead).loop()


class _Writer:
    def __init__(self, schedule: Schedule, copying: bool, ragged: bool, ahead: bool) -> None:
        self.schedule, self.ragged = schedule, ragged
        self.constants: dict[str, float] = {}
        self.rows: dict[str, np.ndarray[Any, Any]] = {}
        steps = self._gates_together(schedule.steps())
        if copying:
            steps = self._copying_pieces(steps)
        self.early, self.late = split(schedule, steps, ragged) if ahead else ([], steps)
        self.early_values = {step.target for step in self.early}
        self.homes = Homes(schedule, [*self.early, *self.late], self._kind, whole_rows=copying)
        self.views: dict[str, str] = {}
        """Of the loop's names those that stay what they are, and how they are made."""
        self.blocks: dict[str, str] = {}
        """Those for a block of steps."""
        self.iterated: dict[str, str] = {"n": "counts[first:last][::way]"} if ragged else {}
        """Those for one step, and what they are taken from in turn."""
        self.turning: dict[str, str] = {}
        """Those that change roles at each step; last in turn, so as not to move on when the others end."""
        self.limited: dict[str, str] = {}
        """Those for the rows that take part in a step."""

    def _kind(self, step: Step) -> str:
        truths = isinstance(step, Assign) and step.op in TRUTHS
        if step.target in self.early_values:
            return "truths block" if truths else "block"
        return "truths" if truths else "rows"

    def loop(self) -> Loop:
        early = [line for step in self.early for line in self._lines(step, self._of_block)]
        late = [line for step in self.late for line in self._lines(step, self._of_step)]
        arrays = [*self.homes.arrays(), *self.rows]
        iterated = self.iterated | self.turning
        names, views = ", ".join(iterated), ", ".join(iterated.values())
        lines = [
            f"def loop(blocks, way, before, counts, {', '.join(arrays)}):",
            "    after = 1 - before",
            *_made(4, self.views),
            "    for first, last in blocks:",
            *_made(8, self.blocks),
            *(f"        {line}" for line in early),
            f"        for {names} in {f'zip({views})' if len(iterated) > 1 else views}:",
            *_made(12, self.limited),
            *(f"            {line}" for line in late),
        ]
        return Loop("\n".join([*lines, ""]), arrays, self.homes.buffers, self.constants, self.rows)

    def _gates_together(self, steps: list[Step]) -> list[Step]:
        """The same steps; where a row falls into gates that σ and tanh squash, all are squashed in one go."""
        if self.schedule.name == "backward":  # where what is computed early may overwrite a carry
            return steps
        readers: dict[Symbol, list[Step]] = {}
        for step in steps:
            for row in dict.fromkeys(map(whole, reads(step))):
                readers.setdefault(row, []).append(step)
        gates = {row: self._gates(row, several) for row, several in readers.items()}
        found: list[Step] = []
        for step in steps:
            z = whole(reads(step)[0]) if reads(step) else None
            if z is None or not gates[z]:
                found.append(step)
            elif step is readers[z][0]:
                found += self._squashed(z, gates[z])
        return found

    def _gates(self, z: Symbol, readers: list[Step]) -> list[Assign]:
        """The readers in the order of their parts; none unless they are σ and tanh of one part each."""
        parts: dict[int, Assign] = {}
        for step in readers:
            if not isinstance(step, Assign) or step.op not in ("sigmoid", "tanh"):
                return []
            (a,) = step.args
            if a.op != "part" or a.args[0] is not z:
                return []
            parts[a.params["start"]] = step
        gates = [parts[start] for start in sorted(parts)]
        ends = accumulate(self.schedule.width[gate.args[0]] for gate in gates)
        covered = [0, *ends] == [*sorted(parts), self.schedule.width[z]]
        halves = any(gate.op == "sigmoid" for gate in gates)
        return gates if covered and halves and self.schedule.place(z) is None else []

    def _squashed(self, z: Symbol, gates: list[Assign]) -> list[Step]:
        """a·tanh(a·z) + b: a = b = ½ in the entries of a σ, a = 1 and b = 0 in those of a tanh."""
        width = self.schedule.width
        sizes = [width[gate.args[0]] for gate in gates]
        scale, shift = Place(f"row{len(self.rows)}"), Place(f"row{len(self.rows) + 1}")
        for place, a_or_b in ((scale, {"sigmoid": 0.5, "tanh": 1}), (shift, {"sigmoid": 0.5, "tanh": 0})):
            self.rows[place.array] = np.repeat([a_or_b[gate.op] for gate in gates], sizes)
            self.schedule.shapes[place.array] = ("vector", width[z])
        found: list[Step] = []
        value = z
        for op, *others in (("multiply", scale), ("tanh",), ("multiply", scale), ("add", shift)):
            made = Symbol("squashed", (z, len(found)))
            width[made] = width[z]
            found.append(Assign(made, op, (value, *others)))
            value = made
        for gate in gates:
            part = Symbol("part", (value,), gate.args[0].params)
            width[part] = width[gate.args[0]]
            found.append(Assign(gate.target, "copy", (part,)))
        return found

    def _copying_pieces(self, steps: list[Step]) -> list[Step]:
        """The same steps, reading and writing whole rows only."""
        copied: dict[Any, Symbol] = {}
        found: list[Step] = []
        width = self.schedule.width
        for step in steps:
            if isinstance(step, Product) or step.op in ("copy", *SLOW):
                found.append(step)
                continue
            for a in step.args:
                if self._is_piece(a) and a not in copied:
                    copied[a] = Symbol("copied", (a,))
                    width[copied[a]] = width[a]
                    found.append(Assign(copied[a], "copy", (a,)))
            args = tuple(copied.get(a, a) for a in step.args)
            if self._is_piece(step.target):
                assert isinstance(step.target, Symbol)  # `_is_piece` has seen to it
                made = copied[step.target] = Symbol("copied", (step.target,))
                width[made] = width[step.target]
                found += [Assign(made, step.op, args), Assign(step.target, "copy", (made,))]
            else:
                found.append(Assign(step.target, step.op, args))
        return found

    def _is_piece(self, value: Any) -> bool:
        if not isinstance(value, Symbol) or value in self.schedule.vectors.values():
            return False
        place = self.schedule.place(value)
        if place is None:
            return value.op == "part"
        return self.schedule.width[value] != self.schedule.shapes[place.array][1]

    def _lines(self, step: Step, name: Callable[[Any], str]) -> list[str]:
        out = name(step.target)
        if isinstance(step, Product):
            if self._is_piece(step.target):
                return [f"matmul({name(step.a)}, {step.array}, {out})"]
            return [f"{name(step.a)}.dot({step.array}, {out})"]  # which is quicker, into whole rows
        args = [name(a) for a in step.args]
        if step.op == "copy":
            return [f"{out}[...] = {args[0]}"] if args[0] != out else []
        if step.op == "sigmoid":
            half = name(0.5)
            squash = [f"multiply({half}, {args[0]}, {out})", f"tanh({out}, {out})"]
            return [*squash, f"multiply({half}, {out}, {out})", f"add({half}, {out}, {out})"]
        if step.op == "where":
            return [f"{out}[...] = where({', '.join(args)})"]
        by_name = (
            "out=" if step.op in ("maximum", "minimum") else ""
        )  # NumPy wants it so; by position is faster
        return [f"{step.op}({', '.join(args)}, {by_name}{out})"]

    def _of_step(self, value: Any) -> str:
        """The text for a value in one step: an array, a view of one, or a number."""
        return self._name(value, of_block=False)

    def _of_block(self, value: Any) -> str:
        """The text for a value in all steps of a block."""
        return self._name(value, of_block=True)

    def _name(self, value: Any, of_block: bool) -> str:
        place = self.homes.place(value)
        if place is None:
            name = next((n for n, v in self.constants.items() if v == value), f"number{len(self.constants)}")
            self.constants[name] = value
            return name
        array, time, start, stop = place
        kind, width = self.homes.shape(place)
        piece = (start, stop or width) != (0, width)
        columns = f", {start}:{stop}" if piece else ""
        name = f"{array}_{start}_{stop}" if piece else array
        limited = self.ragged and kind != "vector" and not of_block
        if time in ("old", "new"):
            name = f"{name}_{time}"
            self.views[f"{name}_turns"] = f"cycle({array}[{'::-1' if time == 'new' else ':'}, :{columns}])"
            self.turning[name] = f"{name}_turns"
        elif time or kind.endswith("block"):
            name = f"{name}_{time or 't'}"
            steps = _BLOCKS[time]
            self.blocks[f"{name}_block"] = f"{array}[{steps}, :{columns}]" if piece else f"{array}[{steps}]"
            if of_block:
                return f"{name}_block"
            self.iterated[name] = f"{name}_block[::way]"
        elif limited:
            self.limited[f"{name}_n"] = f"{array}[:n{columns}]"
            return f"{name}_n"
        elif piece:
            self.views[name] = f"{array}[:{columns}]"
        if limited:
            self.limited[name] = f"{name}[:n]"
        return name


def _made(indent: int, names: dict[str, str]) -> list[str]:
    return [f"{' ' * indent}{name} = {text}" for name, text in names.items()]
