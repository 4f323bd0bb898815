"""Operations entry by entry: arithmetic, elementary functions, activations, comparisons, choice.

Each is a line, its rule the line below. Where a function has a kink or a jump (abs, relu, maximum), the
rule gives a valid subgradient; of two equal entries `maximum` and `minimum` each take half.
"""

from __future__ import annotations

import math

from tinygrad_rnn.ops import special
from tinygrad_rnn.primitive import primitive

__all__ = [
    "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "negative", "power", "square",
    "sqrt", "abs", "sign", "floor", "ceil", "round", "exp", "expm1", "log", "log1p", "log2", "log10",
    "sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2",
    "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh",
    "erf", "sigmoid", "relu", "leaky_relu", "elu", "logaddexp", "softplus", "silu", "gelu",
    "maximum", "minimum", "clip", "where",
    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
    "logical_and", "logical_or", "logical_xor", "logical_not",
    "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert", "isnan", "isinf", "isfinite",
]  # fmt: skip

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
def floor_divide(xp, a, b, /):
    """a / b, rounded down; its gradient is zero."""
    return xp.floor_divide(a, b)


floor_divide.vjp(a=lambda g, xp: xp.zeros_like(g), b=lambda g, xp: xp.zeros_like(g))


@primitive
def remainder(xp, a, b, /):
    """a - b·floor(a / b), with the sign of b."""
    return xp.remainder(a, b)


remainder.vjp(a=lambda g: g, b=lambda g, xp, a, b: -g * xp.floor(a / b))


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
    return g * (b * a ** xp.where(xp.equal(b, 0), 1, b - 1))


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


@primitive
def floor(xp, x, /):
    """The greatest integer ≤ x; its gradient is zero."""
    return xp.floor(x)


floor.vjp(x=lambda g, xp: xp.zeros_like(g))


@primitive
def ceil(xp, x, /):
    """The least integer ≥ x; its gradient is zero."""
    return xp.ceil(x)


ceil.vjp(x=lambda g, xp: xp.zeros_like(g))


@primitive
def round(xp, x, /, decimals=0):
    """The nearest multiple of 10⁻ᵈ, d = decimals (halves to the even one); its gradient is zero."""
    return xp.round(x, decimals)


round.vjp(x=lambda g, xp: xp.zeros_like(g))


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
def log2(xp, x, /):
    """Logarithm to base 2."""
    return xp.log2(x)


log2.vjp(x=lambda g, x: g / (x * math.log(2)))


@primitive
def log10(xp, x, /):
    """Logarithm to base 10."""
    return xp.log10(x)


log10.vjp(x=lambda g, x: g / (x * math.log(10)))


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
def arcsinh(xp, x, /):
    """Inverse hyperbolic sine."""
    return xp.arcsinh(x)


arcsinh.vjp(x=lambda g, xp, x: g / xp.sqrt(x * x + 1))


@primitive
def arccosh(xp, x, /):
    """Inverse hyperbolic cosine."""
    return xp.arccosh(x)


arccosh.vjp(x=lambda g, xp, x: g / xp.sqrt(x * x - 1))


@primitive
def arctanh(xp, x, /):
    """Inverse hyperbolic tangent."""
    return xp.arctanh(x)


arctanh.vjp(x=lambda g, x: g / (1 - x * x))


@primitive
def erf(xp, x, /):
    """Error function, 2/√π ∫₀ˣ exp(-t²) dt."""
    return special.erf(x)


erf.vjp(x=lambda g, xp, x: g * xp.exp(-(x * x)) * (2 / math.sqrt(math.pi)))


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
    return x * (0.5 * xp.tanh(0.5 * x) + 0.5)


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


# -- choice --------------------------------------------------------------------------------------------


@primitive
def maximum(xp, a, b, /):
    """The greater of a and b."""
    return xp.maximum(a, b)


maximum.vjp(
    a=lambda g, xp, a, b: xp.where(xp.equal(a, b), 0.5 * g, g * (a > b)),
    b=lambda g, xp, a, b: xp.where(xp.equal(a, b), 0.5 * g, g * (a < b)),
)


@primitive
def minimum(xp, a, b, /):
    """The smaller of a and b."""
    return xp.minimum(a, b)


minimum.vjp(
    a=lambda g, xp, a, b: xp.where(xp.equal(a, b), 0.5 * g, g * (a < b)),
    b=lambda g, xp, a, b: xp.where(xp.equal(a, b), 0.5 * g, g * (a > b)),
)


@primitive
def clip(xp, x, min=None, max=None, /):
    """x, held between min and max (either may be None); on a bound the gradient goes to x."""
    return xp.clip(x, min, max)


clip.vjp(
    x=lambda g, xp, x, y: g * xp.equal(x, y),
    min=lambda g, xp, x, min: g * (x < min),
    max=lambda g, xp, x, max: g * (x > max),
)


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
def logical_xor(xp, a, b, /):
    """Either a or b, not both, entry by entry."""
    return xp.logical_xor(a, b)


@primitive
def logical_not(xp, x, /):
    """not x, entry by entry."""
    return xp.logical_not(x)


@primitive
def bitwise_and(xp, a, b, /):
    """a & b, of booleans or the bits of integers."""
    return xp.bitwise_and(a, b)


@primitive
def bitwise_or(xp, a, b, /):
    """a | b, of booleans or the bits of integers."""
    return xp.bitwise_or(a, b)


@primitive
def bitwise_xor(xp, a, b, /):
    """a ^ b, of booleans or the bits of integers."""
    return xp.bitwise_xor(a, b)


@primitive
def bitwise_invert(xp, x, /):
    """~x, of booleans or the bits of integers."""
    return xp.invert(x)


@primitive
def isnan(xp, x, /):
    """Whether each entry is NaN."""
    return xp.isnan(x)


@primitive
def isinf(xp, x, /):
    """Whether each entry is infinite."""
    return xp.isinf(x)


@primitive
def isfinite(xp, x, /):
    """Whether each entry is neither NaN nor infinite."""
    return xp.isfinite(x)
