"""Running a step along time, op by op, so that BPTT is there to be seen.

This is the definition of every recurrent layer. Time is the input's index in both directions; the reverse
direction only visits it from the end. A sequence that is shorter than its batch holds its state over the
padding: so the forward direction ends with each sequence's own last state, the reverse direction begins at
each sequence's own end, and no gradient touches what was held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.namespaces import asarray
from tinygrad_rnn.scope import at, here
from tinygrad_rnn.tensor import Tensor, seen

States = tuple[Tensor, ...]
DIRECTIONS = ("forward", "reverse")


class Mask:
    """Which sequences have reached their end, for each step; nothing to do where all have the same length."""

    def __init__(self, lengths: np.ndarray[Any, Any], steps: int, device: str) -> None:
        """Lengths as `check_lengths` gives them."""
        self.lengths = lengths
        self.there = np.arange(steps)[:, None] < lengths[None, :]
        self.count = self.there.sum(axis=1)
        self._on_device = asarray(self.there[:, :, None], device=device)

    def at(self, t: int) -> Tensor | None:
        """(N, 1): True for the sequences that reach step t; None where all do."""
        return None if self.count[t] == self.there.shape[1] else Tensor(self._on_device[t])

    def zeroed(self, x: Any) -> Any:
        """x (T, N, F) with zeros in the padding, whatever stands there (and no gradient into it)."""
        return ops.where(Tensor(self._on_device), x, 0.0)

    def stacked(self, hs: list[Tensor]) -> Tensor:
        """h at every time as one, with zeros in the padding."""
        found: Tensor = self.zeroed(ops.stack(hs, axis=0))
        return found


def parts(state: Any) -> States:
    """A cell's state as a tuple, of one or more."""
    return tuple(state) if isinstance(state, tuple | list) else (state,)


def unroll(
    step: Callable[[Any, Any], Any],
    xs: Sequence[Tensor],
    state: States,
    *,
    layer: int,
    direction: str,
    mask: Mask | None = None,
    look: Callable[[int, dict[str, Tensor]], None] | None = None,
) -> tuple[list[Tensor], States]:
    """Run one layer in one direction: h at every time, in the input's order, and the last states.

    Args:
        step: (x_t, state) → the new state, a Tensor or a tuple whose first is h.
        xs: T inputs (N, F).
        state: the states to start from, a tuple.
        layer, direction: where that is, for the scope.
        mask: which sequences have ended.
        look: told the named values of each step.
    """
    hs: list[Any] = [None] * len(xs)
    several, start = len(state) > 1, here.scope.start
    for t in range(len(xs)) if direction == "forward" else reversed(range(len(xs))):
        there = mask.at(t) if mask is not None else None
        if mask is None or mask.count[t]:
            with at(layer=layer, direction=direction, time=start + t):
                names: dict[str, Tensor] = {}
                before = seen.set(None if look is None else names)
                try:
                    new = named(step(xs[t], state if several else state[0]))
                finally:
                    seen.reset(before)
                if look is not None:
                    look(t, {**names, **{s.name or "": s for s in new}})
                state = new if there is None else held(there, new, state)
        hs[t] = state[0]
    return hs, state


def named(state: Any) -> States:
    """The states as a tuple, called h and c unless the cell has named them."""
    found = parts(state)
    for name, value in zip(("h", "c"), found, strict=False):
        if value.name is None:
            value.name = name
    return found


def held(there: Tensor, new: States, old: States) -> States:
    """The new states of those sequences that are still running, the old ones of the others."""
    chosen = tuple(ops.where(there, a, b) for a, b in zip(new, old, strict=True))
    for a, b in zip(chosen, new, strict=True):
        name, b.name = b.name, ""
        a.name = name or ""
    return chosen
