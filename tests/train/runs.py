"""A small network and a small task that the tests of this folder share."""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, train


class Net(nn.Module):
    """Reads vectors, answers with three logits."""

    def __init__(self, hidden=5, dropout=0.0):
        super().__init__()
        self.rnn = nn.GRU(2, hidden, 2, dropout=dropout)
        self.head = nn.Linear(hidden, 3)

    def forward(self, x, lengths=None):
        _, h = self.rnn(x, lengths=lengths)
        return self.head(h[-1])


def loss(net, batch):
    return nn.functional.cross_entropy(net(batch.x, batch.lengths), batch.y)


def right(net, batch):
    return (net(batch.x, batch.lengths).numpy().argmax(axis=1) == batch.y.numpy()).mean()


def task(count=24, seed=0, dtype=np.float32):
    """Sequences, and which third of the circle their sum points to."""
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((n, 2)).astype(dtype) for n in rng.integers(1, 6, count)]
    sums = np.array([s.sum(axis=0) for s in x])
    return x, ((np.arctan2(*sums.T) / np.pi + 1) * 1.4999).astype(int)


def made(dropout=0.0, batch_size=8, lr=0.05, **options):
    """A network, its optimiser and its data, always the same."""
    tg.manual_seed(5)
    net = Net(dropout=dropout)
    data = train.Batches(*task(), batch_size=batch_size, **options)
    return net, optim.Adam(net.parameters(), lr=lr), data


def weights(net):
    return {name: value.numpy().copy() for name, value in net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
