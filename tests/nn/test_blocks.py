"""Convolution, pooling and batch normalisation as modules: known values, what is kept, wrong calls."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F


def test_a_convolution_slides_its_weight_along_the_input(rng):
    net, x = nn.Conv1d(1, 1, 3, padding=2, dtype="float64"), rng.standard_normal(7)
    by_hand = np.convolve(x, net.weight.numpy()[0, 0, ::-1]) + net.bias.item()
    np.testing.assert_allclose(net(tg.tensor(x[None]))[0].numpy(), by_hand)


def test_a_convolution_is_one_matrix_product_however_long_the_input():
    for length in (5, 50):
        made = [v.op for v in tg.trace(nn.Conv1d(2, 3, 3, groups=1)(tg.zeros(4, 2, length))).nodes]
        assert made.count("matmul") == 1 and len(made) < 20


def test_a_circular_convolution_turns_with_its_input(rng):
    net = nn.Conv2d(1, 2, 3, padding="same", padding_mode="circular", dtype="float64")
    x = rng.standard_normal((1, 1, 4, 5))
    turned = net(tg.tensor(np.roll(x, (1, 2), axis=(2, 3)))).numpy()
    np.testing.assert_allclose(turned, np.roll(net(tg.tensor(x)).numpy(), (1, 2), axis=(2, 3)))


def test_weights_start_within_the_square_root_of_their_fan_in():
    net = nn.Conv2d(4, 64, 3)
    for w in (net.weight, net.bias):
        assert 0.8 * (4 * 9) ** -0.5 < abs(w.numpy()).max() <= (4 * 9) ** -0.5


def test_batch_norm_standardises_by_the_batch_then_by_what_it_has_seen(rng):
    net, x = nn.BatchNorm1d(3, eps=0.0, momentum=0.25, dtype="float64"), rng.standard_normal((8, 3, 5))
    y = net(tg.tensor(x)).numpy()
    np.testing.assert_allclose(y.mean(axis=(0, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(0, 2)), 1)
    mean, var = 0.25 * x.mean(axis=(0, 2)), 0.75 + 0.25 * x.var(axis=(0, 2), ddof=1)
    np.testing.assert_allclose(net.running_mean.numpy(), mean)
    np.testing.assert_allclose(net.running_var.numpy(), var)
    seen = net.eval()(tg.tensor(x[:, :, 0])).numpy()
    np.testing.assert_allclose(seen, (x[:, :, 0] - mean) / np.sqrt(var))
    assert net.num_batches_tracked.item() == 1


def test_without_momentum_the_running_mean_is_the_plain_average(rng):
    net, xs = nn.BatchNorm1d(2, momentum=None, dtype="float64"), rng.standard_normal((3, 6, 2))
    for x in xs:
        net(tg.tensor(x))
    np.testing.assert_allclose(net.running_mean.numpy(), xs.mean(axis=(0, 1)))


def test_running_statistics_travel_in_the_state_dict_and_move_with_the_module():
    net, other = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    net(tg.randn(5, 2))
    assert list(net.state_dict()) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    other.load_state_dict(net.state_dict())
    assert (other.running_mean == net.running_mean).all() and other.num_batches_tracked.item() == 1
    assert net.double().running_var.dtype == np.float64 and net.num_batches_tracked.dtype == np.int64


def test_indices_of_the_largest_count_the_last_axes_as_one(rng):
    x = rng.standard_normal((2, 3, 7, 6))
    y, indices = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True, return_indices=True)(tg.tensor(x))
    flat = indices.numpy().reshape(2, 3, -1)
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(2, 3, -1), flat, -1).reshape(y.shape), y.numpy()
    )
    assert indices.dtype == np.int64 and nn.AvgPool2d(2, divisor_override=1)(tg.ones(1, 2, 2)).item() == 4


def test_derivatives_to_second_order(rng):
    x, w = rng.standard_normal((3, 2, 4)), rng.standard_normal((2, 2, 2))
    tg.check_grads(lambda x, w: F.batch_norm(F.conv1d(x, w), None, None, training=True), x, w, order=2)


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: nn.Conv1d(3, 4, 2)(tg.zeros(2, 4, 5)), ValueError, r"input \(N, 3, L\) or one example, got"),
        (lambda: nn.Conv2d(3, 4, 2)(tg.zeros(3, 5)), ValueError, r"input \(N, 3, H, W\) .* got \(3, 5\)"),
        (lambda: nn.Conv1d(3, 4, 2, groups=2), ValueError, "channels that groups divide, got 3 and 4"),
        (lambda: nn.Conv1d(3, 4, 2, padding_mode="same"), ValueError, "padding_mode among .* got 'same'"),
        (lambda: nn.Conv1d(3, 4, 2, stride=2, padding="same"), ValueError, "Conv1d: expected stride 1"),
        (lambda: nn.Conv2d(3, 4, (2, 2, 2)), ValueError, r"Conv2d: expected one int ≥ 0, or 2 of them"),
        (lambda: nn.Conv1d(1, 1, 9)(tg.zeros(1, 5)), ValueError, r"windows that fit into \(5,\), got \(9,\)"),
        (lambda: nn.BatchNorm1d(3)(tg.zeros(2, 4)), ValueError, r"\(N, 3\) or \(N, 3, L\), got \(2, 4\)"),
        (lambda: nn.BatchNorm2d(3)(tg.zeros(2, 3)), ValueError, r"input \(N, 3, H, W\), got \(2, 3\)"),
        (lambda: nn.BatchNorm1d(3)(tg.zeros(1, 3)), ValueError, "more than one value per feature"),
        (lambda: F.batch_norm(tg.zeros(2, 3), None, None), ValueError, "running statistics outside training"),
    ],
)
def test_a_wrong_call_is_refused_in_one_sentence(call, kind, said):
    with pytest.raises(kind, match=said):
        call()
