"""RNN, LSTM and GRU: a definition from `cells`, with weights under PyTorch's names for every layer."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tinygrad_rnn import ops
from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.nn import cells, init
from tinygrad_rnn.nn.cells import Definition
from tinygrad_rnn.nn.recurrence import Readable, Recurrence
from tinygrad_rnn.nn.unroll import parts
from tinygrad_rnn.tensor import Tensor


class Weighted(Recurrence):
    """A recurrent layer that runs a Definition with weights under PyTorch's names."""

    def __init__(
        self, definition: Definition, input_size: int, hidden_size: int, num_layers: int, bias: bool,
        batch_first: bool, dropout: float, bidirectional: bool, device: str | None, dtype: Any, *,
        proj_size: int = 0, recurrent_dropout: float = 0.0, return_gates: bool = False,
        forget_bias: float | None = None,
    ) -> None:  # fmt: skip
        if input_size < 1:
            raise ValueError(f"expected input_size ≥ 1, got {input_size}")
        if not 0 <= recurrent_dropout < 1:
            raise ValueError(f"expected recurrent_dropout in [0, 1), got {recurrent_dropout}")
        self._configure(hidden_size, num_layers, batch_first, dropout, bidirectional)
        self.input_size, self.bias, self.proj_size = input_size, bias, proj_size
        self.recurrent_dropout, self.return_gates = float(recurrent_dropout), return_gates
        self.definition = definition
        self._places: dict[tuple[int, int], dict[str, str]] = {}
        for layer in range(num_layers):
            width = input_size if layer == 0 else self.num_directions * (proj_size or hidden_size)
            shapes = definition.shapes(width, hidden_size, proj_size, bias)
            for d in range(self.num_directions):
                cells.make_weights(self, shapes, suffix(layer, d), device, dtype)
                names = {name + suffix(layer, d): name for name in shapes}
                cells.start_weights(self, names, hidden_size, forget_bias)
                self._places[layer, d] = names

    def _state_names(self) -> tuple[str, ...]:
        return self.definition.states

    def _state_sizes(self) -> tuple[int, ...]:
        return self.definition.sizes(self.hidden_size, self.proj_size)

    def _weights_dtype(self) -> Any:
        return self.weight_ih_l0.dtype  # type: ignore[attr-defined]  # `make_weights` attaches it by name

    def weights(self, layer: int, direction: int = 0) -> SimpleNamespace:
        """The weights of one layer and direction, by their short names, as a step reads them."""
        given = vars(self)
        places = self._places[layer, direction].items()
        return SimpleNamespace(keep=None, **{name: given[place] for place, name in places})

    def _readable(self, layer: int, direction: int, x: Tensor) -> Readable:
        w, step = self.weights(layer, direction), self.definition.step
        if self.training and self.recurrent_dropout:
            size = self.proj_size or self.hidden_size
            ones = Tensor(namespace(x.data).ones((x.shape[1], size), dtype=x.dtype))
            w.keep = ops.dropout(ones, self.recurrent_dropout)
        constants = {} if w.keep is None else {"keep": w.keep}
        named = {name: value for name, value in vars(w).items() if name not in constants}
        return Readable(lambda x, state: step(x, state, w), step, named, constants)

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

    `init`: "identity" starts W_hh at the identity, biases at zero and W_ih at N(0, 0.001²) (Le et al. 2015,
    made for relu); "orthogonal" starts W_hh at an orthogonal matrix (Saxe et al. 2014).

    >>> import tinygrad_rnn as tg
    >>> output, h_n = tg.nn.RNN(3, 5, num_layers=2, bidirectional=True)(tg.zeros(7, 2, 3))
    >>> output.shape, h_n.shape
    ((7, 2, 10), (4, 2, 5))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        device: str | None = None, dtype: Any = None, *, init: str = "uniform",
        recurrent_dropout: float = 0.0, return_gates: bool = False,
    ) -> None:  # fmt: skip
        if init not in ("uniform", "identity", "orthogonal"):
            raise ValueError(f"expected init 'uniform', 'identity' or 'orthogonal', got {init!r}")
        super().__init__(
            cells.rnn_definition(nonlinearity, bool(recurrent_dropout)), input_size, hidden_size, num_layers,
            bias, batch_first, dropout, bidirectional, device, dtype, recurrent_dropout=recurrent_dropout,
            return_gates=return_gates,
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

    Beyond it: `peephole` (Gers & Schmidhuber 2000), `layer_norm` (Ba et al. 2016), `coupled` (i = 1 - f,
    weights stack f, g, o), `forget_bias` (the start of f's bias), `recurrent_dropout`, `return_gates`.

    >>> import tinygrad_rnn as tg
    >>> output, (h_n, c_n) = tg.nn.LSTM(3, 5, proj_size=4)(tg.zeros(7, 2, 3))
    >>> output.shape, h_n.shape, c_n.shape
    ((7, 2, 4), (1, 2, 4), (1, 2, 5))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: str | None = None, dtype: Any = None, *, peephole: bool = False, layer_norm: bool = False,
        forget_bias: float | None = None, coupled: bool = False, recurrent_dropout: float = 0.0,
        return_gates: bool = False,
    ) -> None:  # fmt: skip
        if proj_size and not 0 < proj_size < hidden_size:
            raise ValueError(
                f"expected proj_size between 0 and hidden_size - 1 = {hidden_size - 1}, got {proj_size}"
            )
        if forget_bias is not None and not bias:
            raise ValueError("expected bias=True with a forget_bias, got bias=False")
        definition = cells.lstm_definition(peephole, coupled, layer_norm, bool(recurrent_dropout))
        super().__init__(
            definition, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device, dtype, proj_size=proj_size, recurrent_dropout=recurrent_dropout,
            return_gates=return_gates, forget_bias=forget_bias,
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
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        device: str | None = None, dtype: Any = None, *, reset_after: bool = True,
        recurrent_dropout: float = 0.0, return_gates: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            cells.gru_definition(reset_after, bool(recurrent_dropout)), input_size, hidden_size, num_layers,
            bias, batch_first, dropout, bidirectional, device, dtype, recurrent_dropout=recurrent_dropout,
            return_gates=return_gates,
        )  # fmt: skip
        self.reset_after = reset_after
