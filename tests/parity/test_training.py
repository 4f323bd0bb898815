"""A whole training, step by step, is PyTorch's: `train.fit` beside a loop written for PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make parity")

import tinygrad_rnn as tg
from benchmarks.parity import RULES
from tinygrad_rnn import nn, optim, train

EPOCHS, BATCHES = 10, 5


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.LSTM(3, 6, 2, bidirectional=True)
        self.head = torch.nn.Linear(12, 4)

    def forward(self, x, lengths):
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        h = self.rnn(packed)[1][0]
        return self.head(torch.cat([h[-2], h[-1]], dim=-1))


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 6, 2, bidirectional=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x, lengths):
        h = self.rnn(x, lengths=lengths)[1][0]
        return self.head(tg.ops.concatenate([h[-2], h[-1]], axis=-1))


def both(rng):
    """The same network twice, float64, and the data that it learns from."""
    theirs, mine = Theirs().double(), Mine().double()
    mine.load_state_dict(theirs.state_dict())
    x = [rng.standard_normal((n, 3)) for n in rng.integers(1, 9, 8 * BATCHES)]
    return theirs, mine, train.Batches(x, rng.integers(0, 4, len(x)), batch_size=8, seed=4)


def their_losses(theirs, data, optimizer, scheduler, clip):
    losses = []
    for epoch in range(EPOCHS):
        for batch in data.batches(epoch):
            x, y = torch.from_numpy(batch.x.numpy()), torch.from_numpy(batch.y.numpy())
            loss = torch.nn.functional.cross_entropy(theirs(x, torch.from_numpy(batch.lengths)), y)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
    return losses


def loss_of(net, batch):
    return nn.functional.cross_entropy(net(batch.x, batch.lengths), batch.y)


def in_groups(net):
    return [{"params": list(net.rnn.parameters())}, {"params": list(net.head.parameters()), "lr": 0.003}]


@pytest.mark.parametrize(("rule", "options"), [(rule, some[-1]) for rule, some in RULES.items()])
def test_fifty_steps_have_pytorchs_losses_and_weights(rule, options, rng):
    theirs, mine, data = both(rng)
    settings = {"max_lr": [0.02, 0.01], "total_steps": EPOCHS * BATCHES, "cycle_momentum": False}
    optimizer = getattr(torch.optim, rule)(in_groups(theirs), **options)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, **settings)
    expected = their_losses(theirs, data, optimizer, scheduler, clip=0.5)

    optimizer, found = getattr(optim, rule)(in_groups(mine), **options), []
    train.fit(
        mine, loss_of, optimizer, data, epochs=EPOCHS, clip=0.5, schedule_each="step", progress=False,
        schedule=optim.lr_scheduler.OneCycleLR(optimizer, **settings),
        step_callbacks=[lambda run: found.append(run.loss)],
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(mine.state_dict()[name].numpy(), value.numpy(), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(("rule", "options"), [(rule, some[-1]) for rule, some in RULES.items()])
def test_an_optimiser_goes_on_from_pytorchs_state(rule, options, rng):
    start, gradients = rng.standard_normal((3, 2)), rng.standard_normal((20, 3, 2))
    theirs, mine = torch.tensor(start, requires_grad=True), tg.tensor(start, requires_grad=True)
    a, b = getattr(torch.optim, rule)([theirs], **options), getattr(optim, rule)([mine])
    for step, gradient in enumerate(gradients):
        theirs.grad = torch.from_numpy(gradient)
        a.step()
        if step == 9:
            mine.copy_(theirs.detach().numpy())
            kept = a.state_dict()
            known = [{k: v for k, v in g.items() if k in b.param_groups[0]} for g in kept["param_groups"]]
            b.load_state_dict({"state": kept["state"], "param_groups": known})
        elif step > 9:
            mine.grad = tg.tensor(gradient)
            b.step()
    np.testing.assert_allclose(mine.numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_clipping_by_value_agrees(rng):
    g = rng.standard_normal((4, 3))
    theirs, mine = torch.zeros(4, 3, requires_grad=True), tg.zeros(4, 3, requires_grad=True)
    theirs.grad, mine.grad = torch.from_numpy(g).float(), tg.tensor(g.astype(np.float32))
    torch.nn.utils.clip_grad_value_([theirs], 0.3)
    nn.utils.clip_grad_value_([mine], 0.3)
    np.testing.assert_array_equal(mine.grad.numpy(), theirs.grad.numpy())
