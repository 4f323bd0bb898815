"""Recurrent networks joined with others: behind a convolution, under or over a Transformer, before CTC.

Each takes what it joins and calls one after the other; in a picture every part is a group of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.modes import no_grad
from tinygrad_rnn.namespaces import asarray
from tinygrad_rnn.nn import ctc, functional
from tinygrad_rnn.nn.linear import Linear
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.nn.packed import check_lengths
from tinygrad_rnn.nn.recurrence import Recurrence
from tinygrad_rnn.nn.recurrent import GRU, LSTM, RNN
from tinygrad_rnn.nn.transformer import TransformerEncoder
from tinygrad_rnn.tensor import Tensor

LAYERS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


def padding_mask(lengths: Any, steps: int, device: str | None = None) -> Tensor:
    """(N, T): True in the padding of sequences of these lengths, as attention takes it.

    >>> padding_mask([2, 3], 3)
    tensor([[False, False,  True],
            [False, False, False]])
    """
    found = check_lengths(lengths, steps, len(lengths))
    return Tensor(asarray(np.arange(steps) >= found[:, None], device=device))


class ConvRecurrent(Module):
    """A convolution, whose output a recurrent layer reads: frames of a clip, rows of an image, a sound.

    A clip (T, N, C, H, W) is convolved frame by frame, all at once; each frame's features are one step. What
    is convolved whole, (N, C, L) or (N, C, H, W), is read along `time_axis` of the convolution's output: 2
    for the rows of an image or the steps of a series, 3 for a spectrogram with time across.

    Args:
        conv: any module of images or series, a Sequential of Conv2d, ReLU, MaxPool2d, …
        recurrent: a layer as wide as a step's features, not batch_first.

    Returns what the recurrent layer returns: output (T, N, D·H) and the last states. Raises ValueError for
    features of another width.

    >>> import tinygrad_rnn as tg
    >>> conv = tg.nn.Sequential(tg.nn.Conv2d(1, 4, 3, padding=1), tg.nn.ReLU(), tg.nn.MaxPool2d((1, 2)))
    >>> rows = tg.nn.ConvRecurrent(conv, tg.nn.GRU(4 * 4, 10))
    >>> output, h_n = rows(tg.zeros(5, 1, 8, 8))
    >>> output.shape, h_n.shape
    ((8, 5, 10), (1, 5, 10))
    >>> frames = tg.nn.ConvRecurrent(conv, tg.nn.GRU(4 * 8 * 4, 10))
    >>> frames(tg.zeros(7, 5, 1, 8, 8))[0].shape
    (7, 5, 10)
    """

    def __init__(self, conv: Module, recurrent: Recurrence, time_axis: int = 2) -> None:
        self.conv, self.recurrent, self.time_axis = conv, _time_first(recurrent), time_axis

    def forward(self, x: Any, hx: Any = None, *, lengths: Any = None) -> Any:
        """Convolve x, then read it; `lengths` counts the steps that are read."""
        features = self.features(x)
        if features.shape[-1] != self.recurrent.input_size:
            came = f"{features.shape[-1]} from {x.shape}"
            raise ValueError(f"expected {self.recurrent.input_size} features at every step, got {came}")
        return self.recurrent(features, hx, lengths=lengths)

    def features(self, x: Any) -> Any:
        """What is read: (T, N, F)."""
        if x.ndim == 5:
            y = self.conv(ops.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:])))
            return ops.reshape(y, (*x.shape[:2], -1))
        y = ops.moveaxis(self.conv(x), self.time_axis, 0)
        return ops.reshape(y, (*y.shape[:2], math.prod(y.shape[2:])))


class RecurrentTransformer(Module):
    """A recurrent layer, then a Transformer encoder over its outputs: order from one, reach from the other.

    x (T, N, I) → (T, N, E). Raises ValueError unless the recurrent layer's outputs have the encoder's width.

    >>> import tinygrad_rnn as tg
    >>> layer = tg.nn.TransformerEncoderLayer(d_model=8, nhead=2, dim_feedforward=16)
    >>> lstm, encoder = tg.nn.LSTM(3, 4, bidirectional=True), tg.nn.TransformerEncoder(layer, num_layers=1)
    >>> net = tg.nn.RecurrentTransformer(lstm, encoder)
    >>> net(tg.zeros(5, 2, 3), lengths=[5, 3]).shape
    (5, 2, 8)
    """

    def __init__(self, recurrent: Recurrence, encoder: TransformerEncoder) -> None:
        _check_width("encoder", _width(encoder), _output_size(recurrent))
        self.recurrent, self.encoder = _time_first(recurrent), encoder

    def forward(self, x: Any, hx: Any = None, *, lengths: Any = None, is_causal: bool = False) -> Any:
        """Read x, then let every step look at all that are there (with is_causal, at none later)."""
        output, _ = self.recurrent(x, hx, lengths=lengths)
        return self.encoder(output, None, _mask(lengths, output), is_causal)


class TransformerRecurrent(Module):
    """A Transformer encoder, and a recurrent layer that reads what it says: reach first, then memory.

    x (T, N, E) → what the recurrent layer returns, output (T, N, D·H) and the last states. `positions`, a
    PositionalEncoding, is optional: the recurrent layer knows the order in any case.

    >>> import tinygrad_rnn as tg
    >>> layer = tg.nn.TransformerEncoderLayer(d_model=8, nhead=2, dim_feedforward=16)
    >>> net = tg.nn.TransformerRecurrent(tg.nn.TransformerEncoder(layer, 1), tg.nn.GRU(8, 4))
    >>> output, h_n = net(tg.zeros(5, 2, 8))
    >>> output.shape, h_n.shape
    ((5, 2, 4), (1, 2, 4))
    """

    def __init__(
        self, encoder: TransformerEncoder, recurrent: Recurrence, positions: Module | None = None
    ) -> None:
        _check_width("recurrent layer", recurrent.input_size, _width(encoder))
        self.positions, self.encoder, self.recurrent = positions, encoder, _time_first(recurrent)

    def forward(self, x: Any, hx: Any = None, *, lengths: Any = None, is_causal: bool = False) -> Any:
        """Let every step of x look at all that are there, then read along time."""
        x = x if self.positions is None else self.positions(x)
        return self.recurrent(self.encoder(x, None, _mask(lengths, x), is_causal), hx, lengths=lengths)


class CTCRecognizer(Module):
    """Recurrent layers that say at every step which label it is, or none yet: trained by CTC, unaligned.

    x (T, N, I) → log-probabilities (T, N, C); class 0 is the blank. `config` is all that is needed to make it
    again (`tg.save_network`). Source: Graves et al. 2006.

    >>> import tinygrad_rnn as tg
    >>> net, x = tg.nn.CTCRecognizer(3, num_classes=5, hidden_size=4), tg.randn(9, 2, 3)
    >>> net.loss(x, [[1, 2, 2], [3, 4, 0]], lengths=[9, 7], target_lengths=[3, 2]).shape
    ()
    >>> [len(beams) for beams in net.beam(x, beam_width=3)]
    [3, 3]
    """

    def __init__(
        self, input_size: int, num_classes: int, hidden_size: int = 64, num_layers: int = 1,
        cell: str = "lstm", bidirectional: bool = True, dropout: float = 0.0, device: str | None = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        if cell not in LAYERS:
            raise ValueError(f"expected cell among {sorted(LAYERS)}, got {cell!r}")
        self.config = {
            "input_size": input_size, "num_classes": num_classes, "hidden_size": hidden_size,
            "num_layers": num_layers, "cell": cell, "bidirectional": bidirectional, "dropout": dropout,
        }  # fmt: skip
        self.recurrent = LAYERS[cell](
            input_size, hidden_size, num_layers, bidirectional=bidirectional, dropout=dropout,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.head = Linear(_output_size(self.recurrent), num_classes, device=device, dtype=dtype)

    def forward(self, x: Any, lengths: Any = None) -> Any:
        """The log-probabilities of all classes at every step, (T, N, C)."""
        output, _ = self.recurrent(x, lengths=lengths)
        return ops.log_softmax(self.head(output), axis=-1)

    def loss(self, x: Any, targets: Any, lengths: Any = None, target_lengths: Any = None) -> Any:
        """The CTC loss of targets (N, S), or all in one row; each as long as its row where none is given.

        Raises ValueError where a target is too long for its input.
        """
        log_probs = self(x, lengths)
        steps, n = log_probs.shape[:2]
        ends = np.full(n, steps) if lengths is None else lengths
        whole = np.full(n, np.shape(targets)[-1]) if target_lengths is None else target_lengths
        ctc.check_room(log_probs, targets, ends, whole)
        return functional.ctc_loss(log_probs, targets, ends, whole)

    def greedy(self, x: Any, lengths: Any = None) -> list[list[int]]:
        """What the most probable path reads as, for each sequence."""
        with no_grad():
            return ctc.ctc_greedy_decode(self(x, lengths), lengths)

    def beam(self, x: Any, lengths: Any = None, beam_width: int = 16) -> list[list[tuple[list[int], float]]]:
        """The most probable labellings of each sequence, (labels, log p), best first."""
        with no_grad():
            return ctc.ctc_beam_decode(self(x, lengths), lengths, beam_width=beam_width)


def _time_first(recurrent: Recurrence) -> Recurrence:
    if recurrent.batch_first:
        raise ValueError("expected a recurrent layer that reads (T, N, F), got one with batch_first=True")
    return recurrent


def _output_size(recurrent: Recurrence) -> int:
    """The width of its output: D·H, or D·P with a projection."""
    return recurrent.num_directions * (getattr(recurrent, "proj_size", 0) or recurrent.hidden_size)


def _width(encoder: TransformerEncoder) -> int:
    width: int = encoder.layers[0].self_attn.embed_dim
    return width


def _check_width(what: str, expected: int, got: int) -> None:
    if expected != got:
        raise ValueError(f"expected features of the {what}'s width {expected}, got {got}")


def _mask(lengths: Any, x: Any) -> Tensor | None:
    return None if lengths is None else padding_mask(lengths, x.shape[0], x.device)
