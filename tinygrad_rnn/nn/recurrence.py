"""What all recurrent layers share: everything but the step.

Stacked, in both directions, over padded and packed batches: this file brings input, states and output into
PyTorch's shapes, checks them before any work, and runs each layer's step along time (`unroll`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn import namespaces, ops
from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.nn import packed
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.nn.packed import PackedSequence, check_lengths
from tinygrad_rnn.nn.stream import Stream
from tinygrad_rnn.nn.unroll import DIRECTIONS, Mask, States, unroll
from tinygrad_rnn.scope import at, here
from tinygrad_rnn.tape import Origin
from tinygrad_rnn.tensor import Tensor, label
from tinygrad_rnn.unfuse import along_time, each_step, side_by_side


class _Mode(threading.local):
    fused = True


_mode = _Mode()


@contextmanager
def fused(on: bool = True) -> Iterator[None]:
    """Inside the `with` block, run recurrent layers by their kernels (the default) or operation by operation.

    Values and gradients are the same, within rounding. By its kernel a layer is a single node of the tape;
    `trace`, `flow`, pictures and second derivatives replay its definition.

    >>> import tinygrad_rnn as tg
    >>> rnn, x = tg.nn.RNN(3, 4), tg.zeros(5, 2, 3)
    >>> with tg.fused(False):
    ...     by_operations, _ = rnn(x)
    >>> rnn(x)[0].node.plan.name, by_operations.node.plan.name
    ('RNN', 'stack')
    """
    before, _mode.fused = _mode.fused, on
    try:
        yield
    finally:
        _mode.fused = before


@cache
def _kernels() -> Any:
    """`kernels.fused`, loaded at first use, so that importing the library is quick."""
    from tinygrad_rnn.kernels import fused

    return fused


class Recurrence(Module):
    """What all recurrent layers share: everything but the step itself.

    A subclass says `_step(layer, direction)` → (x_t, state) → state, `_state_names` and `_state_sizes`.
    """

    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    dropout: float
    bidirectional: bool
    return_gates: bool = False

    def _configure(
        self, hidden_size: int, num_layers: int, batch_first: bool, dropout: float, bidirectional: bool
    ) -> None:
        if hidden_size < 1 or num_layers < 1:
            raise ValueError(f"expected sizes ≥ 1, got hidden_size={hidden_size}, num_layers={num_layers}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"expected a dropout probability between 0 and 1, got {dropout}")
        self.hidden_size, self.num_layers, self.batch_first = hidden_size, num_layers, batch_first
        self.dropout, self.bidirectional = float(dropout), bidirectional

    @property
    def num_directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def _step(self, layer: int, direction: int) -> Callable[[Any, Any], Any]:
        raise NotImplementedError

    def _readable(self, layer: int, direction: int, x: Tensor) -> Readable:
        """The step, as kernels are generated from it."""
        raise NotImplementedError

    def _state_names(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _state_sizes(self) -> tuple[int, ...]:
        raise NotImplementedError

    def _weights_dtype(self) -> Any:
        return next(self.parameters()).dtype

    def forward(
        self, input: Any, hx: Any = None, *, lengths: Any = None, return_gates: bool | None = None
    ) -> tuple[Any, ...]:
        """Read whole sequences.

        Args:
            input: (T, N, I); (N, T, I) with batch_first; (T, I) for one sequence; or a PackedSequence.
            hx: the states to start from, (layers·D, N, H) each, a tuple if there are two; zeros by default.
            lengths: one int ≥ 1 per sequence, in any order. Padded steps give zero output and no gradient,
                and the reverse direction starts at each sequence's own end.
            return_gates: also give a dict, gate or state (whatever the step names with `tg.label`) → its
                values (layers·D, T, N, H).

        Returns:
            output (T, N, D·H), h of the last layer at every step; and the last states, (layers·D, N, H) each,
            ordered l0, l0_reverse, l1, …: of each sequence its own last.

        Raises:
            ValueError, TypeError: in one sentence what was expected and what came, before any work.
        """
        if here.scope.time is not None:
            with at(start=here.scope.time, time=None):
                return self.forward(input, hx, lengths=lengths, return_gates=return_gates)
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, lengths, return_gates)
        return self._padded(input, hx, lengths, return_gates)

    def _padded(self, input: Any, hx: Any, lengths: Any, return_gates: bool | None) -> tuple[Any, ...]:
        x, batched = self._time_first(input)
        steps, batch = x.shape[:2]
        starts = self._starts(hx, x, batched)
        mask = None if lengths is None else Mask(check_lengths(lengths, steps, batch), steps, x.device)
        if mask is not None and mask.there.all():
            mask = None
        wants_gates = self.return_gates if return_gates is None else return_gates
        output, ends, gates = self._run(x if mask is None else mask.zeroed(x), starts, mask, wants_gates)
        states = tuple(_stacked(found) for found in zip(*ends, strict=True))
        if not batched:
            output, states = output[:, 0], tuple(s[:, 0] for s in states)
            gates = {name: values[:, :, 0] for name, values in gates.items()}
        elif self.batch_first:
            output = ops.swapaxes(output, 0, 1)
            gates = {name: ops.swapaxes(values, 1, 2) for name, values in gates.items()}
        result = (output, states if len(states) > 1 else states[0])
        return (*result, gates) if wants_gates else result

    def _run(
        self, x: Tensor, starts: list[States], mask: Mask | None, wants_gates: bool
    ) -> tuple[Tensor, list[States], dict[str, Tensor]]:
        """All layers, both directions: output (T, N, D·H), the last states, the gates."""
        if _mode.fused and not wants_gates:
            try:
                return (*self._run_fused(x, starts, mask), {})
            except _kernels().NotCompilable as reason:
                _kernels().log.debug("%s runs operation by operation: %s", type(self).__name__, reason)
        xs = along_time(x)
        ends: list[States] = []
        gates = _Gates(len(starts), len(xs)) if wants_gates else None
        for layer in range(self.num_layers):
            found = []
            for d in range(self.num_directions):
                k = len(ends)
                hs, end = unroll(
                    self._step(layer, d), xs, starts[k], layer=layer, direction=DIRECTIONS[d], mask=mask,
                    look=gates.looker(k) if gates is not None else None,
                )  # fmt: skip
                found.append(hs)
                ends.append(end)
            xs = side_by_side(found)
            if self.training and self.dropout and layer < self.num_layers - 1:
                xs = each_step(lambda h: ops.dropout(h, self.dropout), xs)
        output = ops.stack(xs, axis=0)
        return mask.zeroed(output) if mask is not None else output, ends, gates.stacked(mask) if gates else {}

    def _run_fused(self, x: Tensor, starts: list[States], mask: Mask | None) -> tuple[Tensor, list[States]]:
        """The same, each layer and direction as one node; raises NotCompilable."""
        kernels = _kernels()
        ends: list[States] = []
        names = self._state_names()
        for layer in range(self.num_layers):
            directions = []
            for d in range(self.num_directions):
                readable = self._readable(layer, d, x)
                made = kernels.Layer(
                    type(self).__name__, readable.step, _definition(readable.run, layer, DIRECTIONS[d], mask),
                    ops.stack if mask is None else mask.stacked, d == 1, layer,
                )  # fmt: skip
                states = dict(zip(names, starts[len(ends) + d], strict=True))
                directions.append(kernels.Direction(made, states, readable.weights, readable.constants))
            found = kernels.run_layers(directions, x, None if mask is None else mask.lengths)
            ends += [tuple(end) for _, *end in found]
            x = kernels.beside([y for y, *_ in found])
            if self.training and self.dropout and layer < self.num_layers - 1:
                x = ops.dropout(x, self.dropout)
        return x, ends

    def _packed(
        self, input: PackedSequence, hx: Any, lengths: Any, return_gates: bool | None
    ) -> tuple[Any, ...]:
        if lengths is not None:
            raise ValueError("expected no lengths with a PackedSequence, which has its own, got both")
        x, _ = packed.pad_packed_sequence(input, batch_first=self.batch_first)
        output, *rest = self._padded(x, hx, input.lengths, return_gates)
        in_order = input.sorted_indices is None
        repacked = packed.pack_padded_sequence(
            output, input.lengths, self.batch_first, enforce_sorted=in_order
        )
        return (input._replace(data=repacked.data), *rest)

    # -- checks ----------------------------------------------------------------------------------------

    def _time_first(self, input: Any) -> tuple[Tensor, bool]:
        """The input as (T, N, I), and whether it was a batch."""
        x = input if isinstance(input, Tensor) else Tensor(namespaces.asarray(input))
        batched = x.ndim == 3
        order = "(N, T, {})" if self.batch_first else "(T, N, {})"
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            expected = f"{order.format(self.input_size)} or (T, {self.input_size})"
            raise ValueError(f"expected input {expected}, got {x.shape}")
        if x.dtype != self._weights_dtype():
            raise TypeError(f"expected input of {self._weights_dtype()}, like the weights, got {x.dtype}")
        if not batched:
            x = ops.expand_dims(x, 1)
        elif self.batch_first:
            x = ops.swapaxes(x, 0, 1)
        if x.shape[0] == 0:
            raise ValueError(f"expected at least one time step, got input {input.shape}")
        return x, batched

    def _starts(self, hx: Any, x: Tensor, batched: bool) -> list[States]:
        """The states to start from, for every layer and direction."""
        names, sizes = self._state_names(), self._state_sizes()
        rows = self.num_layers * self.num_directions
        batch = x.shape[1]
        if hx is None:
            xp = namespace(x.data)
            zeros = [xp.zeros((batch, size), dtype=x.dtype) for size in sizes]
            return [tuple(Tensor(z) for z in zeros) for _ in range(rows)]
        given = hx if isinstance(hx, tuple | list) else (hx,)
        if len(given) != len(names) or not all(isinstance(s, Tensor) for s in given):
            came = ", ".join(type(s).__name__ for s in given)
            raise TypeError(f"expected initial states ({', '.join(names)}) as Tensors, got ({came})")
        found = []
        for name, size, state in zip(names, sizes, given, strict=True):
            shape = (rows, batch, size) if batched else (rows, size)
            if state.shape != shape:
                what = "(layers·D, N, H)" if batched else "(layers·D, H)"
                raise ValueError(f"expected initial {name} {what} = {shape}, got {state.shape}")
            if state.dtype != x.dtype:
                raise TypeError(f"expected initial {name} of {x.dtype}, like the input, got {state.dtype}")
            rowwise = state if batched else ops.expand_dims(state, 1)
            found.append([self._start(name, rowwise[k], state.origin, k) for k in range(rows)])
        return list(zip(*found, strict=True))

    def _start(self, name: str, state: Tensor, origin: Origin | None, row: int) -> Tensor:
        """One row's first state, named; one that was detached stays the state of the step before, cut off."""
        if origin is None or not origin.cut:
            named: Tensor = label(**{f"{name}_0": state})
            return named
        layer, d = divmod(row, self.num_directions)
        time = here.scope.start - 1 if here.scope.start and not d else None
        scope = here.scope._replace(layer=layer, direction=DIRECTIONS[d], time=time)
        return Tensor(state.data, None, origin._replace(name=name, scope=scope))

    def stream(self, state: Any = None) -> Stream:
        """One step at a time, equal to the whole sequence: `stream.step(x_t)` gives the output at t.

        `state` is as `hx`. Raises ValueError for a bidirectional network: its output needs the future.

        >>> import tinygrad_rnn as tg
        >>> stream = tg.nn.GRU(3, 5).stream()
        >>> stream.step(tg.zeros(2, 3)).shape
        (2, 5)
        """
        return Stream(self, state)

    def program(self, layer: int = 0, direction: int = 0) -> Any:
        """What one step computes between its matrix products, forward and backward: kernels are made of it.

        Print it; it is a `kernels.program.Program`. Raises NotCompilable, saying why, for a step that can
        only run operation by operation.

        >>> import tinygrad_rnn as tg
        >>> print(tg.nn.RNN(3, 5, bias=False).program())
        forward
          v0 = product(x, weight_ih, transposed=True) + product(h₋, weight_hh, transposed=True)
          v1 = tanh(v0)
        backward
          g2 = v1²
          g3 = 1 - g2
          g4 = ∂h·g3
        saved: nothing but the states
        """
        from tinygrad_rnn.kernels.reading import read

        sizes = self._state_sizes()
        width = self.input_size if layer == 0 else self.num_directions * sizes[0]
        readable = self._readable(layer, direction, Tensor(np.zeros((1, 1, width), self._weights_dtype())))
        weights = {name: None if w is None else w.shape for name, w in readable.weights.items()}
        constants = {name: c.shape[-1] for name, c in readable.constants.items()}
        states = dict(zip(self._state_names(), sizes, strict=True))
        return read(readable.step, width, states, weights, constants)

    def flatten_parameters(self) -> None:
        """Nothing to do here; PyTorch's code calls it."""


def _stacked(rows: tuple[Tensor, ...]) -> Tensor:
    """The states of all layers and directions as one; a single one that is not recorded, uncopied."""
    if any(row.node is not None for row in rows):
        recorded: Tensor = ops.stack(rows, axis=0)
        return recorded
    first = rows[0].data
    return Tensor(first[None] if len(rows) == 1 else namespace(first).stack([row.data for row in rows]))


class Readable(NamedTuple):
    """A step in both its forms: with its weights inside, and as a function of them."""

    run: Callable[[Any, Any], Any]
    step: Callable[[Any, Any, Any], Any]
    weights: dict[str, Tensor | None]
    constants: dict[str, Tensor]
    """Further values that the step finds among its weights: rows that are the same at all steps."""


def _definition(
    step: Callable[[Any, Any], Any], layer: int, direction: str, mask: Mask | None
) -> Callable[[Any, States], tuple[list[Tensor], States]]:
    """`unroll` for one layer and direction, from an input that is whole or in steps."""

    def run(x: Any, states: States) -> tuple[list[Tensor], States]:
        xs = along_time(x) if isinstance(x, Tensor) else x
        return unroll(step, xs, states, layer=layer, direction=direction, mask=mask)

    return run


class _Gates:
    """Collects the named values of every step."""

    def __init__(self, rows: int, steps: int) -> None:
        self.found: dict[str, list[list[Any]]] = {}
        self.rows, self.steps = rows, steps

    def looker(self, row: int) -> Callable[[int, dict[str, Tensor]], None]:
        def look(t: int, values: dict[str, Tensor]) -> None:
            for name, value in values.items():
                table = self.found.setdefault(name, [[None] * self.steps for _ in range(self.rows)])
                table[row][t] = value

        return look

    def stacked(self, mask: Mask | None) -> dict[str, Tensor]:
        gates = {}
        for name, table in self.found.items():
            some = next(value for value in table[0] if value is not None)
            filled = [
                ops.stack([ops.zeros_like(some) if v is None else v for v in row], axis=0) for row in table
            ]
            values = ops.stack(filled, axis=0)
            gates[name] = values if mask is None else mask.zeroed(values)
        return gates
