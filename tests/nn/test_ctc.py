"""Connectionist temporal classification beside the sum over all paths, which small cases allow."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, ops
from tinygrad_rnn.nn import functional as F


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def reading(path, blank):
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def readings(log_probs, blank):
    """Every labelling, with the sum of the probabilities of all paths that read so."""
    steps, classes = log_probs.shape
    found = defaultdict(float)
    for path in itertools.product(range(classes), repeat=steps):
        found[reading(path, blank)] += math.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
    return found


@pytest.mark.parametrize("blank", [0, 2])
def test_the_recursion_is_the_sum_over_all_paths(blank, rng):
    log_probs = log_softmax(rng.standard_normal((5, 3)))
    for labels, p in readings(log_probs, blank).items():
        given = np.array(labels, dtype=int)
        loss = F.ctc_loss(tg.tensor(log_probs), given, 5, len(labels), blank)
        assert loss.item() * max(len(labels), 1) == pytest.approx(-math.log(p))


def test_labellings_of_a_ragged_batch_are_weighed_each_by_its_own_steps(rng):
    log_probs = log_softmax(rng.standard_normal((5, 4, 3)))
    targets, ends, lengths = [[1, 1], [2, 0], [2, 1], [0, 0]], [5, 3, 4, 1], [2, 1, 2, 0]
    targets[1][1], targets[3] = -1, [7, 7]
    expected = [
        -math.log(readings(log_probs[: ends[n], n], 0)[tuple(targets[n][: lengths[n]])]) for n in range(4)
    ]
    log_probs[3:, 1] = np.nan
    x = tg.tensor(log_probs, requires_grad=True)
    padded = F.ctc_loss(x, targets, ends, lengths, reduction="none")
    joined = F.ctc_loss(x, [1, 1, 2, 2, 1], ends, lengths, reduction="none")
    np.testing.assert_allclose(padded.numpy(), expected)
    np.testing.assert_array_equal(joined.numpy(), padded.numpy())
    g = tg.grad(padded.sum(), x).numpy()
    assert (g[3:, 1] == 0).all() and np.isfinite(g).all()


@pytest.mark.parametrize("labels", [(), (1,), (1, 2), (2, 2)])
def test_the_gradient_is_minus_the_probability_of_passing_there(labels, rng):
    log_probs = log_softmax(rng.standard_normal((4, 3)))
    x = tg.tensor(log_probs, requires_grad=True)
    g = tg.grad(F.ctc_loss(x, list(labels), 4, len(labels), reduction="sum"), x).numpy()
    through, total = np.zeros((4, 3)), 0.0
    for path in itertools.product(range(3), repeat=4):
        if reading(path, 0) == labels:
            p = math.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
            through[range(4), path] += p
            total += p
    np.testing.assert_allclose(g, -through / total)


def test_derivatives_to_second_order(rng):
    x = rng.standard_normal((4, 2, 3))
    for targets, lengths in (([[1, 1], [2, 1]], [2, 2]), ([[2], [1]], [0, 1])):
        tg.check_grads(
            lambda x, t=targets, n=lengths: F.ctc_loss(ops.log_softmax(x, axis=-1), t, [4, 3], n), x, order=2
        )


def test_an_impossible_target_costs_infinity_or_nothing_and_pulls_at_nothing():
    x = tg.tensor(np.log(np.full((2, 1, 3), 1 / 3)), requires_grad=True)
    for zero_infinity, cost in ((False, math.inf), (True, 0.0)):
        loss = nn.CTCLoss(zero_infinity=zero_infinity)(x, [[1, 1]], [2], [2])
        assert loss.item() == cost
        assert (tg.grad(loss, x).numpy() == 0).all()


def test_a_class_of_probability_zero_does_no_harm():
    x = tg.tensor([[[0.0, -math.inf]], [[-math.inf, 0.0]], [[0.0, -math.inf]]], requires_grad=True)
    loss = F.ctc_loss(x, [[1]], [3], [1])
    assert loss.item() == 0 and np.isfinite(tg.grad(loss, x).numpy()).all()


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_one_node_pulls_back_what_its_definition_does(scale, rng):
    """With scale 60 the paths that read so lie hundreds of orders of magnitude below the likeliest."""
    x = tg.tensor(log_softmax(scale * rng.standard_normal((40, 3, 5))), requires_grad=True)
    loss = F.ctc_loss(x, [[1, 1, 2], [4, 3, 0], [2, 0, 0]], [40, 33, 7], [3, 2, 1], reduction="sum")
    assert np.isfinite(loss.item()) and tg.trace(loss).notes[0].startswith("replayed from the definition")
    by_definition = tg.grad(loss, x, create_graph=True)
    by_one_node = tg.grad(loss, x)
    np.testing.assert_allclose(by_one_node.numpy(), by_definition.numpy(), rtol=1e-10, atol=1e-14)


def test_logarithms_of_zero_on_the_way_are_no_anomaly():
    x = tg.tensor(np.zeros((3, 1, 2)), requires_grad=True)
    with tg.detect_anomaly():
        F.ctc_loss(x, [[1]], [3], [1]).backward()
        with pytest.raises(tg.AnomalyError, match="Inf first appeared in the forward"):
            F.ctc_loss(x, [[1, 1]], [2], [2])


def test_the_recursion_stands_in_time():
    x = tg.tensor(np.zeros((3, 1, 2)), requires_grad=True)
    graph = tg.trace(F.ctc_loss(x, [[1]], [3], [1])).quotient("cell")
    assert {"ctc.t0", "ctc.t1", "ctc.t2"} <= {v.id for v in graph.nodes}


# -- decoding ------------------------------------------------------------------------------------------


def test_with_room_for_all_prefixes_the_beam_is_exact(rng):
    log_probs = log_softmax(rng.standard_normal((5, 3)))
    (beams,) = F.ctc_beam_decode(log_probs[:, None], beam_width=1000)
    expected = readings(log_probs, 0)
    assert {tuple(labels) for labels, _ in beams} == set(expected)
    for labels, log_p in beams:
        assert log_p == pytest.approx(math.log(expected[tuple(labels)]))
        assert log_p == pytest.approx(-F.ctc_loss(log_probs, labels, 5, len(labels), reduction="sum").item())
    assert [p for _, p in beams] == sorted((p for _, p in beams), reverse=True)


def test_the_best_path_reads_what_it_says_and_stops_at_each_sequences_end():
    path = np.array([[1, 1, 0, 1, 2, 2], [2, 0, 0, 2, 1, 1]]).T
    log_probs = np.log(np.eye(3)[path] * 0.8 + 0.05)
    assert F.ctc_greedy_decode(log_probs) == [[1, 1, 2], [2, 2, 1]]
    assert F.ctc_greedy_decode(log_probs, [4, 2]) == [[1, 1], [2]]
    assert [beams[0][0] for beams in F.ctc_beam_decode(log_probs, [4, 2])] == [[1, 1], [2]]


def test_a_beam_finds_what_the_best_path_misses(rng):
    worse = 0
    for _ in range(30):
        log_probs = log_softmax(rng.standard_normal((4, 1, 3)))
        p = readings(log_probs[:, 0], 0)
        (best,), (path,) = F.ctc_beam_decode(log_probs, beam_width=50), F.ctc_greedy_decode(log_probs)
        assert p[tuple(best[0][0])] == max(p.values())
        worse += p[tuple(path)] < max(p.values())
    assert worse > 3


X = np.log(np.full((4, 2, 3), 1 / 3))


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: F.ctc_loss(X, [[1], [3]], [4, 4], [1, 1]), ValueError, "from 0 to 2 .* blank 0, got 3"),
        (lambda: F.ctc_loss(X, [[1], [0]], [4, 4], [1, 1]), ValueError, "other than the blank 0, got 0"),
        (lambda: F.ctc_loss(X, [[1], [2]], [4, 5], [1, 1]), ValueError, "lengths between 1 and 4 .*, got 5"),
        (lambda: F.ctc_loss(X, [[1], [2]], [4], [1, 1]), ValueError, "length for each of 2 sequences, got 1"),
        (lambda: F.ctc_loss(X, [[1], [2]], [4, 4], [1, -1]), ValueError, r"target length ≥ 0 .* got \[1, -1"),
        (lambda: F.ctc_loss(X, [[1], [2]], [4, 4], [1, 2]), ValueError, r"\(2, 2 or more\) or \(3,\) .* \(2"),
        (lambda: F.ctc_loss(X, [1, 2], [4, 4], [1, 2]), ValueError, r"targets .* got \(2,\)"),
        (lambda: F.ctc_loss(X, [[1.0], [2.0]], [4, 4], [1, 1]), TypeError, "integer targets and lengths"),
        (lambda: F.ctc_loss(X, [[1], [2]], [4, 4], [1, 1], blank=3), ValueError, "blank from 0 to 2, got 3"),
        (lambda: F.ctc_loss(X[0, 0], [1], 1, 1), ValueError, r"log_probs \(T, N, C\) or \(T, C\), got"),
        (lambda: nn.CTCLoss(reduction="max"), ValueError, "'mean', 'sum' or 'none', got 'max'"),
        (lambda: F.ctc_beam_decode(X, beam_width=0), ValueError, "beam_width ≥ 1, got 0"),
        (lambda: F.ctc_greedy_decode(X, [4, 0]), ValueError, "lengths between 1 and 4 .*, got 0"),
    ],
)
def test_a_wrong_call_is_refused_in_one_sentence(call, kind, said):
    with pytest.raises(kind, match=said):
        call()
