"""RNN, LSTM and GRU: stacked, in both directions, over padded and packed batches.

Every layer and direction runs the step of its definition (`cells`) along time (`unroll`); this file brings
input, states and output into PyTorch's shapes and checks them before any work.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tinygrad_rnn import namespaces, ops
from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.nn import cells, init, packed
from tinygrad_rnn.nn.cells import Definition
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.nn.packed import PackedSequence, check_lengths
from tinygrad_rnn.nn.stream import Stream
from tinygrad_rnn.nn.unroll import DIRECTIONS, Mask, States, along_time, joined, parts, unroll
from tinygrad_rnn.scope import at
from tinygrad_rnn.tensor import Tensor, label


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
            lengths: one int ≥ 1 per sequence, in any order. Padded steps give zero output and no gradient, and
                the reverse direction starts at each sequence's own end.
            return_gates: also give a dict, gate or state → its values (layers·D, T, N, H).

        Returns:
            output (T, N, D·H), h of the last layer at every step; and the last states, (layers·D, N, H) each, ordered
            l0, l0_reverse, l1, …: of each sequence its own last.

        Raises:
            ValueError, TypeError: in one sentence what was expected and what came, before any work.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, lengths, return_gates)
        x, batched = self._time_first(input)
        steps, batch = x.shape[:2]
        starts = self._starts(hx, x, batched)
        mask = None if lengths is None else Mask(check_lengths(lengths, steps, batch), steps, x.device)
        if mask is not None and mask.there.all():
            mask = None
        wants_gates = self.return_gates if return_gates is None else return_gates
        output, ends, gates = self._run(x if mask is None else mask.zeroed(x), starts, mask, wants_gates)
        states = tuple(ops.stack(found, axis=0) for found in zip(*ends, strict=True))
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
            xs = joined(found)
            if self.training and self.dropout and layer < self.num_layers - 1:
                xs = self._dropped(xs)
        output = ops.stack(xs, axis=0)
        return mask.zeroed(output) if mask is not None else output, ends, gates.stacked(mask) if gates else {}

    def _dropped(self, xs: list[Tensor]) -> list[Tensor]:
        found = []
        for t, x in enumerate(xs):
            with at(time=t):
                found.append(ops.dropout(x, self.dropout))
        return found

    def _packed(self, input: PackedSequence, hx: Any, lengths: Any, return_gates: bool | None) -> tuple[Any, ...]:
        if lengths is not None:
            raise ValueError("expected no lengths with a PackedSequence, which has its own, got both")
        x, _ = packed.pad_packed_sequence(input, batch_first=self.batch_first)
        output, *rest = self.forward(x, hx, lengths=input.lengths, return_gates=return_gates)
        in_order = input.sorted_indices is None
        repacked = packed.pack_padded_sequence(output, input.lengths, self.batch_first, enforce_sorted=in_order)
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
            found.append([label(**{f"{name}_0": rowwise[k]}) for k in range(rows)])
        return list(zip(*found, strict=True))

    def stream(self, state: Any = None) -> Stream:
        """One step at a time, equal to the whole sequence: `stream.step(x_t)` gives the output at t.

        `state` is as `hx`. Raises ValueError for a bidirectional network: its output needs the future.

        >>> import tinygrad_rnn as tg
        >>> stream = tg.nn.GRU(3, 5).stream()
        >>> stream.step(tg.zeros(2, 3)).shape
        (2, 5)
        """
        return Stream(self, state)

    def flatten_parameters(self) -> None:
        """Nothing to do here; PyTorch's code calls it."""


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
            filled = [ops.stack([ops.zeros_like(some) if v is None else v for v in row], axis=0) for row in table]
            values = ops.stack(filled, axis=0)
            gates[name] = values if mask is None else mask.zeroed(values)
        return gates


class Weighted(Recurrence):
    """A recurrent layer that runs a Definition with weights under PyTorch's names."""

    def __init__(
        self, definition: Definition, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool,
        dropout: float, bidirectional: bool, device: str | None, dtype: Any, *, proj_size: int = 0,
        recurrent_dropout: float = 0.0, return_gates: bool = False, forget_bias: float | None = None,
    ) -> None:  # fmt: skip
        if input_size < 1:
            raise ValueError(f"expected input_size ≥ 1, got {input_size}")
        if not 0 <= recurrent_dropout < 1:
            raise ValueError(f"expected recurrent_dropout in [0, 1), got {recurrent_dropout}")
        self._configure(hidden_size, num_layers, batch_first, dropout, bidirectional)
        self.input_size, self.bias, self.proj_size = input_size, bias, proj_size
        self.recurrent_dropout, self.return_gates = float(recurrent_dropout), return_gates
        self.definition = definition
        for layer in range(num_layers):
            width = input_size if layer == 0 else self.num_directions * (proj_size or hidden_size)
            shapes = definition.shapes(width, hidden_size, proj_size, bias)
            for d in range(self.num_directions):
                cells.make_weights(self, shapes, suffix(layer, d), device, dtype)
                names = {name + suffix(layer, d): name for name in shapes}
                cells.start_weights(self, names, hidden_size, forget_bias)
        self._names = tuple(shapes)

    def _state_names(self) -> tuple[str, ...]:
        return self.definition.states

    def _state_sizes(self) -> tuple[int, ...]:
        return self.definition.sizes(self.hidden_size, self.proj_size)

    def _weights_dtype(self) -> Any:
        return self.weight_ih_l0.dtype  # type: ignore[attr-defined]

    def weights(self, layer: int, direction: int = 0) -> SimpleNamespace:
        """The weights of one layer and direction, by their short names, as a step reads them."""
        end = suffix(layer, direction)
        return SimpleNamespace(keep=None, **{name: getattr(self, name + end) for name in self._names})

    def _step(self, layer: int, direction: int) -> Callable[[Any, Any], Any]:
        w, step = self.weights(layer, direction), self.definition.step
        p = self.recurrent_dropout if self.training else 0.0

        def run(x: Any, state: Any) -> Any:
            if p and w.keep is None:
                h = parts(state)[0]
                w.keep = ops.dropout(Tensor(namespace(h.data).ones_like(h.data)), p)
            return step(x, state, w)

        return run

    def extra_repr(self) -> str:
        """Sizes, and what is not by default."""
        said = [f"{self.input_size}, {self.hidden_size}"]
        if self.num_layers > 1:
            said.append(f"num_layers={self.num_layers}")
        if not self.bias:
            said.append("bias=False")
        for name in ("batch_first", "dropout", "bidirectional", "proj_size", "recurrent_dropout"):
            if getattr(self, name):
                said.append(f"{name}={getattr(self, name)}")
        return ", ".join(said)


def suffix(layer: int, direction: int) -> str:
    """The end of a weight's name: "_l0", "_l0_reverse", "_l1", …"""
    return f"_l{layer}" + "_reverse" * direction


class RNN(Weighted):
    """h = tanh(W_ih x + b_ih + W_hh h₋ + b_hh), or with relu; as `torch.nn.RNN`.

    `init`: "identity" starts W_hh at the identity, biases at zero and W_ih at N(0, 0.001²) (Le et al. 2015, made
    for relu); "orthogonal" starts W_hh at an orthogonal matrix (Saxe et al. 2014).

    >>> import tinygrad_rnn as tg
    >>> output, h_n = tg.nn.RNN(3, 5, num_layers=2, bidirectional=True)(tg.zeros(7, 2, 3))
    >>> output.shape, h_n.shape
    ((7, 2, 10), (4, 2, 5))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: str | None = None,
        dtype: Any = None, *, init: str = "uniform", recurrent_dropout: float = 0.0, return_gates: bool = False,
    ) -> None:  # fmt: skip
        if init not in ("uniform", "identity", "orthogonal"):
            raise ValueError(f"expected init 'uniform', 'identity' or 'orthogonal', got {init!r}")
        super().__init__(
            cells.rnn_definition(nonlinearity, bool(recurrent_dropout)), input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, device, dtype, recurrent_dropout=recurrent_dropout, return_gates=return_gates,
        )  # fmt: skip
        self.nonlinearity = nonlinearity
        if init != "uniform":
            self._restart(init)

    def _restart(self, how: str) -> None:
        for name, weight in self.named_parameters(recurse=False):
            if name.startswith("weight_hh"):
                init.eye_(weight) if how == "identity" else init.orthogonal_(weight)
            elif how == "identity":
                init.normal_(weight, std=0.001) if name.startswith("weight") else init.zeros_(weight)

class LSTM(Weighted):
    """c = f⊙c₋ + i⊙g, h = o⊙tanh c, gates stacked i, f, g, o; as `torch.nn.LSTM`.

    Beyond it: `peephole` (Gers & Schmidhuber 2000), `layer_norm` (Ba et al. 2016), `coupled` (i = 1 - f, weights
    stack f, g, o), `forget_bias` (the start of f's bias), `recurrent_dropout`, `return_gates`.

    >>> import tinygrad_rnn as tg
    >>> output, (h_n, c_n) = tg.nn.LSTM(3, 5, proj_size=4)(tg.zeros(7, 2, 3))
    >>> output.shape, h_n.shape, c_n.shape
    ((7, 2, 4), (1, 2, 4), (1, 2, 5))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: str | None = None,
        dtype: Any = None, *, peephole: bool = False, layer_norm: bool = False, forget_bias: float | None = None,
        coupled: bool = False, recurrent_dropout: float = 0.0, return_gates: bool = False,
    ) -> None:  # fmt: skip
        if proj_size and not 0 < proj_size < hidden_size:
            raise ValueError(f"expected proj_size between 0 and hidden_size - 1 = {hidden_size - 1}, got {proj_size}")
        if forget_bias is not None and not bias:
            raise ValueError("expected bias=True with a forget_bias, got bias=False")
        definition = cells.lstm_definition(peephole, coupled, layer_norm, proj_size, bool(recurrent_dropout))
        super().__init__(
            definition, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            proj_size=proj_size, recurrent_dropout=recurrent_dropout, return_gates=return_gates, forget_bias=forget_bias,
        )  # fmt: skip


class GRU(Weighted):
    """n = tanh(W_in x + b_in + r⊙(W_hn h₋ + b_hn)), h = (1 - z)⊙n + z⊙h₋, stacked r, z, n; as `torch.nn.GRU`.

    `reset_after=False` takes the reset gate before the product, as in Cho et al. 2014 (ONNX's
    linear_before_reset=0). Beyond PyTorch too: `recurrent_dropout`, `return_gates`.

    >>> import tinygrad_rnn as tg
    >>> output, h_n = tg.nn.GRU(3, 5, batch_first=True)(tg.zeros(2, 7, 3), lengths=[4, 7])
    >>> output.shape, bool((output[0, 4:] == 0).all())
    ((2, 7, 5), True)
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, device: str | None = None, dtype: Any = None,
        *, reset_after: bool = True, recurrent_dropout: float = 0.0, return_gates: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            cells.gru_definition(reset_after, bool(recurrent_dropout)), input_size, hidden_size, num_layers, bias,
            batch_first, dropout, bidirectional, device, dtype, recurrent_dropout=recurrent_dropout,
            return_gates=return_gates,
        )  # fmt: skip
        self.reset_after = reset_after
