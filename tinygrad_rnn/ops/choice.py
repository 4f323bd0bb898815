"""The greater, the smaller, the bounded, the chosen; and comparisons, which have no gradient."""

from __future__ import annotations

from tinygrad_rnn.primitive import primitive

__all__ = [
    "maximum", "minimum", "clip", "where", "equal", "not_equal", "less", "less_equal", "greater",
    "greater_equal", "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or",
    "bitwise_xor", "bitwise_invert", "isnan", "isinf", "isfinite",
]  # fmt: skip


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
