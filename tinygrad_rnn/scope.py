"""Where in the unrolled network we stand.

Every recorded operation keeps one reference to the scope that was current when it ran: which module,
which layer, which direction, which time step. Scopes are immutable, so a thousand nodes of one step share
one. Pictures, flow and error messages read them; the engine itself never does.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple


class Scope(NamedTuple):
    """A place in the unrolled network; None where a coordinate does not apply."""

    module: str = ""
    time: int | None = None
    layer: int | None = None
    direction: str | None = None
    gate: str | None = None
    backward: bool = False
    start: int = 0
    """The time at which a sequence that is read here begins."""

    def __str__(self) -> str:
        """Short form for messages: "rnn, layer 0, forward, t=3"."""
        parts = [self.module] if self.module else []
        if self.layer is not None:
            parts.append(f"layer {self.layer}")
        if self.direction is not None:
            parts.append(self.direction)
        if self.time is not None:
            parts.append(f"t={self.time}")
        if self.gate is not None:
            parts.append(f"gate {self.gate}")
        if self.backward:
            parts.append("backward")
        return ", ".join(parts) or "top level"


TOP = Scope()
"""Outside of any network."""

current: ContextVar[Scope] = ContextVar("scope", default=TOP)


class _Here:
    @property
    def scope(self) -> Scope:
        return current.get()

    @scope.setter
    def scope(self, scope: Scope) -> None:
        current.set(scope)


here = _Here()
"""The current scope, per thread: `here.scope`."""


class at:
    """Mark what is recorded inside the `with` block with a place.

    Arguments: `time` (the input's index, int), `layer` (int), `direction` ("forward" or "reverse"),
    `gate` and `module` (str). Coordinates that are not named keep the surrounding value. A recurrent layer
    that reads a sequence inside counts its steps from `time`; from `start`, where there is no time.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> with tg.at(time=3, layer=0, direction="forward"):
    ...     y = tg.ops.tanh(x)
    >>> tg.trace(y).nodes[-1].time
    3
    """

    __slots__ = ("_before", "_places")

    def __init__(self, **places: Any) -> None:
        """Take the coordinates; TypeError for a name that is none, ValueError for an unknown direction."""
        unknown = places.keys() - set(Scope._fields)
        if unknown:
            raise TypeError(f"expected coordinates {Scope._fields}, got {sorted(unknown)}")
        if places.get("direction") not in (None, "forward", "reverse"):
            raise ValueError(f"expected direction 'forward' or 'reverse', got {places['direction']!r}")
        self._places = places
        self._before: list[Scope] = []

    def __enter__(self) -> Scope:
        self._before.append(here.scope)
        here.scope = here.scope._replace(**self._places)
        return here.scope

    def __exit__(self, *exc: object) -> None:
        here.scope = self._before.pop()


def part(name: str) -> at:
    """Mark what is recorded inside the `with` block as a part of the module that is running."""
    path = here.scope.module
    return at(module=f"{path}.{name}" if path else name)
