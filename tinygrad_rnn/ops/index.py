"""Operations that pick entries by position. Where a position is picked twice, its gradients add up."""

from __future__ import annotations

from typing import Any

from tinygrad_rnn.primitive import primitive
from tinygrad_rnn.tensor import raw


def _basic(key: Any) -> bool:
    """Whether a key picks every entry at most once: slices, ints, None, ..., booleans."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(
        part is None or part is Ellipsis or isinstance(part, int | slice) or getattr(part, "dtype", None) == bool
        for part in parts
    )


@primitive
def getitem(xp, x, /, key):
    """x[key], by NumPy's rules: slices, ints, None, ..., boolean and integer arrays."""
    return x[key]


@primitive
def place(xp, source, /, key, shape):
    """Zeros of `shape`, with `source` added at `key`: what indexing is the transpose of."""
    y = xp.zeros(shape, dtype=source.dtype)
    if _basic(key):
        y[key] = source
    else:
        xp.add.at(y, key, source)
    return y


getitem.vjp(x=lambda g, xp, x_shape, key: place.within(xp)(g, key, x_shape))
place.vjp(source=lambda g, key: g[key])


@primitive
def take(xp, x, indices, /, axis=None):
    """The entries of x at `indices` along `axis` (of the flattened x by default)."""
    return xp.take(x, indices, axis=axis)


def _take_rule(g, xp, x_shape, indices, axis):
    at = raw(indices)
    if axis is None:
        flat = place.within(xp)(xp.reshape(g, (-1,)), (at.reshape(-1),), (_size(x_shape),))
        return xp.reshape(flat, x_shape)
    return place.within(xp)(g, (slice(None),) * (axis % len(x_shape)) + (at,), x_shape)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


take.vjp(x=_take_rule)


def embedding(indices: Any, weight: Any) -> Any:
    """Row `indices[…]` of the weight (V, D), for integer indices of any shape (…): (…, D)."""
    return take(weight, indices, axis=0)
