"""Operations entry by entry: arithmetic, elementary functions, activations, comparisons, choice.

Each is a line, its rule the line below. Where a function has a kink or a jump (abs, relu, maximum), the
rule gives a valid subgradient; of two equal entries `maximum` and `minimum` each take half.
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_rnn.ops import special
from tinygrad_rnn.primitive import primitive

# -- arithmetic ----------------------------------------------------------------------------------------


@primitive
def add(xp, a, b, /):
    """a + b."""
    return xp.add(a, b)


add.vjp(a=lambda g: g, b=lambda g: g)


@primitive
def subtract(xp, a, b, /):
    """a - b."""
    return xp.subtract(a, b)


subtract.vjp(a=lambda g: g, b=lambda g: -g)


@primitive
def multiply(xp, a, b, /):
    """a·b."""
    return xp.multiply(a, b)


multiply.vjp(a=lambda g, b: g * b, b=lambda g, a: g * a)


@primitive
def divide(xp, a, b, /):
    """a / b."""
    return xp.divide(a, b)


divide.vjp(a=lambda g, b: g / b, b=lambda g, y, b: -g * y / b)


@primitive
def negative(xp, x, /):
    """-x."""
    return xp.negative(x)


negative.vjp(x=lambda g: -g)


@primitive
def power(xp, a, b, /):
    """a to the power b; where a ≤ 0 the exponent gets no gradient."""
    return a**b


def _base_rule(g, xp, a, b):
    if isinstance(b, int | float):
        return g * (b * a ** (b - 1)) if b else xp.zeros_like(a)
    return g * (b * a ** xp.where(b == 0, 1, b - 1))


power.vjp(a=_base_rule, b=lambda g, xp, y, a: g * y * xp.log(xp.where(a > 0, a, 1.0)))


@primitive
def square(xp, x, /):
    """x²."""
    return xp.square(x)


square.vjp(x=lambda g, x: 2 * g * x)


@primitive
def sqrt(xp, x, /):
    """√x."""
    return xp.sqrt(x)


sqrt.vjp(x=lambda g, y: g / (2 * y))


@primitive
def abs(xp, x, /):
    """|x|."""
    return xp.abs(x)


abs.vjp(x=lambda g, xp, x: g * xp.sign(x))


@primitive
def sign(xp, x, /):
    """-1, 0 or 1; its gradient is zero."""
    return xp.sign(x)


sign.vjp(x=lambda g, xp: xp.zeros_like(g))


# -- elementary functions ------------------------------------------------------------------------------


@primitive
def exp(xp, x, /):
    """eˣ."""
    return xp.exp(x)


exp.vjp(x=lambda g, y: g * y)


@primitive
def expm1(xp, x, /):
    """eˣ - 1, exact near 0."""
    return xp.expm1(x)


expm1.vjp(x=lambda g, y: g * (y + 1))


@primitive
def log(xp, x, /):
    """Natural logarithm."""
    return xp.log(x)


log.vjp(x=lambda g, x: g / x)


@primitive
def log1p(xp, x, /):
    """log(1 + x), exact near 0."""
    return xp.log1p(x)


log1p.vjp(x=lambda g, x: g / (1 + x))


@primitive
def sin(xp, x, /):
    """Sine of an angle in radians."""
    return xp.sin(x)


sin.vjp(x=lambda g, xp, x: g * xp.cos(x))


@primitive
def cos(xp, x, /):
    """Cosine of an angle in radians."""
    return xp.cos(x)


cos.vjp(x=lambda g, xp, x: -g * xp.sin(x))


@primitive
def tan(xp, x, /):
    """Tangent of an angle in radians."""
    return xp.tan(x)


tan.vjp(x=lambda g, y: g * (1 + y * y))


@primitive
def sinh(xp, x, /):
    """Hyperbolic sine."""
    return xp.sinh(x)


sinh.vjp(x=lambda g, xp, x: g * xp.cosh(x))


@primitive
def cosh(xp, x, /):
    """Hyperbolic cosine."""
    return xp.cosh(x)


cosh.vjp(x=lambda g, xp, x: g * xp.sinh(x))


@primitive
def tanh(xp, x, /):
    """Hyperbolic tangent."""
    return xp.tanh(x)


tanh.vjp(x=lambda g, y: g * (1 - y * y))


@primitive
def arcsin(xp, x, /):
    """Inverse sine, in radians."""
    return xp.arcsin(x)


arcsin.vjp(x=lambda g, xp, x: g / xp.sqrt(1 - x * x))


@primitive
def arccos(xp, x, /):
    """Inverse cosine, in radians."""
    return xp.arccos(x)


arccos.vjp(x=lambda g, xp, x: -g / xp.sqrt(1 - x * x))


@primitive
def arctan(xp, x, /):
    """Inverse tangent, in radians."""
    return xp.arctan(x)


arctan.vjp(x=lambda g, x: g / (1 + x * x))


@primitive
def arctan2(xp, a, b, /):
    """Angle of the point (b, a), in radians."""
    return xp.arctan2(a, b)


arctan2.vjp(
    a=lambda g, a, b: g * b / (a * a + b * b),
    b=lambda g, a, b: -g * a / (a * a + b * b),
)


@primitive
def erf(xp, x, /):
    """Error function, 2/√π ∫₀ˣ exp(-t²) dt."""
    return special.erf(x)


erf.vjp(x=lambda g, xp, x: g * xp.exp(-x * x) * (2 / math.sqrt(math.pi)))


# -- activations ---------------------------------------------------------------------------------------


@primitive
def sigmoid(xp, x, /):
    """Logistic function, 1/(1 + e⁻ˣ) = ½ tanh(½x) + ½, which cannot overflow."""
    return 0.5 * xp.tanh(0.5 * x) + 0.5


sigmoid.vjp(x=lambda g, y: g * y * (1 - y))


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
def softplus(xp, x, /):
    """log(1 + eˣ)."""
    return xp.logaddexp(x, 0.0)


softplus.vjp(x=lambda g, xp, x: g * (0.5 * xp.tanh(0.5 * x) + 0.5))


def silu(x: Any) -> Any:
    """x·sigmoid(x), also called swish."""
    return x * sigmoid(x)


def gelu(x: Any) -> Any:
    """x·Φ(x), with Φ the normal distribution function (Hendrycks & Gimpel 2016), exact form."""
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


# -- choice --------------------------------------------------------------------------------------------


@primitive
def maximum(xp, a, b, /):
    """The greater of a and b."""
    return xp.maximum(a, b)


maximum.vjp(
    a=lambda g, xp, a, b: xp.where(a == b, 0.5 * g, g * (a > b)),
    b=lambda g, xp, a, b: xp.where(a == b, 0.5 * g, g * (b > a)),
)


@primitive
def minimum(xp, a, b, /):
    """The smaller of a and b."""
    return xp.minimum(a, b)


minimum.vjp(
    a=lambda g, xp, a, b: xp.where(a == b, 0.5 * g, g * (a < b)),
    b=lambda g, xp, a, b: xp.where(a == b, 0.5 * g, g * (b < a)),
)


@primitive
def clip(xp, x, /, min=None, max=None):
    """x, held between min and max (either may be None)."""
    return xp.clip(x, min, max)


clip.vjp(x=lambda g, y, x: g * (y == x))


@primitive
def where(xp, condition, a, b, /):
    """a where the condition holds, b elsewhere."""
    return xp.where(condition, a, b)


where.vjp(
    a=lambda g, xp, condition: xp.where(condition, g, 0.0),
    b=lambda g, xp, condition: xp.where(condition, 0.0, g),
)


# -- comparisons (no gradient) -------------------------------------------------------------------------


@primitive
def equal(xp, a, b, /):
    """a = b, entry by entry."""
    return xp.equal(a, b)


@primitive
def not_equal(xp, a, b, /):
    """a ≠ b, entry by entry."""
    return xp.not_equal(a, b)


@primitive
def less(xp, a, b, /):
    """a < b, entry by entry."""
    return xp.less(a, b)


@primitive
def less_equal(xp, a, b, /):
    """a ≤ b, entry by entry."""
    return xp.less_equal(a, b)


@primitive
def greater(xp, a, b, /):
    """a > b, entry by entry."""
    return xp.greater(a, b)


@primitive
def greater_equal(xp, a, b, /):
    """a ≥ b, entry by entry."""
    return xp.greater_equal(a, b)


@primitive
def logical_and(xp, a, b, /):
    """a and b, entry by entry."""
    return xp.logical_and(a, b)


@primitive
def logical_or(xp, a, b, /):
    """a or b, entry by entry."""
    return xp.logical_or(a, b)


@primitive
def logical_not(xp, x, /):
    """not x, entry by entry."""
    return xp.logical_not(x)


@primitive
def isnan(xp, x, /):
    """Whether each entry is NaN."""
    return xp.isnan(x)


@primitive
def isfinite(xp, x, /):
    """Whether each entry is neither NaN nor infinite."""
    return xp.isfinite(x)
