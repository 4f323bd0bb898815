"""Transformers: layers of attention and small networks, with a shortcut around each.

PyTorch's names and defaults throughout, so weights load both ways. x is (T, N, E); with
batch_first it is (N, T, E), and (T, E) for one example.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.namespaces import get_default_dtype, on_device
from tinygrad_rnn.nn import init
from tinygrad_rnn.nn.attention import MultiheadAttention
from tinygrad_rnn.nn.containers import ModuleList
from tinygrad_rnn.nn.linear import Dropout, Linear
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.nn.norm import LayerNorm
from tinygrad_rnn.scope import part
from tinygrad_rnn.tensor import Tensor

Activation = str | Callable[[Any], Any]
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": ops.relu, "gelu": ops.gelu}


class PositionalEncoding(Module):
    """x + sines and cosines of the position, then dropout: sin(t/10000^(2i/E)), cos(t/10000^(2i/E)).

    ValueError for more than `max_len` steps, or another width. Source: Vaswani et al. 2017, section 3.5.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.PositionalEncoding(4, dropout=0.0)(tg.zeros(2, 1, 4))[:, 0]
    tensor([[0.        , 1.        , 0.        , 1.        ],
            [0.84147096, 0.5403023 , 0.00999983, 0.99995   ]])
    """

    pe: Tensor

    def __init__(
        self, d_model: int, dropout: float = 0.1, max_len: int = 5000, batch_first: bool = False,
        device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        self.d_model, self.max_len, self.batch_first = d_model, max_len, batch_first
        self.dropout = Dropout(dropout)
        rates = np.exp(np.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        angles = np.arange(max_len)[:, None] * rates
        table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(max_len, -1)[:, :d_model]
        kind = get_default_dtype() if dtype is None else dtype
        places = on_device(device, lambda xp: xp.asarray(table, dtype=kind))
        self.register_buffer("pe", Tensor(places), persistent=False)

    def forward(self, x: Any) -> Any:
        """x, told where each of its steps stands."""
        axis = 1 if self.batch_first and x.ndim == 3 else 0
        if x.ndim not in (2, 3) or x.shape[-1] != self.d_model or x.shape[axis] > self.max_len:
            expected = f"at most {self.max_len} steps of width {self.d_model}"
            raise ValueError(f"expected {expected}, got {x.shape}, batch_first={self.batch_first}")
        places = Tensor(self.pe.data[: x.shape[axis]])
        return self.dropout(x + (ops.expand_dims(places, 1) if x.ndim == 3 and axis == 0 else places))


class _Layer(Module):
    """What encoder and decoder layers share: the small network, and shortcuts around every part."""

    def _network(
        self, d_model: int, dim_feedforward: int, dropout: float, activation: Activation, norms: int,
        eps: float, bias: bool, norm_first: bool, device: str | None, dtype: Any,
    ) -> None:  # fmt: skip
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(f"expected activation 'relu', 'gelu' or a function, got {activation!r}")
        self.linear1 = Linear(d_model, dim_feedforward, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, device, dtype)
        self.norm_first = norm_first
        for number in range(1, norms + 1):
            setattr(self, f"norm{number}", LayerNorm(d_model, eps, bias=bias, device=device, dtype=dtype))
        for number in range(1, norms + 1):
            setattr(self, f"dropout{number}", Dropout(dropout))
        self.activation = ACTIVATIONS[activation] if isinstance(activation, str) else activation

    def _around(self, number: int, work: Callable[[Any], Any], x: Any) -> Any:
        """norm(x + work(x)), or with norm_first x + work(norm(x))."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        y = dropout(work(norm(x) if self.norm_first else x))
        with part(f"add{number}"):
            y = x + y
        return y if self.norm_first else norm(y)

    def _feed_forward(self, x: Any) -> Any:
        y = self.linear1(x)
        with part("activation"):
            y = self.activation(y)
        return self.linear2(self.dropout(y))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then a small network, each with a shortcut: `torch.nn.TransformerEncoderLayer`.

    x ← norm(x + attention(x)), x ← norm(x + W₂ f(W₁ x)); the norm comes first with norm_first. f is "relu",
    "gelu" or a function. Source: Vaswani et al. 2017, section 3.1.

    >>> import tinygrad_rnn as tg
    >>> layer = tg.nn.TransformerEncoderLayer(d_model=8, nhead=2, dim_feedforward=16)
    >>> layer(tg.randn(5, 3, 8), is_causal=True).shape
    (5, 3, 8)
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        made = {"batch_first": batch_first, "device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, **made)
        self._network(
            d_model, dim_feedforward, dropout, activation, 2, layer_norm_eps, bias, norm_first, device, dtype
        )

    def forward(
        self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Any:
        """The layer of src (T, N, E); masks as in `MultiheadAttention`."""

        def look(x: Any) -> Any:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]

        x = self._around(1, look, src)
        return self._around(2, self._feed_forward, x)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the encoder's memory, a small network: `torch.nn.TransformerDecoderLayer`.

    >>> import tinygrad_rnn as tg
    >>> layer = tg.nn.TransformerDecoderLayer(d_model=8, nhead=2, dim_feedforward=16)
    >>> layer(tg.randn(4, 3, 8), tg.randn(5, 3, 8), tgt_is_causal=True).shape
    (4, 3, 8)
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        made = {"batch_first": batch_first, "device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, **made)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, **made)
        self._network(
            d_model, dim_feedforward, dropout, activation, 3, layer_norm_eps, bias, norm_first, device, dtype
        )

    def forward(
        self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None,
        tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None, tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:  # fmt: skip
        """The layer of tgt (T, N, E), looking at memory (S, N, E) too; masks as in MultiheadAttention."""

        def look(x: Any) -> Any:
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]

        def remember(x: Any) -> Any:
            return self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )[0]

        x = self._around(1, look, tgt)
        x = self._around(2, remember, x)
        return self._around(3, self._feed_forward, x)


class _Stack(Module):
    """So many copies of a layer, each with weights of its own that start alike, as in PyTorch."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        if num_layers < 1:
            raise ValueError(f"expected at least one layer, got {num_layers}")
        self.layers = ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.num_layers, self.norm = num_layers, norm

    def _through(self, x: Any, *args: Any) -> Any:
        for layer in self.layers:
            x = layer(x, *args)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """Encoder layers one after the other, and a last norm if there is one: `torch.nn.TransformerEncoder`.

    >>> import tinygrad_rnn as tg
    >>> layer = tg.nn.TransformerEncoderLayer(d_model=8, nhead=2, dim_feedforward=16)
    >>> tg.nn.TransformerEncoder(layer, num_layers=2)(tg.randn(5, 3, 8)).shape
    (5, 3, 8)
    """

    def forward(
        self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None
    ) -> Any:
        """src (T, N, E) through all layers; masks as in `MultiheadAttention`."""
        return self._through(src, mask, src_key_padding_mask, bool(is_causal))


class TransformerDecoder(_Stack):
    """Decoder layers one after the other, and a last norm if there is one: `torch.nn.TransformerDecoder`."""

    def forward(
        self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None,
        tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Any:  # fmt: skip
        """tgt (T, N, E) through all layers, each of which looks at memory (S, N, E)."""
        return self._through(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            bool(tgt_is_causal), memory_is_causal,
        )  # fmt: skip


class Transformer(Module):
    """An encoder, and a decoder that looks at what it made: `torch.nn.Transformer`.

    src (S, N, E), tgt (T, N, E) → (T, N, E), before any projection to words; with batch_first N is the first
    axis. Matrices start as Xavier's, uniform. Source: Vaswani et al. 2017, figure 1.

    >>> import tinygrad_rnn as tg
    >>> net = tg.nn.Transformer(d_model=8, nhead=2, num_encoder_layers=1, num_decoder_layers=1)
    >>> tgt_mask = net.generate_square_subsequent_mask(4)
    >>> net(tg.randn(5, 3, 8), tg.randn(4, 3, 8), tgt_mask=tgt_mask).shape
    (4, 3, 8)
    """

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
        dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = "relu",
        custom_encoder: Module | None = None, custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True,
        device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        def stack(kind: Any, layer: Any, count: int) -> Module:
            one = layer(
                d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first,
                bias, device, dtype,
            )  # fmt: skip
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
            return kind(one, count, norm)  # type: ignore[no-any-return]  # either stack

        self.encoder = custom_encoder or stack(
            TransformerEncoder, TransformerEncoderLayer, num_encoder_layers
        )
        self.decoder = custom_decoder or stack(
            TransformerDecoder, TransformerDecoderLayer, num_decoder_layers
        )
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self, src: Any, tgt: Any, src_mask: Any = None, tgt_mask: Any = None, memory_mask: Any = None,
        src_key_padding_mask: Any = None, tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None, src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Any:  # fmt: skip
        """What the decoder makes of tgt, having seen src; masks as in `MultiheadAttention`."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal,
            memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: str | None = None, dtype: Any = None) -> Tensor:
        """(T, T): -inf above the diagonal, so that no step looks ahead, and zeros."""
        kind = get_default_dtype() if dtype is None else dtype
        ahead = np.triu(np.full((sz, sz), -math.inf), 1)
        return Tensor(on_device(device, lambda xp: xp.asarray(ahead, dtype=kind)))
