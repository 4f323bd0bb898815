"""Layers, losses and starts: known values, and wrong calls."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F


def test_linear_is_the_affine_map(rng):
    net, x = nn.Linear(3, 2, dtype="float64"), rng.standard_normal((4, 5, 3))
    np.testing.assert_allclose(net(tg.tensor(x)).numpy(), x @ net.weight.numpy().T + net.bias.numpy())
    assert (abs(net.weight.numpy()) <= 3**-0.5).all()
    with pytest.raises(ValueError, match=r"expected input \(…, 3\), got \(2,\)"):
        net(tg.zeros(2))


def test_embedding_adds_up_the_gradients_of_a_row_used_twice_and_none_for_padding():
    net = nn.Embedding(4, 2, padding_idx=0)
    assert (net.weight.numpy()[0] == 0).all()
    net(tg.tensor([[1, 1], [0, 3]])).sum().backward()
    np.testing.assert_array_equal(net.weight.grad.numpy()[:, 0], [0, 2, 0, 1])
    with pytest.raises(IndexError, match="expected indices from 0 to 3"):
        net([4])
    with pytest.raises(IndexError, match="got -1 to 0"):
        net([0, -1])
    with pytest.raises(TypeError, match="expected integer indices"):
        net(tg.tensor([0.0]))


def test_dropout_keeps_the_mean_and_is_the_identity_in_evaluation():
    net, x = nn.Dropout(0.25), tg.ones(20_000)
    kept = net(x).numpy()
    assert set(np.unique(kept)) == {0, np.float32(4 / 3)} and kept.mean() == pytest.approx(1, abs=0.02)
    assert net.eval()(x) is x


def test_layer_norm_standardises_the_last_axes(rng):
    y = nn.LayerNorm((3, 4), eps=0.0, dtype="float64")(tg.tensor(rng.standard_normal((2, 3, 4)))).numpy()
    np.testing.assert_allclose(y.mean(axis=(1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(1, 2)), 1)


def test_losses_have_their_textbook_values():
    assert nn.CrossEntropyLoss()(tg.zeros(2, 4), tg.tensor([0, 3])).item() == pytest.approx(math.log(4))
    assert nn.MSELoss()(tg.tensor([1.0, 3.0]), tg.zeros(2)).item() == 5
    assert nn.L1Loss(reduction="sum")(tg.tensor([1.0, -3.0]), tg.zeros(2)).item() == 4
    assert nn.SmoothL1Loss(reduction="none")(tg.tensor([0.5, 3.0]), tg.zeros(2)).tolist() == [0.125, 2.5]
    assert nn.BCEWithLogitsLoss()(tg.zeros(3), tg.ones(3)).item() == pytest.approx(math.log(2))
    assert nn.HuberLoss(delta=2.0)(tg.tensor([1.0, 5.0]), tg.zeros(2)).item() == (0.5 + 2 * (5 - 1)) / 2
    half, sure = tg.tensor([[0.5, 0.5]]), tg.tensor([[1.0, 0.0]])
    assert nn.KLDivLoss("batchmean")(half.log(), sure).item() == pytest.approx(math.log(2))
    assert nn.BCELoss()(tg.tensor([0.0, 1.0]), tg.tensor([1.0, 1.0])).item() == 50


def test_ignored_targets_count_for_nothing_in_the_mean_either():
    logits = tg.tensor([[2.0, 0.0], [0.0, 5.0]], requires_grad=True)
    loss = F.cross_entropy(logits, tg.tensor([0, -100]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert (tg.grad(loss, logits).numpy()[1] == 0).all()


@pytest.mark.parametrize("x", [1e4, -1e4])
def test_losses_from_logits_do_not_overflow(x):
    logits = tg.tensor([[x, 0.0]], requires_grad=True)
    for loss in (
        F.cross_entropy(logits, tg.tensor([1])),
        F.binary_cross_entropy_with_logits(logits, tg.ones(1, 2)),
    ):
        g = tg.grad(loss, logits)
        assert np.isfinite(loss.item()) and np.isfinite(g.numpy()).all()


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: F.cross_entropy(tg.zeros(2, 4), tg.tensor([0])), ValueError, r"targets of shape \(2,\)"),
        (
            lambda: F.cross_entropy(tg.zeros(2, 4), tg.zeros(2, 3)),
            ValueError,
            r"input's shape \(2, 4\), got \(2, 3\)",
        ),
        (lambda: F.nll_loss(tg.zeros(2, 4), tg.zeros(2)), TypeError, "expected integer class numbers"),
        (lambda: F.mse_loss(tg.zeros(2), tg.zeros(2, 1)), ValueError, r"shape \(2,\), got \(2, 1\)"),
        (lambda: nn.MSELoss("max"), ValueError, "'mean', 'sum' or 'none', got 'max'"),
        (
            lambda: F.cross_entropy(tg.zeros(1, 2), tg.tensor([0]), label_smoothing=2),
            ValueError,
            "label_smoothing",
        ),
        (lambda: F.huber_loss(tg.zeros(1), tg.zeros(1), delta=0), ValueError, "delta > 0, got 0"),
        (lambda: nn.KLDivLoss("max"), ValueError, "'none' or 'batchmean', got 'max'"),
        (lambda: nn.GLU(0)(tg.zeros(3, 2)), ValueError, r"an even length along axis 0 of \(3, 2\)"),
        (lambda: F.smooth_l1_loss(tg.zeros(1), tg.zeros(1), beta=-1), ValueError, "beta ≥ 0"),
        (lambda: nn.Dropout(1.5), ValueError, "between 0 and 1, got 1.5"),
        (lambda: nn.Sequential(nn.Tanh(), len), TypeError, "got builtin_function_or_method at position 1"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "within 3 rows, got 3"),
        (lambda: nn.init.calculate_gain("sine"), ValueError, "got 'sine'"),
        (lambda: nn.init.xavier_uniform_(tg.zeros(3)), ValueError, "at least two axes"),
        (lambda: nn.SequenceClassifier("ab", ["x"])("abc"), ValueError, "got 'abc' with 'c'"),
    ],
)
def test_a_wrong_call_is_refused_in_one_sentence(call, kind, said):
    with pytest.raises(kind, match=said):
        call()


def test_a_class_that_is_not_there_is_refused_where_the_host_sees_it_and_spoils_the_loss_elsewhere(device):
    call = lambda: F.cross_entropy(tg.zeros(2, 4), tg.tensor([0, 4]))
    if device == "cpu":
        with pytest.raises(ValueError, match="class numbers from 0 to 3, got 4"):
            call()
    else:
        assert np.isnan(call().item())


def test_orthogonal_starts_are_orthogonal_and_seeded():
    for shape in ((5, 3), (3, 5)):
        tg.manual_seed(1)
        w = nn.init.orthogonal_(tg.empty(*shape), gain=2.0).numpy()
        small = w @ w.T if shape[0] < shape[1] else w.T @ w
        np.testing.assert_allclose(small, 4 * np.eye(3), atol=1e-5)
        tg.manual_seed(1)
        np.testing.assert_array_equal(nn.init.orthogonal_(tg.empty(*shape), gain=2.0).numpy(), w)


def test_sequential_slices_and_lists_grow():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(net[:2]) == 2 and net[2].out_features == 1
    assert net[:2](tg.zeros(1, 2)).shape == (1, 3)
    layers = nn.ModuleList().append(nn.Tanh()).extend([nn.ReLU()])
    assert [type(m).__name__ for m in layers] == ["Tanh", "ReLU"]


def test_clipping_holds_the_norm_or_each_entry():
    w = tg.zeros(2, requires_grad=True)
    w.grad = tg.tensor([3.0, -4.0])
    assert nn.utils.clip_grad_norm_([w], 10.0).item() == 5 and w.grad.tolist() == [3, -4]
    nn.utils.clip_grad_norm_([w], 0.5)
    assert np.linalg.norm(w.grad.numpy()) == pytest.approx(0.5)
    nn.utils.clip_grad_value_([w], 0.1)
    np.testing.assert_allclose(w.grad.numpy(), [0.1, -0.1])


def test_a_classifier_reads_ragged_texts_as_if_each_were_alone():
    net = nn.SequenceClassifier("abc", ["x", "y"], cell="lstm", hidden_size=4).eval()
    together = net(["A", "abcab", "cc"]).numpy()
    alone = np.concatenate([net(text).numpy() for text in ("a", "abcab", "cc")])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-7)


def test_a_single_sample_and_a_sequence_of_classes_are_taken_along_the_right_axis(rng):
    logits, target = rng.standard_normal((2, 3, 4)), rng.integers(0, 3, (2, 4))
    by_hand = -np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    picked = np.take_along_axis(by_hand, target[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(F.cross_entropy(tg.tensor(logits), target, reduction="none").numpy(), picked)
    one = F.cross_entropy(tg.tensor(logits[0, :, 0]), tg.tensor(target[0, 0]))
    assert one.item() == pytest.approx(picked[0, 0])
