"""Truncated BPTT: each loss counts once, its gradient goes back k2 steps and no further."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, ops, optim

pytestmark = pytest.mark.usefixtures("device")


def squared(output, target):
    return ((output - target) ** 2).sum()


def case(rng, kind="LSTM", steps=11, **options):
    net = getattr(nn, kind)(2, 3, 2, dtype="float64", **options)
    first = options.get("batch_first", False)
    shape = (2, steps) if first else (steps, 2)
    return net, tg.tensor(rng.standard_normal((*shape, 2))), tg.tensor(rng.standard_normal((*shape, 3)))


def by_definition(net, x, y, k1, k2):
    """Each window apart: its start state without history, then the losses of its last k1 steps within k2."""
    total, begin = {}, 0
    while begin < len(x):
        end = min(begin + k1, len(x))
        cut = max(0, end - k2)
        state = None
        if cut:
            with tg.no_grad():
                state = net(x[:cut])[1]
        output, _ = net(x[cut:end], state)
        inside = max(begin, cut)
        for name, g in zip(
            (n for n, _ in net.named_parameters()),
            tg.grad(squared(output[inside - cut :], y[inside:end]), list(net.parameters())), strict=True,
        ):  # fmt: skip
            total[name] = total.get(name, 0) + g.numpy()
        begin = end
    return total


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize(
    ("k1", "k2"), [(1, 1), (1, 4), (3, 3), (2, 5), (3, 8), (4, 2), (11, 11), (5, 100), (20, 20)]
)
def test_gradients_are_those_of_the_definition(kind, k1, k2, rng):
    net, x, y = case(rng, kind)
    losses, _ = tg.tbptt(net, x, y, squared, k1, k2)
    expected = by_definition(net, x, y, k1, k2)
    for name, p in net.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), expected[name], rtol=1e-9, atol=1e-12)
    assert sum(losses) == pytest.approx(squared(net(x)[0], y).item())
    assert len(losses) == -(-11 // k1)


def test_one_window_over_everything_is_plain_backpropagation(rng):
    net, x, y = case(rng)
    tg.tbptt(net, x, y, squared, 11, 11)
    truncated = [p.grad.numpy() for p in net.parameters()]
    net.zero_grad()
    squared(net(x)[0], y).backward()
    for p, g in zip(net.parameters(), truncated, strict=True):
        np.testing.assert_allclose(g, p.grad.numpy())


def test_the_state_goes_on_and_carries_no_history(rng):
    net, x, y = case(rng, "GRU")
    _, state = tg.tbptt(net, x, y, squared, 4, 6)
    np.testing.assert_allclose(state.numpy(), net(x)[1].numpy())
    assert not state.requires_grad
    first = tg.tbptt(net, x[:6], y[:6], squared, 3, 3)
    second = tg.tbptt(net, x[6:], y[6:], squared, 3, 3, state=first.state)
    assert sum(first.losses + second.losses) == pytest.approx(squared(net(x)[0], y).item())


def test_batch_first_is_heard(rng):
    net, x, y = case(rng, batch_first=True)
    losses, _ = tg.tbptt(net, x, y, squared, 4, 6)
    assert sum(losses) == pytest.approx(squared(net(x)[0], y).item())


@pytest.mark.parametrize(("k1", "k2"), [(2, 5), (3, 3), (4, 2)])
def test_with_an_optimiser_windows_see_the_weights_as_they_are_by_then(k1, k2, rng):
    net, x, y = case(rng, "RNN", steps=40)
    optimizer = optim.SGD(net.parameters(), lr=0.001)
    first = sum(tg.tbptt(net, x, y, squared, k1, k2, optimizer=optimizer).losses)
    for _ in range(5):
        last = sum(tg.tbptt(net, x, y, squared, k1, k2, optimizer=optimizer).losses)
    assert last < first


@pytest.mark.parametrize(("k1", "k2", "window", "cut"), [(3, 3, 1, 3), (2, 4, 2, 2), (4, 2, 1, 6)])
def test_a_window_stands_at_its_own_times_and_is_cut_before_its_first_step(k1, k2, window, cut, rng):
    net, x, y = case(rng, steps=8)
    seen = []

    def loss_fn(output, target):
        loss = squared(output, target)
        seen.append(tg.trace(loss))
        return loss

    tg.tbptt(net, x, y, loss_fn, k1, k2)
    graph = seen[window]
    end = min(k1 * (window + 1), 8)
    cells = {v.id for v in graph.quotient("cell").nodes if v.kind == "cell"}
    assert cells == {f"l{layer}.fwd.t{t}" for layer in (0, 1) for t in range(cut, end)}
    cuts = {e.source for e in graph.edges if e.cut}
    assert cuts == {f"l{layer}.fwd.t{cut - 1}.{state}.cut" for layer in (0, 1) for state in "hc"}


def test_any_module_from_input_and_state_to_output_and_state_will_do(rng):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(2, 3), nn.Linear(3, 1)

        def forward(self, x, state=None):
            output, state = self.rnn(x, state)
            return self.head(output), state

    net = Net()
    tg.tbptt(net, tg.randn(9, 1, 2), tg.zeros(9, 1, 1), nn.MSELoss(), 2, 4)
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k1": 0}, "got k1=0"),
        ({"k2": -1}, "k2=-1"),
        ({"targets": tg.zeros(4, 2, 3)}, "targets for 11 steps"),
    ],
)
def test_wrong_calls_are_refused(options, said, rng):
    net, x, y = case(rng)
    with pytest.raises(ValueError, match=said):
        tg.tbptt(**{"module": net, "x": x, "targets": y, "loss_fn": squared, "k1": 1, "k2": 1, **options})


def test_a_bidirectional_network_is_refused(rng):
    net, x, _ = case(rng, bidirectional=True)
    with pytest.raises(ValueError, match="got a bidirectional one"):
        tg.tbptt(net, x, ops.zeros_like(x), squared, 1, 1)
