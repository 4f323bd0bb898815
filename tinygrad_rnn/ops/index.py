"""Operations that pick entries by position. Where a position is picked twice, its gradients add up.

`place` is the transpose of indexing: zeros, with entries added at a key. Picking and placing are each
other's rule, so both have derivatives of every order; all else here picks by a key that it works out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_rnn.namespaces import asarray, namespace
from tinygrad_rnn.primitive import primitive
from tinygrad_rnn.symbols import Symbol
from tinygrad_rnn.tensor import Tensor, raw

__all__ = [
    "getitem", "place", "take", "embedding", "take_along_axis", "gather", "scatter_add",
    "argsort", "sort", "diagonal",
]  # fmt: skip


@primitive
def getitem(xp, x, /, key):
    """x[key], by NumPy's rules: slices, ints, None, ..., boolean and integer arrays."""
    return x[key]


@primitive
def place(xp, source, /, key, shape):
    """Zeros of `shape`, with `source` added at `key`: what indexing is the transpose of."""
    y = xp.zeros(shape, dtype=source.dtype)
    if _once(key):
        y[key] = source
    else:
        at = xp.arange(y.size).reshape(shape)[key]  # one number per entry: five times faster than rows
        there, put = y.reshape(-1), xp.broadcast_to(source, at.shape).reshape(-1)
        if y.dtype == "int64":  # CUDA adds atomically without a sign, which is the same modulo 2⁶⁴
            there, put = there.view("uint64"), put.view("uint64")
        xp.add.at(there, at.reshape(-1), put)
    return y


def _once(key):
    """Whether a key surely picks every entry at most once: slices, ints, None, ..., booleans."""
    parts = key if isinstance(key, tuple) else (key,)
    basic = (int, np.integer, slice, type(None), type(Ellipsis))
    return all(isinstance(part, basic) or str(getattr(part, "dtype", None)) == "bool" for part in parts)


getitem.vjp(x=lambda g, xp, x_shape, key: place.within(xp)(g, key, x_shape))
place.vjp(source=lambda g, key: g[key])


@primitive
def take(xp, x, indices, /, axis=None):
    """The entries of x at `indices` along `axis` (of the flattened x by default)."""
    return xp.take(x, indices, axis=axis)


def _take_rule(g, xp, x_shape, indices, axis):
    if axis is None:
        return xp.reshape(_take_rule(g, xp, (math.prod(x_shape),), indices, 0), x_shape)
    return place.within(xp)(g, (slice(None),) * (axis % len(x_shape)) + (raw(indices),), x_shape)


take.vjp(x=_take_rule)


@primitive
def embedding(xp, indices, weight, /, padding_idx=None):
    """Row `indices[…]` of the weight (V, D), for integer indices of any shape (…): (…, D).

    The row `padding_idx` gets no gradient.
    """
    return xp.take(weight, indices, axis=0)


def _embedding_rule(g, xp, indices, weight_shape, padding_idx):
    if padding_idx is not None:
        g = g * xp.expand_dims(xp.not_equal(indices, padding_idx % weight_shape[0]), -1)
    return place.within(xp)(g, (raw(indices),), weight_shape)


embedding.vjp(weight=_embedding_rule)


def as_tensor(x: Any) -> Any:
    """x where it is a Tensor, else its data as one: for functions that look at a shape first."""
    return x if isinstance(x, Tensor | Symbol) else Tensor(asarray(x))


# -- along an axis -------------------------------------------------------------------------------------


def _key(index, axis, shape):
    """The key that picks by `index` along `axis` and goes straight along the others, `shape` long."""
    xp, ndim = namespace(index), len(shape)
    straight = (xp.arange(n).reshape((-1,) + (1,) * (ndim - 1 - d)) for d, n in enumerate(shape))
    return tuple(index if d == axis % ndim else line for d, line in enumerate(straight))


def _index(x, index, name):
    """The index as an array of x's device, of as many axes as x."""
    found = namespace(x.data).asarray(raw(index))
    if found.dtype.kind not in "iu" or found.ndim != x.ndim:
        came = f"{found.dtype}{list(found.shape)}"
        raise IndexError(f"{name}: expected integer indices with {x.ndim} axes, got {came}")
    return found


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    """Entries of x picked along `axis`, one index for each: y[i, j] = x[indices[i, j], j] for axis 0."""
    x = as_tensor(x)
    at = _index(x, indices, "take_along_axis")
    return getitem(x, _key(at, axis, x.shape)) if x.ndim else x


def gather(x: Any, axis: int, index: Any) -> Any:
    """y[i, j] = x[index[i, j], j] for axis 0, in the shape of `index`, which may be smaller than x (PyTorch).

    >>> gather([[1, 2], [3, 4]], 1, [[0, 0], [1, 0]])
    tensor([[1, 1],
            [4, 3]])
    """
    x = as_tensor(x)
    at = _index(x, index, "gather")
    _check_smaller(at.shape, x.shape, axis, "gather", "x")
    return getitem(x, _key(at, axis, at.shape)) if x.ndim else x


def scatter_add(x: Any, axis: int, index: Any, source: Any) -> Any:
    """x, with source[i, j] added at [index[i, j], j] for axis 0: what gather is the transpose of (PyTorch).

    >>> scatter_add([0, 0, 0], 0, [0, 2, 2], [1, 2, 3])
    tensor([1, 0, 5])
    """
    x, source = as_tensor(x), as_tensor(source)
    at = _index(x, index, "scatter_add")
    _check_smaller(at.shape, x.shape, axis, "scatter_add", "x")
    _check_smaller(at.shape, source.shape, None, "scatter_add", "source")
    if not x.ndim:
        return x + source
    return x + place(source[tuple(slice(n) for n in at.shape)], _key(at, axis, at.shape), x.shape)


def _check_smaller(inner, outer, axis, name, what):
    if axis is not None and not -len(outer) <= axis < max(len(outer), 1):
        raise IndexError(f"{name}: expected an axis of {what}, which has {len(outer)}, got {axis}")
    free = None if axis is None or not outer else axis % len(outer)
    if any(i > o for d, (i, o) in enumerate(zip(inner, outer, strict=False)) if d != free):
        raise IndexError(f"{name}: expected indices that fit into {what} {list(outer)}, got {list(inner)}")


@primitive
def argsort(xp, x, /, axis=-1, descending=False):
    """The order of the entries along `axis`, smallest first; equal ones keep their order. No gradient."""
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable")
    return xp.flip(x.shape[axis] - 1 - xp.argsort(xp.flip(x, axis=axis), axis=axis, kind="stable"), axis=axis)


def sort(x: Any, axis: int = -1, descending: bool = False) -> Any:
    """The entries along `axis` in order, smallest first; the gradient goes to where each came from."""
    x = as_tensor(x)
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis=axis)


# -- diagonals -----------------------------------------------------------------------------------------


@primitive
def diagonal(xp, x, /, offset=0, axis1=0, axis2=1):
    """Entries [i, i + offset] of two axes, along a new last axis."""
    return xp.diagonal(x, offset, axis1, axis2)


def _diagonal_rule(g, xp, x_shape, offset, axis1, axis2):
    along = namespace(raw(g)).arange(g.shape[-1])
    others = [n for i, n in enumerate(x_shape) if i not in (axis1 % len(x_shape), axis2 % len(x_shape))]
    key = (..., along + max(-offset, 0), along + max(offset, 0))
    placed = place.within(xp)(g, key, (*others, x_shape[axis1], x_shape[axis2]))
    return xp.moveaxis(placed, (-2, -1), (axis1, axis2))


diagonal.vjp(x=_diagonal_rule)
