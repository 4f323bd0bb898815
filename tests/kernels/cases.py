"""Cells to generate kernels from: the built-in ones, and one that nobody has written a kernel for."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, ops
from tinygrad_rnn.kernels.fused import Direction, Layer, run_layers
from tinygrad_rnn.kernels.reading import read
from tinygrad_rnn.nn.cells import gru_definition, lstm_definition, rnn_definition
from tinygrad_rnn.nn.unroll import Mask, unroll
from tinygrad_rnn.unfuse import along_time

needs_llvm = pytest.mark.skipif(
    importlib.util.find_spec("llvmlite") is None, reason="needs llvmlite, which is not installed"
)
emitters = pytest.mark.parametrize("emitted_by", ["numpy", pytest.param("llvm", marks=needs_llvm)])


def invented_step(x, state, w):
    """Two states, a joined input, a weight used in two places, a vector times a row, kinks."""
    a, b = state
    z = ops.sigmoid(ops.linear(ops.concatenate([x, a], axis=-1), w.W, w.p))
    n = ops.tanh(ops.linear(ops.concatenate([x, z * a], axis=-1), w.V) * w.p + b)
    return z * a + (1 - z) * n * w.keep, ops.relu(b * 0.9) + ops.maximum(n, a) * 0.1


def sliced_step(x, state, w):
    """An LSTM without output gate, whose gates are cut out by slices."""
    h, c = state
    z = ops.linear(x, w.W, w.b) + ops.linear(h, w.R)
    H = HIDDEN
    c = ops.sigmoid(z[:, :H]) * c + ops.sigmoid(z[:, H : 2 * H]) * ops.tanh(z[..., -H:])
    return ops.tanh(c), c


def pieces_step(x, h, w):
    """A value that is used whole and in pieces, after it has been scaled; a vector beside no product."""
    q = 0.5 * (ops.linear(x, w.W) + ops.linear(h, w.R))
    z, k = q + w.b, h + w.p
    u = ops.sigmoid(z[:, :HIDDEN] + ops.linear(k[:, :2], w.U) - ops.linear(k[:, 2:], w.U))
    return u * ops.tanh(z[:, HIDDEN:]) + ops.linear(q[:, 2:4], w.U) + ops.linear(ops.tanh(z), w.V) + h


def odd_step(x, h, w):
    """Pieces that begin anywhere, of the input too, which is also used whole."""
    z = 1.5 * ops.linear(ops.tanh(x), w.W)
    return ops.sin(z[:, 1:5]) * h + ops.sin(z[:, 5:9] + x[:, 1:5]) + ops.linear(z, w.V)


class MinimalGated(nn.Module):
    """A cell that a user might write (Zhou et al. 2016)."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.forget = nn.Linear(input_size + hidden_size, hidden_size, dtype="float64")
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size, dtype="float64")

    def forward(self, x_t, h):
        f = tg.label(f=ops.sigmoid(self.forget(ops.concatenate([x_t, h], axis=-1))))
        n = tg.label(n=ops.tanh(self.candidate(ops.concatenate([x_t, f * h], axis=-1))))
        return (1 - f) * h + f * n


@dataclass(frozen=True)
class Case:
    step: object
    states: tuple[str, ...]
    shapes: dict
    widths: dict[str, int]
    constants: tuple[str, ...] = ()


INPUT, HIDDEN = 6, 4


def built_in(definition, proj_size=0, bias=True):
    shapes = definition.shapes(INPUT, HIDDEN, proj_size=proj_size, bias=bias)
    widths = dict(zip(definition.states, definition.sizes(HIDDEN, proj_size), strict=True))
    return Case(definition.step, definition.states, {"keep": None, **shapes}, widths)


CASES = {
    "rnn": built_in(rnn_definition()),
    "relu": built_in(rnn_definition("relu")),
    "lstm": built_in(lstm_definition()),
    "lstm without bias": built_in(lstm_definition(), bias=False),
    "projection": built_in(lstm_definition(), proj_size=3),
    "peephole": built_in(lstm_definition(peephole=True)),
    "coupled": built_in(lstm_definition(coupled=True, peephole=True)),
    "gru": built_in(gru_definition()),
    "reset before": built_in(gru_definition(reset_after=False)),
    "sliced": Case(
        sliced_step, ("h", "c"),
        {"W": (3 * HIDDEN, INPUT), "R": (3 * HIDDEN, HIDDEN), "b": (3 * HIDDEN,)},
        {"h": HIDDEN, "c": HIDDEN},
    ),
    "pieces": Case(
        pieces_step, ("h",),
        {"W": (2 * HIDDEN, INPUT), "R": (2 * HIDDEN, HIDDEN), "b": (2 * HIDDEN,), "V": (HIDDEN, 2 * HIDDEN),
         "U": (HIDDEN, 2), "p": (HIDDEN,)},
        {"h": HIDDEN},
    ),
    "invented": Case(
        invented_step, ("a", "b"),
        {"W": (HIDDEN, INPUT + HIDDEN), "V": (HIDDEN, INPUT + HIDDEN), "p": (HIDDEN,)},
        {"a": HIDDEN, "b": HIDDEN}, ("keep",),
    ),
}  # fmt: skip


ODD = {"odd": Case(odd_step, ("h",), {"W": (3 * HIDDEN, INPUT), "V": (HIDDEN, 3 * HIDDEN)}, {"h": HIDDEN})}
"""Not for GPUs, whose rows divide into as many features as the shortest has."""


class Run:
    """A case with values: run by its kernel, and by its definition."""

    def __init__(self, case, rng, dtype, reverse=False, steps=5, rows=4, lengths=None):
        draw = lambda *shape: tg.tensor(rng.standard_normal(shape).astype(dtype) * 0.7, requires_grad=True)
        self.case, self.reverse = case, reverse
        self.weights = {name: None if s is None else draw(*s) for name, s in case.shapes.items()}
        self.x = draw(steps, rows, INPUT)
        self.states = {name: draw(rows, width) for name, width in case.widths.items()}
        self.constants = {name: draw(rows, HIDDEN).detach() for name in case.constants}
        self.lengths = None if lengths is None else np.array(lengths)
        self.mask = None if lengths is None else Mask(self.lengths, steps, tg.get_default_device())
        w = SimpleNamespace(**self.weights, **self.constants)
        way = "reverse" if reverse else "forward"

        def unrolled(x, states):
            step = lambda x_t, state: case.step(x_t, state, w)
            return unroll(step, along_time(x), states, layer=0, direction=way, mask=self.mask)

        gather = ops.stack if self.mask is None else self.mask.stacked
        self.layer = Layer("Cell", case.step, unrolled, gather, reverse)

    @property
    def inputs(self):
        return [self.x, *self.states.values(), *(w for w in self.weights.values() if w is not None)]

    def fused(self):
        direction = Direction(self.layer, self.states, self.weights, self.constants)
        (outputs,) = run_layers([direction], self.x, self.lengths)
        return outputs

    def defined(self):
        hs, ends = self.layer.unroll(self.x, tuple(self.states.values()))
        return (self.layer.gather(hs), *ends)


def program_of(case):
    return read(case.step, INPUT, case.widths, case.shapes, dict.fromkeys(case.constants, HIDDEN))
