"""A cell of one's own runs like the built-in ones."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.kernels.cases import MinimalGated
from tinygrad_rnn import nn, ops


class Pair(nn.Module):
    """Two states: a running mean, and the mean of that."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.read = nn.Linear(input_size, hidden_size, dtype="float64")

    def forward(self, x_t, state):
        slow, fast = state
        fast = 0.5 * fast + 0.5 * self.read(x_t)
        return 0.9 * slow + 0.1 * fast, fast


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_of_the_built_in_cells_is_the_built_in_layer(kind, rng):
    layer = getattr(nn, kind)(3, 4, 2, bidirectional=True, dtype="float64")
    net = nn.Recurrent(
        lambda width: getattr(nn, kind + "Cell")(width, 4, dtype="float64"), 2, True, input_size=3
    )
    values = iter(layer.state_dict().values())
    for p in net.parameters():
        p.copy_(next(values))
    x = tg.tensor(rng.standard_normal((5, 2, 3)))
    expected, state = layer(x, lengths=[3, 5])
    output, end = net(x, lengths=[3, 5])
    np.testing.assert_array_equal(output.numpy(), expected.numpy())
    for a, b in zip(*(s if isinstance(s, tuple) else (s,) for s in (state, end)), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("cell", [MinimalGated, Pair])
def test_a_cell_says_by_what_it_returns_how_many_states_it_has(cell, rng):
    net = nn.Recurrent(
        lambda width: cell(width, 4), num_layers=2, bidirectional=True, batch_first=True, input_size=3
    )
    x = tg.tensor(rng.standard_normal((2, 5, 3)))
    output, state = net(x)
    assert output.shape == (2, 5, 8)
    states = state if cell is Pair else (state,)
    assert [s.shape for s in states] == [(4, 2, 4)] * len(states)
    np.testing.assert_array_equal(states[0].numpy()[-2], output.numpy()[:, -1, :4])
    output.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    again, _ = net(x, state)
    assert not np.array_equal(again.numpy(), output.numpy())


def test_its_named_values_are_given_on_request_at_every_step(rng):
    net = nn.Recurrent(lambda width: MinimalGated(width, 4), 2, True, input_size=3)
    x = tg.tensor(rng.standard_normal((5, 2, 3)))
    output, _, gates = net(x, return_gates=True)
    assert set(gates) == {"f", "n", "h"} and {g.shape for g in gates.values()} == {(4, 5, 2, 4)}
    f, n, h = (gates[name].numpy()[2, 1:] for name in "fnh")
    before = gates["h"].numpy()[2, :-1]
    np.testing.assert_allclose(h, (1 - f) * before + f * n)
    np.testing.assert_array_equal(output.numpy()[..., :4], gates["h"].numpy()[2])


def test_states_are_named_where_the_cell_did_not(rng):
    net = nn.Recurrent(Pair(3, 4))
    output, (_, c) = net(tg.tensor(rng.standard_normal((3, 2, 3))))
    flow = tg.flow((output * output).sum() + (c * c).sum())
    assert flow.h.shape == flow.c.shape == (1, 1, 3) and (flow.c > 0).all()


def test_one_cell_serves_one_layer_and_direction():
    with pytest.raises(
        ValueError, match=r"function of \(input_size\) that makes cells, for 2 layers × directions"
    ):
        nn.Recurrent(MinimalGated(3, 4), bidirectional=True)


def test_without_a_width_cells_are_made_at_the_first_call_and_not_silently_missed_before(rng):
    net = nn.Recurrent(lambda width: MinimalGated(width, 4), num_layers=2)
    with pytest.raises(ValueError, match="expected input_size=… or a first call"):
        list(net.parameters())
    net(tg.tensor(rng.standard_normal((3, 2, 3))))
    assert len(list(net.parameters())) == 8


def test_a_cell_that_does_not_keep_to_the_form_is_refused_in_a_sentence(rng):
    class Wrong(nn.Linear):
        input_size = hidden_size = 3

        def forward(self, x, state):
            return ops.concatenate([x, state], axis=-1)[:, :7]

    x = tg.randn(3, 2, 3)
    with pytest.raises(
        TypeError, match="expected cells with input_size, hidden_size and forward, got Linear"
    ):
        nn.Recurrent(nn.Linear(3, 3))

    class Broken(Wrong):
        def forward(self, x, state):
            raise RuntimeError("no such luck")

    with pytest.raises(TypeError, match="it failed with: no such luck"):
        nn.Recurrent(Broken(3, 3))(x)


def test_a_custom_cell_streams(rng):
    net = nn.Recurrent(lambda width: Pair(width, 4), num_layers=2, input_size=3)
    x = tg.tensor(rng.standard_normal((4, 2, 3)))
    stream = net.stream()
    steps = [stream.step(x[t]).numpy() for t in range(4)]
    np.testing.assert_allclose(np.stack(steps), net(x)[0].numpy(), rtol=1e-11)
