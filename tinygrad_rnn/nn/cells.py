"""One step of a recurrent network, written once.

Each `…_step(x, state, w)` is a pure function of the input, the state before and the weights: run on Tensors
it is recorded, run on symbols it is its own formula. The cells of this file, the layers in `recurrent` and
whatever is generated from a definition all run these very lines. `label` names what a picture should show.

A `Definition` is such a step with what must be known around it: how many gates its weights stack, the
names of its states, and the shapes of its weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.nn import init
from tinygrad_rnn.nn.module import Module, make_parameter
from tinygrad_rnn.ops import linear, relu, sigmoid, split, standardize, tanh
from tinygrad_rnn.tensor import Tensor, label

Step = Callable[[Any, Any, Any], Any]
"""(x_t, state, weights) → the new state."""

# -- the steps -----------------------------------------------------------------------------------------


def rnn_step(x: Any, h: Any, w: Any) -> Any:
    """h = tanh(W_ih x + b_ih + W_hh h₋ + b_hh)   (Elman 1990)."""
    return label(h=tanh(linear(x, w.weight_ih, w.bias_ih) + linear(h, w.weight_hh, w.bias_hh)))


def relu_step(x: Any, h: Any, w: Any) -> Any:
    """h = relu(W_ih x + b_ih + W_hh h₋ + b_hh)   (Le et al. 2015)."""
    return label(h=relu(linear(x, w.weight_ih, w.bias_ih) + linear(h, w.weight_hh, w.bias_hh)))


def lstm_step(x: Any, state: Any, w: Any) -> Any:
    """c = f⊙c₋ + i⊙g,  h = o⊙tanh c   (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    Where there is a projection, h = W_hr (o⊙tanh c)   (Sak et al. 2014).
    """
    h, c = state
    a = linear(x, w.weight_ih, w.bias_ih) + linear(h, w.weight_hh, w.bias_hh)
    i, f, g, o = split(a, 4, axis=-1)
    i, f, g, o = label(i=sigmoid(i), f=sigmoid(f), g=tanh(g), o=sigmoid(o))
    c = label(c=f * c + i * g)
    h = o * tanh(c)
    h = label(h=h if w.weight_hr is None else linear(h, w.weight_hr))
    return h, c


def lstm_variant_step(
    x: Any, state: Any, w: Any, peephole: bool = False, coupled: bool = False, layer_norm: bool = False
) -> Any:
    """The LSTM with any of: peepholes, i = 1 - f, layer norm.

    Peepholes (Gers & Schmidhuber 2000): i and f see c₋, o sees c, each entry its own. Coupled gates
    (Greff et al. 2017): the weights stack f, g, o. Layer norm (Ba et al. 2016): of both products and of c.
    """
    h, c = state
    a, b = linear(x, w.weight_ih), linear(h, w.weight_hh)
    if layer_norm:
        a, b = standardize(a) * w.gain_ih, standardize(b) * w.gain_hh
    a = a + b if w.bias_ih is None else a + b + w.bias_ih + w.bias_hh
    i, f, g, o = (None, *split(a, 3, axis=-1)) if coupled else split(a, 4, axis=-1)
    f = label(f=sigmoid(f + w.weight_cf * c if peephole else f))
    i = label(i=1 - f if coupled else sigmoid(i + w.weight_ci * c if peephole else i))
    g = label(g=tanh(g))
    c = label(c=f * c + i * g)
    o = label(o=sigmoid(o + w.weight_co * c if peephole else o))
    h = o * tanh(standardize(c) * w.gain_c + w.shift_c if layer_norm else c)
    h = label(h=h if w.weight_hr is None else linear(h, w.weight_hr))
    return h, c


def gru_step(x: Any, h: Any, w: Any) -> Any:
    """n = tanh(W_in x + b_in + r⊙(W_hn h₋ + b_hn)),  h = (1 - z)⊙n + z⊙h₋   (Cho et al. 2014)."""
    r_x, z_x, n_x = split(linear(x, w.weight_ih, w.bias_ih), 3, axis=-1)
    r_h, z_h, n_h = split(linear(h, w.weight_hh, w.bias_hh), 3, axis=-1)
    r, z = label(r=sigmoid(r_x + r_h), z=sigmoid(z_x + z_h))
    n = label(n=tanh(n_x + r * n_h))
    return label(h=(1 - z) * n + z * h)


def gru_variant_step(x: Any, h: Any, w: Any, reset_after: bool = True) -> Any:
    """The GRU with recurrent dropout (`w.keep`), or with the reset gate before the product.

    n = tanh(W_in x + b_in + W_hn (r⊙h₋) + b_hn): Cho et al. 2014; ONNX's linear_before_reset=0.
    """
    seen = h if w.keep is None else h * w.keep
    r_x, z_x, n_x = split(linear(x, w.weight_ih, w.bias_ih), 3, axis=-1)
    W_r, W_z, W_n = split(w.weight_hh, 3, axis=0)
    b_r, b_z, b_n = (None, None, None) if w.bias_hh is None else split(w.bias_hh, 3, axis=0)
    r, z = label(r=sigmoid(r_x + linear(seen, W_r, b_r)), z=sigmoid(z_x + linear(seen, W_z, b_z)))
    n = label(n=tanh(n_x + (r * linear(seen, W_n, b_n) if reset_after else linear(r * seen, W_n, b_n))))
    return label(h=(1 - z) * n + z * h)


def masked(step: Step, x: Any, state: Any, w: Any) -> Any:
    """Another step, which sees h₋ through one mask for all times (Gal & Ghahramani 2016)."""
    if w.keep is None:
        return step(x, state, w)
    return step(x, (state[0] * w.keep, *state[1:]) if isinstance(state, tuple) else state * w.keep, w)


# -- what must be known around a step ------------------------------------------------------------------


class Definition(NamedTuple):
    """A step, how many gates its weights stack, its states, and which weights it has beyond the usual."""

    step: Step
    gates: int
    states: tuple[str, ...] = ("h",)
    extras: tuple[str, ...] = ()

    def shapes(
        self, input_size: int, hidden_size: int, proj_size: int = 0, bias: bool = True
    ) -> dict[str, Any]:
        """Weight → shape, in PyTorch's order; the names of absent ones map to None."""
        rows, out = self.gates * hidden_size, proj_size or hidden_size
        every = {
            "weight_ih": (rows, input_size), "weight_hh": (rows, out),
            "bias_ih": (rows,) if bias else None, "bias_hh": (rows,) if bias else None,
            "weight_hr": (proj_size, hidden_size) if proj_size else None,
        }  # fmt: skip
        return {
            **every,
            **{n: (rows,) if n in ("gain_ih", "gain_hh") else (hidden_size,) for n in self.extras},
        }

    def sizes(self, hidden_size: int, proj_size: int = 0) -> tuple[int, ...]:
        """The length of each state: h is shorter than c where it is projected."""
        return tuple(proj_size or hidden_size if name == "h" else hidden_size for name in self.states)


def rnn_definition(nonlinearity: str = "tanh", dropped: bool = False) -> Definition:
    """The simple recurrent network; ValueError for a nonlinearity other than "tanh" or "relu"."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"expected nonlinearity 'tanh' or 'relu', got {nonlinearity!r}")
    step = rnn_step if nonlinearity == "tanh" else relu_step
    return Definition(partial(masked, step) if dropped else step, gates=1)


def lstm_definition(
    peephole: bool = False, coupled: bool = False, layer_norm: bool = False, dropped: bool = False
) -> Definition:
    """The LSTM, as in the textbook or with its variants."""
    extras = ("weight_ci",) * (peephole and not coupled) + ("weight_cf", "weight_co") * peephole
    extras += ("gain_ih", "gain_hh", "gain_c", "shift_c") * layer_norm
    step: Step = lstm_step
    if peephole or coupled or layer_norm:
        step = partial(lstm_variant_step, peephole=peephole, coupled=coupled, layer_norm=layer_norm)
    return Definition(partial(masked, step) if dropped else step, 3 if coupled else 4, ("h", "c"), extras)


def gru_definition(reset_after: bool = True, dropped: bool = False) -> Definition:
    """The GRU, as in PyTorch, or in its variants."""
    variant = partial(gru_variant_step, reset_after=reset_after)
    return Definition(gru_step if reset_after and not dropped else variant, gates=3)


def make_weights(module: Module, shapes: dict[str, Any], suffix: str, device: str | None, dtype: Any) -> None:
    """Give the module a Parameter for every shape, under its name and suffix."""
    for name, shape in shapes.items():
        setattr(module, name + suffix, None if shape is None else make_parameter(shape, device, dtype))


def start_weights(
    module: Module, names: dict[str, str], hidden_size: int, forget_bias: float | None = None
) -> None:
    """PyTorch's start, U(±1/√H) for all; gains at one, shifts at zero, the forget gate's bias where given.

    `names` maps each attribute to the weight that it is.
    """
    bound = 1 / math.sqrt(hidden_size) if hidden_size else 0.0
    for attribute, name in names.items():
        weight = getattr(module, attribute)
        if weight is None:
            continue
        if name.startswith("gain"):
            init.ones_(weight)
        elif name.startswith("shift"):
            init.zeros_(weight)
        else:
            init.uniform_(weight, -bound, bound)
        if forget_bias is not None and name.startswith("bias_"):
            first = 0 if weight.shape[0] == 3 * hidden_size else hidden_size
            weight.data[first : first + hidden_size] = forget_bias if name == "bias_ih" else 0.0


# -- cells as modules ----------------------------------------------------------------------------------


class Cell(Module):
    """A definition with weights of its own: one step at a time, for loops that one writes oneself."""

    def __init__(
        self,
        definition: Definition,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: str | None,
        dtype: Any,
    ) -> None:
        if input_size < 1 or hidden_size < 1:
            raise ValueError(f"expected sizes ≥ 1, got input_size={input_size}, hidden_size={hidden_size}")
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self.definition = definition
        shapes = definition.shapes(input_size, hidden_size, bias=bias)
        make_weights(self, shapes, "", device, dtype)
        self._names = tuple(shapes)
        start_weights(self, {name: name for name in shapes}, hidden_size)

    def initial_state(self, batch: tuple[int, ...], like: Tensor) -> Any:
        """Zeros for each state, of `like`'s dtype, on its device."""
        xp = namespace(like.data)
        sizes = self.definition.sizes(self.hidden_size)
        zeros = tuple(Tensor(xp.zeros((*batch, size), dtype=like.dtype)) for size in sizes)
        return zeros if len(zeros) > 1 else zeros[0]

    def forward(self, x: Tensor, state: Any = None) -> Any:
        """The state after reading x (N, I) or (I): a Tensor, or (h, c); from zeros where none is given."""
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(f"expected input (N, {self.input_size}) or ({self.input_size},), got {x.shape}")
        if state is None:
            state = self.initial_state(x.shape[:-1], x)
        return self.definition.step(x, state, self.weights())

    def weights(self) -> SimpleNamespace:
        """The weights by name, as a step reads them."""
        return SimpleNamespace(keep=None, **{name: getattr(self, name) for name in self._names})

    def extra_repr(self) -> str:
        """input_size, hidden_size and what is not by default."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(Cell):
    """h = tanh(W_ih x + b_ih + W_hh h₋ + b_hh), or with relu; `torch.nn.RNNCell`.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.RNNCell(3, 5)(tg.zeros(2, 3)).shape
    (2, 5)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(rnn_definition(nonlinearity), input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity


class LSTMCell(Cell):
    """c = f⊙c₋ + i⊙g, h = o⊙tanh c, gates stacked i, f, g, o; `torch.nn.LSTMCell`.

    >>> import tinygrad_rnn as tg
    >>> h, c = tg.nn.LSTMCell(3, 5)(tg.zeros(2, 3))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: str | None = None,
        dtype: Any = None, *, peephole: bool = False, coupled: bool = False, layer_norm: bool = False,
    ) -> None:  # fmt: skip
        definition = lstm_definition(peephole, coupled, layer_norm)
        super().__init__(definition, input_size, hidden_size, bias, device, dtype)


class GRUCell(Cell):
    """n = tanh(W_in x + b_in + r⊙(W_hn h₋ + b_hn)), h = (1 - z)⊙n + z⊙h₋, stacked r, z, n.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.GRUCell(3, 5)(tg.zeros(2, 3)).shape
    (2, 5)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: str | None = None,
        dtype: Any = None, *, reset_after: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(gru_definition(reset_after), input_size, hidden_size, bias, device, dtype)
