"""Operations along axes: sums, products, extremes, spread, softmax.

`axis` is None (all), an int or a tuple; `keepdims` keeps the reduced axes with length 1. A rule puts the
reduced axes back (`_kept`) and lets the sweep stretch them.
"""

from __future__ import annotations

from typing import Any

from tinygrad_rnn.primitive import primitive


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """The reduced axes as non-negative numbers."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple | list) else (axis,))) if ndim else ()


def _kept(value: Any, xp: Any, shape: tuple[int, ...], axis: Any) -> Any:
    """A reduced value with its axes put back, length 1 each."""
    axes = _axes(axis, len(shape))
    return xp.reshape(value, tuple(1 if i in axes else n for i, n in enumerate(shape)))


def _count(shape: tuple[int, ...], axis: Any) -> int:
    """How many entries were reduced into one."""
    count = 1
    for a in _axes(axis, len(shape)):
        count *= shape[a]
    return count


@primitive
def sum(xp, x, /, axis=None, keepdims=False):
    """Sum along `axis`."""
    return xp.sum(x, axis=axis, keepdims=keepdims)


sum.vjp(x=lambda g, xp, x_shape, axis: _kept(g, xp, x_shape, axis))


@primitive
def mean(xp, x, /, axis=None, keepdims=False):
    """Mean along `axis`."""
    return xp.mean(x, axis=axis, keepdims=keepdims)


mean.vjp(x=lambda g, xp, x_shape, axis: _kept(g / _count(x_shape, axis), xp, x_shape, axis))


def _extreme_rule(g, xp, x, y, axis):
    mask = x == _kept(y, xp, x.shape, axis)
    share = _kept(g, xp, x.shape, axis) / xp.sum(mask, axis=axis, keepdims=True, dtype=g.dtype)
    return xp.where(mask, share, 0.0)


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


@primitive
def logsumexp(xp, x, /, axis=None, keepdims=False):
    """log Σ eˣ along `axis`, without overflow."""
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0.0)
    y = xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top
    return y if keepdims else xp.squeeze(y, axis=_axes(axis, x.ndim))


logsumexp.vjp(
    x=lambda g, xp, x, y, axis: _kept(g, xp, x.shape, axis) * xp.exp(x - _kept(y, xp, x.shape, axis))
)


@primitive
def softmax(xp, x, /, axis=-1):
    """eˣ / Σ eˣ along `axis`."""
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


softmax.vjp(x=lambda g, xp, y, axis: y * (g - xp.sum(g * y, axis=axis, keepdims=True)))


@primitive
def log_softmax(xp, x, /, axis=-1):
    """x - log Σ eˣ along `axis`."""
    shifted = x - xp.max(x, axis=axis, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


log_softmax.vjp(x=lambda g, xp, y, axis: g - xp.exp(y) * xp.sum(g, axis=axis, keepdims=True))


@primitive
def cumsum(xp, x, /, axis):
    """Running sum along `axis`."""
    return xp.cumsum(x, axis=axis)


cumsum.vjp(x=lambda g, xp, axis: xp.flip(xp.cumsum(xp.flip(g, axis=axis), axis=axis), axis=axis))


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
