"""Loss scaling keeps small gradients, leaves out steps that overflowed, and finds its scale."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim


def step(scaler, optimizer, w, gradient):
    """A training step whose (unscaled) gradient is that number."""
    optimizer.zero_grad()
    with np.errstate(over="ignore", invalid="ignore"):
        scaler.scale((w * gradient).sum()).backward()
        scaler.step(optimizer)
    scaler.update()


def test_a_gradient_too_small_for_half_precision_counts():
    w = tg.tensor([0.0], dtype="float16", requires_grad=True)
    optimizer, scaler = optim.SGD([w], lr=1e6), optim.GradScaler(init_scale=2.0**10)
    step(scaler, optimizer, w, tg.tensor([2.0**-20], dtype="float16"))
    assert w.item() == pytest.approx(-1e6 * 2**-20, rel=1e-3)
    assert (tg.tensor([2.0**-20], dtype="float16") * 2**-8).item() == 0.0  # what would be lost without


def test_an_overflow_leaves_the_step_out_and_halves_the_scale():
    w = tg.tensor([1.0], dtype="float16", requires_grad=True)
    optimizer, scaler = optim.SGD([w], lr=0.5), optim.GradScaler(init_scale=2.0**15)
    step(scaler, optimizer, w, 4.0)  # 2¹⁷ is infinite
    assert (w.item(), scaler.get_scale()) == (1.0, 2.0**14)


def test_a_long_time_without_overflow_doubles_the_scale():
    w = tg.tensor([1.0], requires_grad=True)
    optimizer, scaler = optim.SGD([w], lr=0.0), optim.GradScaler(init_scale=8.0, growth_interval=3)
    found = []
    for gradient in (1.0, 1.0, 1.0, np.inf, 1.0, 1.0, 1.0):
        step(scaler, optimizer, w, gradient)
        found.append(scaler.get_scale())
    assert found == [8.0, 8.0, 16.0, 8.0, 8.0, 8.0, 16.0]


def test_gradients_are_clipped_between_unscaling_and_the_step():
    w = tg.tensor([3.0, 4.0], dtype="float16", requires_grad=True)
    optimizer, scaler = optim.SGD([w], lr=1.0), optim.GradScaler(init_scale=256.0)
    scaler.scale((w * w).sum() / 2).backward()
    scaler.unscale_(optimizer)
    assert w.grad.dtype == "float32"
    assert nn.utils.clip_grad_norm_([w], 1.0).item() == pytest.approx(5.0)
    scaler.step(optimizer)
    np.testing.assert_allclose(w.numpy(), [2.4, 3.2], rtol=1e-3)


def test_a_disabled_scaler_does_nothing_and_a_state_goes_on():
    w = tg.tensor([1.0], requires_grad=True)
    optimizer, off = optim.SGD([w], lr=0.5), optim.GradScaler(enabled=False)
    step(off, optimizer, w, 1.0)
    assert (w.item(), off.get_scale(), off.state_dict()) == (0.5, 1.0, {})
    one, other = optim.GradScaler(init_scale=8.0, growth_interval=2), optim.GradScaler()
    step(one, optimizer, w, 1.0)
    other.load_state_dict(one.state_dict())
    step(other, optimizer, w, 1.0)
    assert other.get_scale() == 16.0


def test_a_wrong_order_is_refused():
    w = tg.tensor([1.0], requires_grad=True)
    optimizer, scaler = optim.SGD([w]), optim.GradScaler()
    for call, said in (
        (scaler.update, "step or unscale_ before update"), (lambda: scaler.step(optimizer), "got none"),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=said):
            call()
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="got a second call"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="got a second one"):
        scaler.step(optimizer)
    with pytest.raises(ValueError, match="expected growth_factor > 1"):
        optim.GradScaler(growth_factor=1.0)
