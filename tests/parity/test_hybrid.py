"""Hybrid networks beside the same networks written with PyTorch: outputs and every gradient."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make parity")

import tinygrad_rnn as tg
from benchmarks.parity_modules import difference
from tinygrad_rnn import nn


class Theirs:
    """The parts of a hybrid in PyTorch, under its names."""

    def __init__(self, mine):
        self.parts = {name: tg.to_torch(part) for name, part in mine.named_children() if name != "attention"}
        if getattr(mine, "attention", None) is not None:
            self.parts |= {f"attention.{n}": tg.to_torch(part) for n, part in mine.attention.named_children()}

    def __getitem__(self, name):
        return self.parts[name]

    def gradients(self):
        return {
            f"{name}.{n}": p.grad.numpy()
            for name, part in self.parts.items()
            for n, p in part.named_parameters()
            if p.grad is not None
        }


def agree(mine, theirs, ours, expected):
    """The outputs, and the gradients of a weighted sum of them."""
    weights = np.random.default_rng(0).standard_normal(tuple(ours.shape))
    (ours * tg.tensor(weights)).sum().backward()
    (expected * torch.from_numpy(weights)).sum().backward()
    assert difference(expected.detach().numpy(), ours.numpy()) < 1e-10
    found = {name: p.grad.numpy() for name, p in mine.named_parameters() if p.grad is not None}
    assert found.keys() == theirs.gradients().keys()
    for name, gradient in theirs.gradients().items():
        assert difference(gradient, found[name]) < 1e-10, name


def test_a_convolution_before_a_recurrent_layer(rng):
    conv = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2))
    mine = nn.ConvRecurrent(conv, nn.LSTM(2 * 2 * 3, 4, bidirectional=True)).double()
    theirs, clip = Theirs(mine), rng.standard_normal((5, 2, 1, 4, 6))
    features = theirs["conv"](torch.from_numpy(clip.reshape(10, 1, 4, 6))).reshape(5, 2, -1)
    agree(mine, theirs, mine(tg.tensor(clip))[0], theirs["recurrent"](features)[0])


def padded(rng, width):
    x = rng.standard_normal((6, 3, width))
    return x, [6, 2, 4], np.arange(6) >= np.array([[6], [2], [4]])


def packed(recurrent, x, lengths):
    rnn = torch.nn.utils.rnn
    output, _ = recurrent(rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False))
    return rnn.pad_packed_sequence(output)[0]


def layer(width):
    return nn.TransformerEncoderLayer(width, 2, 8, dropout=0.0, activation="gelu")


def test_a_transformer_over_a_recurrent_layer(rng):
    encoder = nn.TransformerEncoder(layer(4), 2)
    mine = nn.RecurrentTransformer(nn.GRU(3, 2, bidirectional=True), encoder).double()
    theirs, (x, lengths, padding) = Theirs(mine), padded(rng, 3)
    read = packed(theirs["recurrent"], torch.from_numpy(x), lengths)
    expected = theirs["encoder"](read, src_key_padding_mask=torch.from_numpy(padding))
    agree(mine, theirs, mine(tg.tensor(x), lengths=lengths), expected)


def test_a_recurrent_layer_over_a_transformer(rng):
    encoder = nn.TransformerEncoder(layer(4), 1, nn.LayerNorm(4))
    mine = nn.TransformerRecurrent(encoder, nn.LSTM(4, 3)).double()
    theirs, (x, lengths, padding) = Theirs(mine), padded(rng, 4)
    seen = theirs["encoder"](torch.from_numpy(x), src_key_padding_mask=torch.from_numpy(padding))
    expected = packed(theirs["recurrent"], seen, lengths)
    agree(mine, theirs, mine(tg.tensor(x), lengths=lengths)[0], expected)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("attention", ["additive", "general"])
def test_sequence_to_sequence_with_attention(cell, attention, rng):
    mine = nn.Seq2Seq(9, 6, 3, hidden_size=4, num_layers=2, cell=cell, attention=attention).double()
    theirs, lengths = Theirs(mine), [5, 3]
    source, target = rng.integers(0, 9, (5, 2)), rng.integers(0, 6, (4, 2))
    memory = packed(theirs["encoder"], theirs["source"](torch.from_numpy(source)), lengths)
    last = torch.stack([memory[n - 1, k] for k, n in enumerate(lengths)])[:, :4]
    h = torch.tanh(theirs["bridge"](torch.cat([last, memory[0, :, 4:]], -1)))
    state = h if cell == "gru" else (h, torch.zeros_like(h))
    token, said = torch.full((2,), 1), []
    for truth in torch.from_numpy(target):
        h = state if cell == "gru" else state[0]
        if attention == "additive":
            both = theirs["attention.query"](h) + theirs["attention.memory"](memory)
            scores = theirs["attention.energy"](torch.tanh(both))[..., 0]
        else:
            scores = (theirs["attention.map"](memory) * h).sum(-1)
        gone = torch.arange(5)[:, None] >= torch.tensor(lengths)
        weights = scores.masked_fill(gone, -torch.inf).softmax(0)
        context = (weights[..., None] * memory).sum(0)
        state = theirs["decoder"](torch.cat([theirs["target"](token), context], -1), state)
        h = state if cell == "gru" else state[0]
        said.append(theirs["head"](torch.cat([h, context], -1)))
        token = truth
    agree(mine, theirs, mine(source, target, lengths)[0], torch.stack(said))


def test_a_recurrent_recogniser(rng):
    mine = nn.CTCRecognizer(3, 5, hidden_size=4, num_layers=2).double()
    theirs, (x, lengths, _) = Theirs(mine), padded(rng, 3)
    targets, many = np.array([[1, 1, 2], [3, 0, 0], [4, 2, 0]]), [3, 1, 2]
    logits = theirs["head"](packed(theirs["recurrent"], torch.from_numpy(x), lengths))
    expected = torch.nn.functional.ctc_loss(
        logits.log_softmax(-1), torch.from_numpy(targets), torch.tensor(lengths), torch.tensor(many)
    )
    agree(mine, theirs, mine.loss(tg.tensor(x), targets, lengths, many), expected)
