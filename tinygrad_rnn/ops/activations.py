"""What networks put between their products."""

from __future__ import annotations

import math

from tinygrad_rnn.ops import special
from tinygrad_rnn.ops.functions import erf
from tinygrad_rnn.primitive import primitive

__all__ = [
    "sigmoid", "relu", "leaky_relu", "elu", "logaddexp", "softplus", "silu", "gelu",
]  # fmt: skip


@primitive
def sigmoid(xp, x, /):
    """Logistic function, 1/(1 + e⁻ˣ) = ½ tanh(½x) + ½, which cannot overflow."""
    half = special.half(x)
    y = half * xp.tanh(half * x)
    y += half
    return y


sigmoid.vjp(x=lambda g, y: g * (y - y * y))


@primitive
def relu(xp, x, /):
    """max(x, 0)."""
    return xp.maximum(x, 0)


relu.vjp(x=lambda g, y: g * (y > 0))


@primitive
def leaky_relu(xp, x, /, negative_slope=0.01):
    """x where positive, negative_slope·x elsewhere."""
    return xp.where(x > 0, x, negative_slope * x)


leaky_relu.vjp(x=lambda g, xp, x, negative_slope: xp.where(x > 0, g, negative_slope * g))


@primitive
def elu(xp, x, /, alpha=1.0):
    """x where positive, alpha·(eˣ - 1) elsewhere."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


elu.vjp(x=lambda g, xp, x, alpha: xp.where(x > 0, g, g * alpha * xp.exp(xp.minimum(x, 0))))


@primitive
def logaddexp(xp, a, b, /):
    """log(eᵃ + eᵇ), without overflow."""
    return xp.logaddexp(a, b)


logaddexp.vjp(
    a=lambda g, xp, a, b: g * sigmoid.within(xp)(a - b),
    b=lambda g, xp, a, b: g * sigmoid.within(xp)(b - a),
)


@primitive
def softplus(xp, x, /):
    """log(1 + eˣ)."""
    return xp.logaddexp(x, 0.0)


softplus.vjp(x=lambda g, xp, x: g * sigmoid.within(xp)(x))


@primitive
def silu(xp, x, /):
    """x·sigmoid(x), also called swish."""
    return x * sigmoid.primitive.forward(xp, x)


def _silu_rule(g, xp, x):
    s = sigmoid.within(xp)(x)
    return g * s * (1 + x * (1 - s))


silu.vjp(x=_silu_rule)


@primitive
def gelu(xp, x, /, approximate="none"):
    """x·Φ(x), Φ the normal distribution function; "tanh" approximates it. Source: Hendrycks & Gimpel 2016."""
    return 0.5 * x * (1 + _two_sided(xp, x, approximate))


def _two_sided(xp, x, approximate):
    """2Φ(x) - 1."""
    if approximate == "none":
        return erf.within(xp)(math.sqrt(0.5) * x)
    if approximate == "tanh":
        return xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
    raise ValueError(f"expected approximate 'none' or 'tanh', got {approximate!r}")


def _gelu_rule(g, xp, x, approximate):
    t = _two_sided(xp, x, approximate)
    if approximate == "none":
        slope = math.sqrt(2 / math.pi) * xp.exp(-0.5 * x * x)
    else:
        slope = math.sqrt(2 / math.pi) * (1 - t * t) * (1 + 3 * 0.044715 * x * x)
    return 0.5 * g * (1 + t + x * slope)


gelu.vjp(x=_gelu_rule)
