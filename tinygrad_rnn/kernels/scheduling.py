"""From a program to its schedules: what outlives its step gets a place, then stages are filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_rnn.kernels.program import DY, POINTWISE, Program, X
from tinygrad_rnn.kernels.schedule import Assign, Place, Product, Schedule, Stage, block_of, lowering
from tinygrad_rnn.symbols import Symbol


def forward_schedule(program: Program, training: bool, atoms: frozenset[str]) -> Schedule:
    """The loop of the forward pass; without `training` nothing is kept beyond its step."""
    made = _Maker(program, "forward" if training else "inference", atoms)
    made.put_given()
    for k, (before, after) in enumerate(zip(program.before, program.after, strict=True)):
        whole = k == 0 or training
        kind, old, new = ("states", "before", "after") if whole else ("pair", "old", "new")
        made.put(before, Place(f"state{k}", old), kind)
        made.receive(after, Place(f"state{k}", new), kind)
    for i, value in enumerate(program.saved if training else ()):
        made.receive(value, Place(f"saved{i}", "t"), "steps")
    for value in program.forward:
        if value.op == "product" and value.args[0] is X:
            made.put(value, Place(f"hoisted{len(made.schedule.hoisted)}", "t"), "steps")
            made.schedule.hoisted.append(made.product(value))
    return made.finished(program.forward)


# -- backward ------------------------------------------------------------------------------------------


def backward_schedule(program: Program, atoms: frozenset[str]) -> Schedule:
    """The loop of the backward pass.

    A state's cotangent enters a step as the sum of its carries, which the later step has left. Where that is
    one carry it need not be copied, unless the new one would be written before the old one was last read.
    """
    made = _backward(program, atoms, copied=False)
    return _backward(program, atoms, copied=True) if _overwrites(made, program) else made


def _backward(program: Program, atoms: frozenset[str], copied: bool) -> Schedule:
    made = _Maker(program, "backward", atoms)
    made.put_given()
    made.put(DY, Place("dy", "t"), "steps", program.width[program.before[0]])
    for k, (before, after) in enumerate(zip(program.before, program.after, strict=True)):
        if program.kept[k]:
            made.put(before, Place(f"state{k}", "before"), "states")
            made.put(after, Place(f"state{k}", "after"), "states")
    for i, value in enumerate(program.saved):
        made.put(value, Place(f"saved{i}", "t"), "steps")
    made.known = set(made.schedule.places)
    for k, (seed, terms) in enumerate(zip(program.seeds, program.carries, strict=True)):
        carries = [Place(f"carry{k}_{j}") for j in range(max(len(terms), 1))]
        for carry in carries:
            made.array(carry, "rows", program.width[seed])
        if k > 0 and len(carries) == 1 and not copied:
            made.put(seed, carries[0], "rows")
        else:
            made.sum(seed, [*([DY] if k == 0 else []), *carries])
    for i, g in enumerate(dict.fromkeys(g for _, g in program.products)):
        place = Place(f"gradient{i}", "t")
        made.receive(g, place, "steps")
        made.schedule.gradients[g] = place
    for i, g in enumerate(dict.fromkeys(leaf.cotangent for leaf in program.sums)):
        found = made.schedule.gradients.get(g) or made.schedule.place(g)
        if found is None or found.time != "t":
            found = Place(f"sum{i}")
            made.array(found, "rows", program.width[g])
            made.accumulate(found, g)
        made.schedule.gradients[g] = found
    if program.dx is not None:
        made.receive(program.dx, Place("dx", "t"), "steps")
    for k, terms in enumerate(program.carries):
        for j, term in enumerate(terms or (0.0,)):
            made.receive(term, Place(f"carry{k}_{j}"), "rows", program.width[program.seeds[k]])
    return made.finished(program.backward)


def _overwrites(schedule: Schedule, program: Program) -> bool:
    """Whether a seed that shares its place with a carry is read after the carry has been written."""
    shared = {schedule.places[s].array: s for s in program.seeds if s in schedule.places}
    written: set[str] = set()
    for stage in schedule.stages:
        steps = [(p.target, (p.a,)) for p in stage.products] + [(a.target, a.args) for a in stage.assignments]
        for target, args in steps:
            if any(shared.get(array) in args for array in written):
                return True
            place = schedule.place(target)
            if place is not None and place.array.startswith("carry"):
                written.add(place.array)
    return False


# -- both ----------------------------------------------------------------------------------------------


class _Maker:
    """Gives values their places, then sorts what computes them into stages."""

    def __init__(self, program: Program, name: str, atoms: frozenset[str]) -> None:
        self.program, self.lower = program, lowering(atoms)
        self.schedule = Schedule(name, dict(program.width))
        self.first: list[Assign] = []
        self.last: list[Assign] = []
        self.known: set[Symbol] = set()
        """Values that are there before the step begins."""

    def array(self, place: Place, kind: str, width: int) -> None:
        """Plan the array of a place."""
        self.schedule.shapes[place.array] = (kind, width)

    def put(self, value: Symbol, place: Place, kind: str, width: int | None = None) -> None:
        """Let a value live there, unless it lives somewhere already."""
        width = self.schedule.width.setdefault(value, width or 0)
        self.array(place, kind, width)
        self.schedule.places.setdefault(value, place._replace(stop=width))

    def put_given(self) -> None:
        """The input, and what is the same at all steps."""
        self.put(X, Place("x", "t"), "steps")
        for i, constant in enumerate(self.program.constants):
            self.put(constant, Place(f"constant{i}"), "rows")

    def receive(self, value: Any, place: Place, kind: str, width: int | None = None) -> None:
        """Let the step compute a value right there; where it cannot be, copy it there at the end."""
        width = width or self.schedule.width[value]
        self.array(place, kind, width)
        if isinstance(value, Symbol) and value.op == "join" and value not in self.schedule.places:
            self.schedule.places[value] = place._replace(stop=width)
            for piece, (start, stop) in zip(value.args, value.params["ends"], strict=True):
                self._receive_piece(piece, place._replace(start=start, stop=stop))
        else:
            self._receive_piece(value, place._replace(stop=width))

    def _receive_piece(self, value: Any, place: Place) -> None:
        made_here = isinstance(value, Symbol) and (
            value.op in POINTWISE or value.op == "product" or value in self.program.seeds
        )
        if made_here and value not in self.schedule.places:
            self.schedule.places[value] = place
        else:
            self.last.append(Assign(place, "copy", (value,)))

    def sum(self, target: Symbol, terms: Sequence[Any]) -> None:
        """Begin the step with target = the sum of terms."""
        if len(terms) == 1:
            self.first.append(Assign(target, "copy", (terms[0],)))
        for i in range(1, len(terms)):
            self.first.append(Assign(target, "add", (terms[0] if i == 1 else target, terms[i])))

    def accumulate(self, place: Place, value: Symbol) -> None:
        """End the step with place = place + value."""
        joined = value.op == "join"
        ends = value.params["ends"] if joined else [(0, self.schedule.width[value])]
        for piece, (start, stop) in zip(value.args if joined else [value], ends, strict=True):
            part = place._replace(start=start, stop=stop)
            self.last.append(Assign(part, "add", (part, piece)))

    def product(self, value: Symbol) -> Product:
        """The product that a value stands for."""
        return Product(value, value.args[0], block_of(value.args[1]), value.params["transposed"])

    def in_loop(self, value: Symbol) -> Product:
        """The same, with an array for the weight."""
        made = self.product(value)
        same = [
            f for f in self.schedule.factors if (f.weight, f.transposed) == (made.weight, made.transposed)
        ]
        array = same[0].array if same else f"factor{len(self.schedule.factors)}"
        self.schedule.shapes[array] = ("matrix", 0)
        made = made._replace(array=array)
        self.schedule.factors += [] if same else [made]
        return made

    def finished(self, values: Sequence[Symbol]) -> Schedule:
        """The schedule that computes the values, in that order."""
        stage_of: dict[Any, int] = {}
        stages = self.schedule.stages
        stages.append(Stage(assignments=self.first))

        def stage(args: Sequence[Any]) -> int:
            return max((stage_of.get(a, -1) for a in args), default=-1)

        def at(number: int) -> Stage:
            while len(stages) <= number:
                stages.append(Stage())
            return stages[number]

        for seed in self.program.seeds:
            stage_of[seed] = 0 if any(a.target is seed for a in self.first) else -1
        for value in values:
            if value in self.known or (value.op == "product" and value.args[0] is X):
                continue
            if value.op == "product":
                stage_of[value] = stage(value.args) + 1
                at(stage_of[value]).products.append(self.in_loop(value))
            elif value.op in POINTWISE:
                stage_of[value] = max(stage(value.args), 0)
                at(stage_of[value]).assignments += self._assignments(value)
            else:
                stage_of[value] = stage(value.args)
        for last in self.last:
            at(max(stage(last.args), 0)).assignments.append(last)
            stage_of[last.target] = stage(last.args)
        self._place_vectors()
        return self.schedule

    def _assignments(self, value: Symbol) -> list[Assign]:
        """What computes a value, in operations that the emitter has."""
        found: list[Assign] = []
        width = self.schedule.width[value]

        def visit(v: Symbol, target: Symbol) -> None:
            lowered = self.lower(v)
            if lowered is not None:
                visit(lowered, target)
                return
            for a in v.args:
                if isinstance(a, Symbol) and a not in self.schedule.width:
                    self.schedule.width[a] = width
                    visit(a, a)
            found.append(Assign(target, v.op, v.args))

        visit(value, value)
        return found

    def _place_vectors(self) -> None:
        for stage in self.schedule.stages:
            for assignment in stage.assignments:
                for a in assignment.args:
                    if a in self.program.vectors and a not in self.schedule.places:
                        name = f"vector{len(self.schedule.vectors)}"
                        self.schedule.vectors[name] = a
                        self.put(a, Place(name), "vector")
