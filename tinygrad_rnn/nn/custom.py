"""A cell of one's own, stacked and in both directions.

A cell is a Module with `input_size`, `hidden_size` and `forward(x_t, state)` → the new state, a Tensor or a
tuple whose first is h. Nothing else is asked of it: how many states it has, it says by what it returns.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from tinygrad_rnn.modes import no_grad
from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.nn.cells import Cell
from tinygrad_rnn.nn.containers import ModuleList
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.nn.recurrence import Readable, Recurrence
from tinygrad_rnn.nn.unroll import parts
from tinygrad_rnn.tensor import Tensor

_MOST_STATES = 4


class Recurrent(Recurrence):
    """Runs any cell along time; called, and returning, as `LSTM` and the others are.

    Args:
        cell: a cell, for one layer and direction; or a function of (input_size), which makes any number.
        input_size: the width of the input. With a function and no width, cells are made at the first call.
        num_layers, bidirectional, batch_first, dropout: as in `LSTM`.

    >>> import tinygrad_rnn as tg
    >>> class Leaky(tg.nn.Module):
    ...     def __init__(self, input_size, hidden_size):
    ...         super().__init__()
    ...         self.input_size, self.hidden_size = input_size, hidden_size
    ...         self.drive = tg.nn.Linear(input_size, hidden_size)
    ...     def forward(self, x_t, h):
    ...         return 0.9 * h + 0.1 * tg.ops.tanh(self.drive(x_t))
    >>> rnn = tg.nn.Recurrent(lambda width: Leaky(width, 5), num_layers=2, bidirectional=True, input_size=3)
    >>> output, h_n = rnn(tg.zeros(7, 2, 3))
    >>> output.shape, h_n.shape
    ((7, 2, 10), (4, 2, 5))
    """

    def __init__(
        self, cell: Module | Callable[[int], Module], num_layers: int = 1, bidirectional: bool = False,
        batch_first: bool = False, dropout: float = 0.0, *, input_size: int | None = None,
    ) -> None:  # fmt: skip
        self._configure(1, num_layers, batch_first, dropout, bidirectional)
        self._make: Callable[[int], Module] | None = None
        self._sizes: tuple[int, ...] = ()
        if isinstance(cell, Module):
            count = num_layers * self.num_directions
            if count > 1:
                raise ValueError(
                    f"expected a function of (input_size) that makes cells, for {count} layers × directions, "
                    f"got one {type(cell).__name__}"
                )
            self._take([cell])
        else:
            self._make = cell
            if input_size is not None:
                self._fill(input_size)

    def _fill(self, width: int) -> None:
        assert self._make is not None
        made: list[Any] = []
        for layer in range(self.num_layers):
            made += [self._make(width) for _ in range(self.num_directions)]
            width = made[-1].hidden_size * self.num_directions if layer < self.num_layers - 1 else width
        self._take(made)

    def _take(self, made: list[Any]) -> None:
        for cell in made:
            if not all(hasattr(cell, name) for name in ("input_size", "hidden_size", "forward")):
                raise TypeError(
                    f"expected cells with input_size, hidden_size and forward, got {type(cell).__name__}"
                )
            for name, parameter in cell.named_parameters():
                parameter.name = name
        self.input_size, self.hidden_size = made[0].input_size, made[-1].hidden_size
        self.cells = ModuleList(made)

    def named_children(self) -> Any:
        """The cells; ValueError before the first call where no width has been given."""
        if not hasattr(self, "cells"):
            raise ValueError("expected input_size=… or a first call before the cells exist, got neither")
        return super().named_children()

    def forward(
        self, input: Any, hx: Any = None, *, lengths: Any = None, return_gates: bool | None = None
    ) -> Any:
        """As `LSTM` and the others; see there."""
        if not hasattr(self, "cells"):
            data = getattr(input, "data", input)
            self._fill(
                int(getattr(data, "data", data).shape[-1] if isinstance(data, Tensor) else data.shape[-1])
            )
        return super().forward(input, hx, lengths=lengths, return_gates=return_gates)

    def _step(self, layer: int, direction: int) -> Callable[[Any, Any], Any]:
        step: Callable[[Any, Any], Any] = self.cells[layer * self.num_directions + direction].forward
        return step

    def _readable(self, layer: int, direction: int, x: Tensor) -> Readable:
        cell = self.cells[layer * self.num_directions + direction]
        if isinstance(cell, Cell):
            return Readable(cell.forward, cell.definition.step, vars(cell.weights()), {})
        step = _steps.get(cell) or _steps.setdefault(cell, _Step(cell))
        return Readable(cell.forward, step, dict(cell.named_parameters()), {})

    def _state_names(self) -> tuple[str, ...]:
        return ("h", "c", *(f"s{i}" for i in range(2, _MOST_STATES)))[: len(self._state_sizes())]

    def _state_sizes(self) -> tuple[int, ...]:
        if not self._sizes:
            self._sizes = self._asked()
        return self._sizes

    def _asked(self) -> tuple[int, ...]:
        """How many states there are, and how long: try one, then two, … on zeros, until as many come back."""
        cell = self.cells[0]
        like = next(self.parameters()).data
        xp = namespace(like)
        first: Exception | None = None
        for count in range(1, _MOST_STATES + 1):
            zeros = tuple(_Zeros(xp.zeros((1, cell.hidden_size), dtype=like.dtype)) for _ in range(count))
            x = Tensor(xp.zeros((1, cell.input_size), dtype=like.dtype))
            try:
                with no_grad():
                    found = parts(cell.forward(x, zeros if count > 1 else zeros[0]))
            except Exception as error:
                first = first or error
                continue
            if len(found) == count:
                return tuple(s.shape[-1] for s in found)
        raise TypeError(
            f"expected {type(cell).__name__}.forward(x_t, state) to take and return one Tensor or a tuple of "
            f"up to {_MOST_STATES}, each (N, hidden_size); it failed with: {first}"
        )


class _Step:
    """A cell's `forward` as a function of its weights too: they take its parameters' places for the call."""

    def __init__(self, cell: Module) -> None:
        self.cell = weakref.ref(cell)

    def __call__(self, x: Any, state: Any, w: Any) -> Any:
        cell: Any = self.cell()
        modules: dict[str, Any] = dict(cell.named_modules())
        kept = []
        try:
            for path, value in vars(w).items():
                owner, _, name = path.rpartition(".")
                kept.append((modules[owner].__dict__, name, modules[owner].__dict__[name]))
                modules[owner].__dict__[name] = value
            return cell.forward(x, state)
        finally:
            for attributes, name, value in kept:
                attributes[name] = value


_steps: weakref.WeakKeyDictionary[Module, _Step] = weakref.WeakKeyDictionary()


class _Zeros(Tensor):
    """A state that does not let itself be mistaken for a tuple of states."""

    __slots__ = ()

    def __iter__(self) -> Any:
        raise TypeError("one state is no tuple of states")

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int):
            raise TypeError("one state is no tuple of states")
        return Tensor(self.data)[key]
