"""Packing is undone by padding; what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.utils import rnn


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.booleans(), st.booleans())
def test_packing_and_padding_undo_each_other(lengths, batch_first, ordered):
    lengths = sorted(lengths, reverse=True) if ordered else lengths
    steps, batch = max(lengths) + 1, len(lengths)
    x = np.arange(1.0, steps * batch * 2 + 1).reshape(steps, batch, 2)
    there = np.arange(steps)[:, None] < np.array(lengths)
    given_x = tg.tensor(x.swapaxes(0, 1).copy() if batch_first else x, requires_grad=True)
    packed = rnn.pack_padded_sequence(given_x, lengths, batch_first, enforce_sorted=ordered)
    assert packed.data.shape == (sum(lengths), 2) and packed.batch_sizes.numpy().sum() == sum(lengths)
    padded, back = rnn.pad_packed_sequence(packed, batch_first, padding_value=-1.0, total_length=steps)
    assert back.tolist() == lengths
    rows = padded.numpy().swapaxes(0, 1) if batch_first else padded.numpy()
    np.testing.assert_array_equal(rows, np.where(there[:, :, None], x, -1))
    padded.sum().backward()
    dx = given_x.grad.numpy().swapaxes(0, 1) if batch_first else given_x.grad.numpy()
    np.testing.assert_array_equal(dx, np.repeat(there[:, :, None], 2, axis=2))


def test_sequences_are_padded_and_packed():
    a, b = tg.tensor([[1.0], [2.0]], requires_grad=True), tg.tensor([[3.0]])
    assert rnn.pad_sequence([a, b]).shape == (2, 2, 1)
    packed = rnn.pack_sequence([b, a], enforce_sorted=False)
    np.testing.assert_array_equal(packed.data.numpy()[:, 0], [1, 3, 2])
    np.testing.assert_array_equal(packed.lengths, [1, 2])
    packed.data.sum().backward()
    assert (a.grad.numpy() == 1).all()


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_packed_and_padded_batches_give_the_same(kind, rng):
    net = getattr(nn, kind)(2, 3, 2, bidirectional=True, dtype="float64")
    x, lengths = tg.tensor(rng.standard_normal((4, 3, 2))), [2, 4, 1]
    output, state = net(x, lengths=lengths)
    packed, end = net(rnn.pack_padded_sequence(x, lengths, enforce_sorted=False))
    np.testing.assert_array_equal(rnn.pad_packed_sequence(packed)[0].numpy(), output.numpy())
    for a, b in zip(*(s if isinstance(s, tuple) else (s,) for s in (state, end)), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: rnn.pack_padded_sequence(x, [1, 3]), "from long to short"),
        (lambda x: rnn.pack_padded_sequence(x, [3, 0]), "between 1 and 3"),
        (lambda x: rnn.pack_padded_sequence(x, [3]), "each of 2 sequences, got 1"),
        (
            lambda x: rnn.pad_packed_sequence(rnn.pack_padded_sequence(x, [3, 1]), total_length=2),
            "at least 3",
        ),
        (lambda x: rnn.pad_sequence([]), "at least one sequence"),
        (lambda x: rnn.pad_sequence([x, x[:, :1]]), "differ in length only"),
        (lambda x: nn.GRU(2, 3)(rnn.pack_padded_sequence(x, [3, 1]), lengths=[3, 1]), "got both"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(tg.zeros(3, 2, 2))
