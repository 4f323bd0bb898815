"""A cell of one's own is what its docstring says, and its generated kernels are the same cell."""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg
from examples.own_cell import SurpriseCell
from tinygrad_rnn import nn


def test_it_writes_what_it_did_not_expect(rng):
    cell = SurpriseCell(3, 4).double()
    x, h = rng.standard_normal((2, 3)), rng.standard_normal((2, 4))
    v, p = (np.tanh(a @ m.weight.numpy().T + m.bias.numpy()) for a, m in ((x, cell.see), (h, cell.expect)))
    s = 1 - np.exp(-((v - p) ** 2))
    np.testing.assert_allclose(cell(tg.tensor(x), tg.tensor(h)).numpy(), (1 - s) * h + s * v)


def test_its_kernels_give_its_own_gradients(rng):
    net = nn.Recurrent(SurpriseCell(3, 4)).double()
    x = tg.tensor(rng.standard_normal((6, 2, 3)), requires_grad=True)
    found = []
    for on in (True, False):
        with tg.fused(on):
            output, _ = net(x)
        assert (output.node.plan.name == "stack") is not on
        found.append([g.numpy() for g in tg.grad((output**2).sum(), [x, *net.parameters()])])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
