"""Products of matrices, and the affine map that networks are made of."""

from __future__ import annotations

from tinygrad_rnn.primitive import primitive


def _matmul_a(g, xp, b, a_shape):
    """∂a of a @ b: g @ bᵀ, vectors taken as one row or one column."""
    if b.ndim == 1:
        return g[..., None] * b if len(a_shape) > 1 else g * b
    return xp.matmul(g if len(a_shape) > 1 else g[..., None, :], xp.swapaxes(b, -1, -2)) if len(a_shape) > 1 else (
        xp.sum(g[..., None, :] * b, axis=-1)
    )


def _matmul_b(g, xp, a, b_shape):
    """∂b of a @ b: aᵀ @ g, vectors taken as one row or one column."""
    if a.ndim == 1:
        return a[:, None] * g[..., None, :] if len(b_shape) > 1 else g * a
    if len(b_shape) == 1:
        return xp.reshape(xp.sum(a * g[..., None], axis=tuple(range(a.ndim - 1))), b_shape)
    return xp.matmul(xp.swapaxes(a, -1, -2), g)


@primitive
def matmul(xp, a, b, /):
    """Matrix product over the last two axes, broadcast over the others."""
    return xp.matmul(a, b)


matmul.vjp(a=_matmul_a, b=_matmul_b)


@primitive
def linear(xp, x, weight, bias=None, /):
    """x @ weightᵀ + bias: x (…, I), weight (O, I), bias (O) or None → (…, O)."""
    y = xp.matmul(x, weight.T)
    return y if bias is None else y + bias


def _weight_rule(g, xp, x):
    if x.ndim != 2:
        g, x = xp.reshape(g, (-1, g.shape[-1])), xp.reshape(x, (-1, x.shape[-1]))
    return xp.matmul(g.T, x)


linear.vjp(x=lambda g, xp, weight: xp.matmul(g, weight), weight=_weight_rule, bias=lambda g: g)
