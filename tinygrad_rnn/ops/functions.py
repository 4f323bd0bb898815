"""Exponentials, logarithms, trigonometric and hyperbolic functions, the error function."""

from __future__ import annotations

import math

from tinygrad_rnn.ops import special
from tinygrad_rnn.primitive import primitive

__all__ = [
    "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin",
    "arccos", "arctan", "arctan2", "arcsinh", "arccosh", "arctanh", "erf",
]  # fmt: skip


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


tanh.vjp(x=lambda g, y: g * (special.one(y) - y * y))


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
