"""Operations along axes: sums, products, extremes, spread, softmax.

`axis` is None (all), an int or a tuple; `keepdims` keeps the reduced axes with length 1. A rule puts the
reduced axes back (`_kept`) and lets the sweep stretch them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_rnn.ops import elementwise
from tinygrad_rnn.primitive import primitive

__all__ = [
    "sum", "mean", "prod", "max", "min", "var", "std", "norm", "standardize", "layer_norm",
    "logsumexp", "softmax", "log_softmax", "cumsum", "cumprod", "linear_recurrence",
    "any", "all", "argmax", "argmin",
]  # fmt: skip


Axis = int | tuple[int, ...] | None
"""Along what: one axis, several, or all."""


def _axes(axis, ndim):
    """The reduced axes as non-negative numbers."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple | list) else (axis,))) if ndim else ()


def _kept(value, xp, shape, axis):
    """A reduced value with its axes put back, length 1 each."""
    axes = _axes(axis, len(shape))
    return xp.reshape(value, tuple(1 if i in axes else n for i, n in enumerate(shape)))


def _count(shape, axis):
    """How many entries were reduced into one."""
    return math.prod(shape[a] for a in _axes(axis, len(shape)))


def _divisor(xp, y):
    """y to divide by, 1 where it is zero: there the numerator is zero too, and so is the quotient."""
    return xp.where(xp.equal(y, 0), 1.0, y)


# -- sums and products ---------------------------------------------------------------------------------


@primitive
def sum(xp, x, /, axis=None, keepdims=False):
    """Sum along `axis`."""
    return xp.sum(x, axis=axis, keepdims=keepdims)


sum.vjp(x=lambda g, xp, x_shape, axis: _kept(g, xp, x_shape, axis))


@primitive
def mean(xp, x, /, axis=None, keepdims=False):
    """Mean along `axis`."""
    return xp.mean(x, axis=axis, keepdims=keepdims)


mean.vjp(x=lambda g, xp, x_shape, axis: _kept(g / (_count(x_shape, axis) or 1), xp, x_shape, axis))


@primitive
def prod(xp, x, /, axis=None, keepdims=False):
    """Product along `axis`."""
    return xp.prod(x, axis=axis, keepdims=keepdims)


def _prod_rule(g, xp, x, axis):
    """To each entry the product of the others, those before and those after: right also at zeros."""
    axes = _axes(axis, x.ndim)
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    order = (*rest, *axes)
    rows = xp.reshape(xp.transpose(x, order), (*(x.shape[i] for i in rest), _count(x.shape, axis)))
    after = xp.flip(_before(xp.flip(rows, axis=-1), xp), axis=-1)
    others = xp.reshape(_before(rows, xp) * after, tuple(x.shape[i] for i in order))
    return _kept(g, xp, x.shape, axis) * xp.transpose(others, sorted(range(x.ndim), key=order.__getitem__))


def _before(x, xp):
    """The product of all entries before each, along the last axis."""
    ahead = xp.concatenate([xp.ones_like(x[..., :1]), x[..., :-1]], axis=-1)
    return xp.cumprod(ahead, axis=-1)


prod.vjp(x=_prod_rule)


@primitive
def cumsum(xp, x, /, axis=None):
    """Running sum along `axis` (of the flattened x by default)."""
    return xp.cumsum(x, axis=axis)


def _cumsum_rule(g, xp, x_shape, axis):
    along = axis or 0
    return xp.reshape(xp.flip(xp.cumsum(xp.flip(g, axis=along), axis=along), axis=along), x_shape)


cumsum.vjp(x=_cumsum_rule)


@primitive
def cumprod(xp, x, /, axis=None):
    """Running product along `axis` (of the flattened x by default)."""
    return xp.cumprod(x, axis=axis)


def _cumprod_rule(g, xp, x, axis):
    """x̄ᵢ = (product before i)·sᵢ with sᵢ = gᵢ + xᵢ₊₁·sᵢ₊₁: exact where entries are zero."""
    rows = xp.reshape(x, (-1,)) if axis is None or not x.ndim else xp.moveaxis(x, axis, -1)
    g = g if axis is None or not x.ndim else xp.moveaxis(g, axis, -1)
    ahead = xp.concatenate([rows[..., 1:], xp.zeros_like(rows[..., :1])], axis=-1)
    s = xp.flip(linear_recurrence.within(xp)(xp.flip(ahead, axis=-1), xp.flip(g, axis=-1)), axis=-1)
    d = _before(rows, xp) * s
    return xp.reshape(d, x.shape) if axis is None or not x.ndim else xp.moveaxis(d, -1, axis)


cumprod.vjp(x=_cumprod_rule)


@primitive
def linear_recurrence(xp, a, b, /):
    """hᵢ = aᵢ·hᵢ₋₁ + bᵢ along the last axis, h = 0 before the first; a and b of one shape."""
    h = xp.empty_like(b)
    before = 0
    for i in range(b.shape[-1]):
        h[..., i] = before = a[..., i] * before + b[..., i]
    return h


def _recurrence_b(g, xp, a):
    """b̄ᵢ = gᵢ + aᵢ₊₁·b̄ᵢ₊₁: the same recurrence, run backwards."""
    ahead = xp.concatenate([a[..., 1:], xp.zeros_like(a[..., :1])], axis=-1)
    return xp.flip(linear_recurrence.within(xp)(xp.flip(ahead, axis=-1), xp.flip(g, axis=-1)), axis=-1)


def _recurrence_a(g, xp, a, y):
    return _recurrence_b(g, xp, a) * xp.concatenate([xp.zeros_like(y[..., :1]), y[..., :-1]], axis=-1)


linear_recurrence.vjp(a=_recurrence_a, b=_recurrence_b)


# -- extremes ------------------------------------------------------------------------------------------


def _extreme_rule(g, xp, x, y, axis):
    mask = xp.equal(x, _kept(y, xp, x.shape, axis)).astype(g.dtype)
    return mask * (_kept(g, xp, x.shape, axis) / xp.sum(mask, axis=axis, keepdims=True))


@primitive
def max(xp, x, /, axis=None, keepdims=False):
    """Largest entry along `axis`; equal ones share the gradient."""
    return xp.max(x, axis=axis, keepdims=keepdims)


max.vjp(x=_extreme_rule)


@primitive
def min(xp, x, /, axis=None, keepdims=False):
    """Smallest entry along `axis`; equal ones share the gradient."""
    return xp.min(x, axis=axis, keepdims=keepdims)


min.vjp(x=_extreme_rule)


# -- spread and length ---------------------------------------------------------------------------------


@primitive
def var(xp, x, /, axis=None, correction=0, keepdims=False):
    """Σ(x - mean)² / (n - correction) along `axis`; NumPy's correction is 0, PyTorch's 1."""
    return xp.var(x, axis=axis, ddof=correction, keepdims=keepdims)


def _deviation(x, xp, axis, correction):
    """(x - mean) / (n - correction)."""
    freedom = _count(x.shape, axis) - correction
    return (x - xp.mean(x, axis=axis, keepdims=True)) * (1 / freedom if freedom > 0 else math.nan)


var.vjp(
    x=lambda g, xp, x, axis, correction: 2 * _kept(g, xp, x.shape, axis) * _deviation(x, xp, axis, correction)
)


@primitive
def std(xp, x, /, axis=None, correction=0, keepdims=False):
    """√var; no gradient where it is zero."""
    return xp.std(x, axis=axis, ddof=correction, keepdims=keepdims)


std.vjp(
    x=lambda g, xp, x, y, axis, correction: (
        _kept(g / _divisor(xp, y), xp, x.shape, axis) * _deviation(x, xp, axis, correction)
    )
)


@primitive
def _euclidean(xp, x, /, axis=None, keepdims=False):
    return xp.sqrt(xp.sum(x * x, axis=axis, keepdims=keepdims))


_euclidean.vjp(x=lambda g, xp, x, y, axis: _kept(g / _divisor(xp, y), xp, x.shape, axis) * x)


def norm(x: Any, ord: float | None = 2, axis: Axis = None, keepdims: bool = False) -> Any:
    """(Σ|x|ᵖ)^(1/p) along `axis`, p = ord: the length of a vector; for a whole matrix Frobenius's norm.

    `ord` may be inf (the largest |x|), -inf (the smallest) and 0 (how many are not zero). Where a length is
    zero, its gradient is zero. (numpy.linalg.vector_norm; the matrix norms are not here.)
    """
    if ord in (2, None):
        return _euclidean(x, axis, keepdims)
    size = elementwise.abs(x)
    if ord == math.inf:
        return max(size, axis, keepdims)
    if ord == -math.inf:
        return min(size, axis, keepdims)
    if ord == 0:
        return sum(elementwise.sign(size), axis, keepdims)
    if ord == 1:
        return sum(size, axis, keepdims)
    return sum(size**ord, axis, keepdims) ** (1 / ord)


@primitive
def standardize(xp, x, /, axis=-1, eps=1e-5):
    """(x - mean) / √(var + eps) along `axis` (an int or a tuple)."""
    apart = x - xp.mean(x, axis=axis, keepdims=True)
    return apart / xp.sqrt(xp.mean(apart * apart, axis=axis, keepdims=True) + eps)


def _standardize_rule(g, xp, x, y, axis, eps):
    def mean(value):
        return xp.mean(value, axis=axis, keepdims=True)

    return (g - mean(g) - y * mean(g * y)) / xp.sqrt(xp.var(x, axis=axis, keepdims=True) + eps)


standardize.vjp(x=_standardize_rule)


def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """x standardised over its last axes, which `normalized_shape` names; then times weight, plus bias.

    Source: Ba, Kiros & Hinton 2016; arguments as PyTorch's.
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(f"layer_norm: expected x to end in the axes {shape}, got shape {tuple(x.shape)}")
    y = standardize(x, tuple(range(-len(shape), 0)), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


# -- exponentials --------------------------------------------------------------------------------------


def _top(xp, x, axis):
    """The largest entry along `axis`, to be taken off before exp; 0 where there is none, or none finite."""
    if not x.size:
        return xp.sum(x, axis=axis, keepdims=True)
    top = xp.max(x, axis=axis, keepdims=True)
    return xp.where(xp.isfinite(top), top, 0.0)


@primitive
def logsumexp(xp, x, /, axis=None, keepdims=False):
    """log Σ eˣ along `axis`, without overflow; -inf where all x are."""
    top = _top(xp, x, axis)
    with np.errstate(divide="ignore"):
        y = xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top
    return y if keepdims else xp.squeeze(y, axis=_axes(axis, x.ndim))


def _logsumexp_rule(g, xp, x, y, axis):
    y = xp.where(xp.isfinite(y), y, 0.0)
    return _kept(g, xp, x.shape, axis) * xp.exp(x - _kept(y, xp, x.shape, axis))


logsumexp.vjp(x=_logsumexp_rule)


@primitive
def softmax(xp, x, /, axis=-1):
    """eˣ / Σ eˣ along `axis`; zeros where all x are -inf."""
    e = xp.exp(x - _top(xp, x, axis))
    return e / _divisor(xp, xp.sum(e, axis=axis, keepdims=True))


softmax.vjp(x=lambda g, xp, y, axis: y * (g - xp.sum(g * y, axis=axis, keepdims=True)))


@primitive
def log_softmax(xp, x, /, axis=-1):
    """x - log Σ eˣ along `axis`."""
    shifted = x - _top(xp, x, axis)
    with np.errstate(divide="ignore"):
        return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


log_softmax.vjp(x=lambda g, xp, y, axis: g - xp.exp(y) * xp.sum(g, axis=axis, keepdims=True))


# -- tests and positions (no gradient) -----------------------------------------------------------------


@primitive
def any(xp, x, /, axis=None, keepdims=False):
    """Whether any entry along `axis` is true; no gradient."""
    return xp.any(x, axis=axis, keepdims=keepdims)


@primitive
def all(xp, x, /, axis=None, keepdims=False):
    """Whether every entry along `axis` is true; no gradient."""
    return xp.all(x, axis=axis, keepdims=keepdims)


@primitive
def argmax(xp, x, /, axis=None, keepdims=False):
    """Index of the largest entry along `axis`; no gradient."""
    return xp.argmax(x, axis=axis, keepdims=keepdims)


@primitive
def argmin(xp, x, /, axis=None, keepdims=False):
    """Index of the smallest entry along `axis`; no gradient."""
    return xp.argmin(x, axis=axis, keepdims=keepdims)
