"""Gradient checks find what is wrong, and say where."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.check import GradientMismatch, check_grads
from tinygrad_rnn.primitive import primitive

pytestmark = pytest.mark.usefixtures("device")


@primitive
def wrong_at_one(xp, x, /):
    return xp.sin(x)


wrong_at_one.vjp(x=lambda g, xp, x: g * xp.cos(x) * xp.where(xp.equal(x, 3.0), 1.01, 1.0))


@primitive
def right_once(xp, x, /):
    return x * x * x


right_once.vjp(x=lambda g, x: 3 * g * (x * x).detach() if isinstance(x, tg.Tensor) else 3 * g * x * x)


@primitive
def forgets_broadcasting_twice(xp, a, b, /):
    return a * b


forgets_broadcasting_twice.vjp(a=lambda g, b: g * b, b=lambda g, a: g * 2 * a)


def test_a_right_rule_passes_and_the_error_is_small():
    assert check_grads(ops.tanh, np.array([0.5, -1.0]), order=3) < 1e-7


def test_the_worst_entry_is_named():
    with pytest.raises(GradientMismatch, match=r"order 1 with respect to input 0, entry \(1, 0\)") as found:
        check_grads(wrong_at_one, np.array([[1.0, 2.0], [3.0, 4.0]]))
    worst = found.value
    assert (worst.order, worst.input, worst.index) == (1, 0, (1, 0))
    assert worst.analytic == pytest.approx(1.01 * worst.numeric)


def test_a_rule_that_is_only_wrong_when_differentiated_is_found_at_order_two():
    check_grads(right_once, np.array([2.0]), order=1)
    with pytest.raises(GradientMismatch, match="order 2"):
        check_grads(right_once, np.array([2.0]), order=2)


def test_the_input_is_named():
    with pytest.raises(GradientMismatch, match="input 1"):
        check_grads(forgets_broadcasting_twice, np.ones((2, 3)), np.ones(3))


def test_a_gradient_that_is_nan_is_wrong():
    with np.errstate(all="ignore"), pytest.raises(GradientMismatch):
        check_grads(lambda x: ops.where(x > 5.0, ops.log(x - 2.0), x), np.array([2.0]))


def test_a_missing_gradient_is_wrong_and_a_true_zero_is_not():
    check_grads(ops.floor, np.array([0.5]))
    with pytest.raises(GradientMismatch):
        check_grads(lambda x: x.detach() * 2.0, np.array([0.5]))


def test_several_outputs_and_inputs_that_are_not_differentiated():
    check_grads(lambda x, i: (x[i], ops.sin(x)), np.array([1.0, 2.0]), np.array([0, 0, 1]))
    check_grads(lambda x: ops.split(x, 2), np.arange(4.0))


def test_float32_inputs_are_checked_in_float64():
    check_grads(lambda x: x**3, tg.tensor([1.5, 2.0]))


def test_the_inputs_are_left_alone():
    x = tg.tensor([1.5, 2.0], requires_grad=True)
    check_grads(ops.exp, x)
    assert x.grad is None
    assert x.tolist() == [1.5, 2.0]


def test_what_cannot_be_checked_is_said():
    with pytest.raises(ValueError, match="the same values at every call"):
        check_grads(lambda x: ops.dropout(x, 0.5), np.ones(50))
    with pytest.raises(ValueError, match="at least one floating input"):
        check_grads(ops.abs, np.array([1, 2]))
    with pytest.raises(ValueError, match="order ≥ 1"):
        check_grads(ops.abs, np.array([1.0]), order=0)
    with pytest.raises(TypeError, match="gives Tensors, got float64"):
        check_grads(lambda x: [x.numpy().sum()], np.array([1.0]))
