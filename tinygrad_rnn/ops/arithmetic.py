"""Sums, products, powers, absolute values, rounding."""

from __future__ import annotations

from tinygrad_rnn.primitive import primitive

__all__ = [
    "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "negative", "power", "square",
    "sqrt", "abs", "sign", "floor", "ceil", "round",
]  # fmt: skip


@primitive
def add(xp, a, b, /):
    """a + b."""
    return a + b


add.vjp(a=lambda g: g, b=lambda g: g)


@primitive
def subtract(xp, a, b, /):
    """a - b."""
    return a - b


subtract.vjp(a=lambda g: g, b=lambda g: -g)


@primitive
def multiply(xp, a, b, /):
    """a·b."""
    return a * b


multiply.vjp(a=lambda g, b: g * b, b=lambda g, a: g * a)


@primitive
def divide(xp, a, b, /):
    """a / b."""
    return a / b


divide.vjp(a=lambda g, b: g / b, b=lambda g, y, b: -g * y / b)


@primitive
def floor_divide(xp, a, b, /):
    """a / b, rounded down; its gradient is zero."""
    return a // b


floor_divide.vjp(a=lambda g, xp: xp.zeros_like(g), b=lambda g, xp: xp.zeros_like(g))


@primitive
def remainder(xp, a, b, /):
    """a - b·floor(a / b), with the sign of b."""
    return a % b


remainder.vjp(a=lambda g: g, b=lambda g, xp, a, b: -g * xp.floor(a / b))


@primitive
def negative(xp, x, /):
    """-x."""
    return -x


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
