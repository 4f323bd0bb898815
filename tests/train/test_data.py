"""Batches hold every sequence once, windows hold every step once, and threads change nothing."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import strict, strict_device
from tinygrad_rnn import train


def ragged(rng, count=50, longest=9):
    return [rng.standard_normal((n, 2)).astype(np.float32) for n in rng.integers(1, longest + 1, count)]


def unpadded(batch):
    return [batch.x.numpy()[:n, k] for k, n in enumerate(batch.lengths)]


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"bucket": True}, {"prefetch": 2}])
def test_an_epoch_holds_every_sequence_once_with_its_own_target(options, rng):
    x = ragged(rng)
    y = [float(s.sum()) for s in x]
    data = train.Batches(x, y, batch_size=8, **options)
    found = list(data)
    assert len(found) == len(data) == 7
    assert sorted(len(batch) for batch in found) == [2] + [8] * 6
    for batch in found:
        assert batch.x.shape[0] == batch.lengths.max() and batch.x.dtype == np.float32
        np.testing.assert_allclose([s.sum() for s in unpadded(batch)], batch.y.numpy(), rtol=1e-5)
    seen = [s.tobytes() for batch in found for s in unpadded(batch)]
    assert sorted(seen) == sorted(s.tobytes() for s in x)
    assert options.get("shuffle", True) == (seen != [s.tobytes() for s in x])


def test_the_order_follows_from_seed_and_epoch_and_goes_on_anywhere(rng):
    x = ragged(rng)
    make = lambda seed: train.Batches(x, range(50), batch_size=8, seed=seed, bucket=True)
    order = lambda data, *at: [batch.y.tolist() for batch in data.batches(*at)]
    assert order(make(1), 3) == order(make(1), 3) != order(make(2), 3)
    assert order(make(1), 3) != order(make(1), 4)
    assert order(make(1), 3, 4) == order(make(1), 3)[4:]
    assert order(make(1), 3, 7) == []


def test_buckets_hold_little_padding(rng):
    x = ragged(rng, 400, 20)
    padding = lambda data: sum(b.x.shape[0] * len(b) - b.lengths.sum() for b in data)
    bucketed = padding(train.Batches(x, batch_size=16, bucket=True))
    assert bucketed < 0.1 * padding(train.Batches(x, batch_size=16))


def test_drop_last_leaves_out_others_in_every_epoch(rng):
    data = train.Batches(ragged(rng), range(50), batch_size=8, drop_last=True, bucket=True)
    left = [set(range(50)) - {y for b in data.batches(e) for y in b.y.tolist()} for e in range(5)]
    assert all(len(some) == 2 for some in left) and len(set.union(*left)) > 4
    assert [len(batch) for batch in data] == [8] * len(data)


def test_targets_are_numbers_vectors_or_sequences():
    x = [[1, 2, 3], [4]]
    whole = lambda *args, **options: next(iter(train.Batches(x, *args, shuffle=False, **options)))
    assert whole([5, 6]).y.tolist() == [5, 6]
    assert whole([[], [5, 6]]).y.tolist() == [[-100, 5], [-100, 6]]
    assert whole([[5, 6], [7, 8]]).y.tolist() == [[5, 6], [7, 8]]
    each = whole([[5, 6, 7], [8]])
    assert each.y.tolist() == [[5, 8], [6, -100], [7, -100]] and each.target_lengths.tolist() == [3, 1]
    other = whole([[5.0], [8.0, 9.0]], batch_first=True, target_padding=-1)
    assert other.y.tolist() == [[5, -1], [8, 9]] and other.x.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert whole([[5, 6], [7, 8]], sequence_targets=True).y.tolist() == [[5, 7], [6, 8]]
    assert whole([[1, 2, 3]] * 2, sequence_targets=False).y.shape == (2, 3)


def test_texts_stay_texts():
    batch = next(iter(train.Batches(["ada", "bo"], [0, 1], shuffle=False)))
    assert batch.x == ["ada", "bo"] and batch.lengths.tolist() == [3, 2]


@pytest.mark.parametrize("steps", [3, 4, 100])
def test_windows_go_on_where_the_last_one_ended(steps):
    text = np.arange(31)
    data = train.Windows(text, steps=steps, batch_size=3, prefetch=1)
    found = list(data)
    assert len(found) == len(data) and [len(batch) for batch in found] == [3] * len(found)
    x = np.concatenate([batch.x.numpy() for batch in found])
    np.testing.assert_array_equal(x.T, text[:30].reshape(3, 10))
    np.testing.assert_array_equal(np.concatenate([batch.y.numpy() for batch in found]), x + 1)
    assert [b.x.tolist() for b in data.batches(5, 1)] == [b.x.tolist() for b in found[1:]]


def test_windows_of_vectors_with_targets_of_their_own(rng):
    x, y = rng.standard_normal((10, 2)), rng.integers(0, 3, 10)
    (batch,) = train.Windows(x, y, steps=5, batch_size=2, batch_first=True)
    np.testing.assert_array_equal(batch.x.numpy().reshape(10, 2), x)
    np.testing.assert_array_equal(batch.y.numpy().ravel(), y)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: train.Batches([]), "at least one sequence, got none"),
        (lambda: train.Batches([[1], []]), "got number 1 empty"),
        (lambda: train.Batches([[1]], [1, 2]), "a target for each of 1 sequences, got 2"),
        (lambda: train.Batches([1, 2]), "sequences x that differ in length only, got a number"),
        (lambda: train.Batches([[1], [2.0]]), r"got float32 \(T\) and int64 \(T\)"),
        (lambda: train.Batches([[[1, 2]], [[1]]]), r"got int64 \(T, 1\) and int64 \(T, 2\)"),
        (lambda: train.Batches([[1, 1], [2]], [[1], 2]), "targets of one shape"),
        (lambda: train.Batches([[1]], batch_size=0), "batch_size ≥ 1 and prefetch ≥ 0, got 0 and 0"),
        (lambda: train.Batches([[1]], batch_size=2, drop_last=True), r"2 sequences \(one batch\), got 1"),
        (lambda: train.Windows([1, 2], steps=0), "steps ≥ 1"),
        (lambda: train.Windows([1, 2, 3], steps=1, batch_size=3), "each of batch_size=3 strips, got 2"),
        (lambda: train.Windows([1, 2], [1], steps=1), "targets for 2 steps, got 1"),
    ],
)
def test_data_that_does_not_fit_is_refused_in_one_sentence(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_prefetch_keeps_order_and_stays_at_most_so_far_ahead():
    made = []
    items = (made.append(n) or n for n in range(20))
    found = []
    for n in train.prefetch(items, depth=3):
        found.append(n)
        assert len(made) <= n + 5
    assert found == list(range(20))


def test_an_error_in_the_thread_is_raised_in_its_place():
    def items():
        yield 1
        raise OSError("gone")

    ahead = train.prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)


def test_a_prefetch_that_is_left_stops_its_thread():
    before = threading.active_count()
    ahead = train.prefetch(itertools.count())
    assert [next(ahead), next(ahead)] == [0, 1] and threading.active_count() == before + 1
    ahead.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("left_after", [3, 100])
def test_prefetched_batches_travel_beside_the_computation_and_nothing_waits(left_after, rng):
    x = ragged(rng)
    expected = [batch.x.numpy() for batch in train.Batches(x, range(50), batch_size=8)]
    with strict.installed(), tg.device("cuda"), strict_device.counted() as counts:
        data = train.Batches(x, range(50), batch_size=8, prefetch=2)
        read = [(batch.x * 2, batch.y + 1) for batch in itertools.islice(data, left_after)]
    assert counts["sync"] == counts["download"] == 0
    assert counts["upload"] == 2 * 7 if left_after > 7 else counts["upload"] >= 2 * left_after
    for (twice, _), host in zip(read, expected, strict=left_after > 7):
        np.testing.assert_array_equal(twice.numpy(), 2 * host)


def test_batches_are_made_on_the_default_device_of_who_asks(device):
    with tg.device(device):
        batch = next(iter(train.Batches([[1.0], [2.0]], [0, 1], prefetch=1)))
    assert batch.x.device.startswith(device) and batch.y.device.startswith(device)
