"""Operations that move entries and compute none: reshape, transpose, join, split, repeat, pad.

A rule moves the cotangent the way back. What is a few calls of other operations is written as just that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.ops.index import as_tensor, take
from tinygrad_rnn.primitive import primitive

__all__ = [
    "reshape", "permute_dims", "transpose", "swapaxes", "moveaxis", "expand_dims", "squeeze", "broadcast_to",
    "flip", "roll", "concatenate", "stack", "split", "unstack", "repeat", "tile", "pad", "tril", "triu",
]  # fmt: skip


@primitive
def reshape(xp, x, /, shape):
    """The same entries in another shape; one length may be -1."""
    return xp.reshape(x, shape)


reshape.vjp(x=lambda g, xp, x_shape: xp.reshape(g, x_shape))


@primitive
def permute_dims(xp, x, /, axes=None):
    """The axes in another order; by default reversed."""
    return xp.transpose(x, axes)


def _permuted_back(g, xp, axes):
    return xp.transpose(g, None if axes is None else sorted(range(g.ndim), key=lambda i: axes[i] % g.ndim))


permute_dims.vjp(x=_permuted_back)

transpose = permute_dims


@primitive
def swapaxes(xp, x, /, axis1, axis2):
    """Two axes exchanged."""
    return xp.swapaxes(x, axis1, axis2)


swapaxes.vjp(x=lambda g, xp, axis1, axis2: xp.swapaxes(g, axis1, axis2))


@primitive
def moveaxis(xp, x, /, source, destination):
    """The axes at `source` (an int or a tuple) moved to `destination`, the others in their order."""
    return xp.moveaxis(x, source, destination)


moveaxis.vjp(x=lambda g, xp, source, destination: xp.moveaxis(g, destination, source))


@primitive
def expand_dims(xp, x, /, axis):
    """New axes of length 1 at `axis` (an int or a tuple)."""
    return xp.expand_dims(x, axis)


expand_dims.vjp(x=lambda g, xp, x_shape: xp.reshape(g, x_shape))


@primitive
def squeeze(xp, x, /, axis=None):
    """Without the axes of length 1 (all, or those at `axis`)."""
    return xp.squeeze(x, axis=axis)


squeeze.vjp(x=lambda g, xp, x_shape: xp.reshape(g, x_shape))


@primitive
def broadcast_to(xp, x, /, shape):
    """x, stretched to `shape` by NumPy's rules."""
    return xp.broadcast_to(x, shape)


broadcast_to.vjp(x=lambda g: g)


@primitive
def flip(xp, x, /, axis=None):
    """The entries in reverse order along `axis` (all axes by default)."""
    return xp.flip(x, axis=axis)


flip.vjp(x=lambda g, xp, axis: xp.flip(g, axis=axis))


@primitive
def roll(xp, x, /, shift, axis=None):
    """The entries moved on by `shift`, what leaves at the end coming in at the start."""
    return xp.roll(x, shift, axis=axis)


def _rolled_back(g, xp, shift, axis):
    back = tuple(-s for s in shift) if isinstance(shift, tuple | list) else -shift
    return xp.roll(g, back, axis=axis)


roll.vjp(x=_rolled_back)


@primitive
def tril(xp, x, /, k=0):
    """The lower triangle of the last two axes, zero above diagonal k."""
    return xp.tril(x, k)


tril.vjp(x=lambda g, xp, k: xp.tril(g, k))


@primitive
def triu(xp, x, /, k=0):
    """The upper triangle of the last two axes, zero below diagonal k."""
    return xp.triu(x, k)


triu.vjp(x=lambda g, xp, k: xp.triu(g, k))


# -- join and split ------------------------------------------------------------------------------------


@primitive
def _concatenate(xp, *arrays, axis=0):
    return xp.concatenate(arrays, axis=axis)


def _cuts(g, xp, arrays_shape, axis):
    """g in pieces as long as the joined inputs were, along `axis`."""
    ends = np.cumsum([shape[axis] for shape in arrays_shape[:-1]], dtype=int).tolist()
    return xp.split(g, ends, axis=axis)


_concatenate.vjp(arrays=_cuts)


def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Any:
    """Join a sequence of tensors along an axis that they have (`None`: all entries, in one row)."""
    if axis is None:
        return _concatenate(*[reshape(x, (-1,)) for x in arrays])
    return _concatenate(*arrays, axis=axis)


@primitive
def unstack(xp, x, /, axis=0):
    """The slices of x along `axis`, without it: `stack` undone; a tuple of views."""
    before = (slice(None),) * (axis % x.ndim)
    return tuple([x[(*before, i, ...)] for i in range(x.shape[axis])])


unstack.vjp(x=lambda g, xp, axis: xp.stack(g, axis=axis))


@primitive
def _stack(xp, *arrays, axis=0):
    return xp.stack(arrays, axis=axis)


_stack.vjp(arrays=lambda g, xp, axis: unstack.within(xp)(g, axis))


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Join a sequence of tensors of one shape along a new axis."""
    return _stack(*arrays, axis=axis)


@primitive
def split(xp, x, /, indices_or_sections, axis=0):
    """The parts of x along `axis`: so many equal ones, or cut at the indices given; a tuple of views."""
    if not isinstance(indices_or_sections, int):
        return tuple(xp.split(x, indices_or_sections, axis=axis))
    return tuple([x[key] for key in _sections(x.shape[axis], indices_or_sections, axis % x.ndim)])


@lru_cache
def _sections(length, count, axis):
    """The keys of so many equal parts along `axis`."""
    if count < 1 or length % count:
        raise ValueError(f"expected sections that divide the axis equally, got {count} of length {length}")
    ends = range(0, length + 1, length // count) if length else (0,) * (count + 1)
    return [(slice(None),) * axis + (slice(*pair),) for pair in pairwise(ends)]


split.vjp(x=lambda g, xp, axis: xp.concatenate(g, axis=axis))


# -- repeat and pad ------------------------------------------------------------------------------------


def _lines(x, axis, order):
    """The slices of x along `axis`, in the order that the host's array of indices says."""
    return take(x, namespace(x.data).asarray(order), axis=axis)


def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each entry along `axis` so many times in a row: one number for all, or one for each.

    >>> repeat([[1, 2]], [2, 1], axis=1)
    tensor([[1, 1, 2]])
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    return _lines(x, axis, np.repeat(np.arange(x.shape[axis]), repeats))


def tile(x: Any, reps: int | Sequence[int]) -> Any:
    """x laid side by side `reps` times (an int, or one for each of the last axes).

    >>> tile([1, 2], (2, 2))
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    x = as_tensor(x)
    times = (reps,) if isinstance(reps, int) else tuple(reps)
    times = (1,) * (x.ndim - len(times)) + times
    shape = (1,) * (len(times) - x.ndim) + x.shape
    apart = reshape(x, tuple(n for length in shape for n in (1, length)))
    laid = broadcast_to(apart, tuple(n for pair in zip(times, shape, strict=True) for n in pair))
    return reshape(laid, tuple(r * n for r, n in zip(times, shape, strict=True)))


@primitive
def _pad(xp, x, /, widths, value):
    y = xp.full([a + n + b for (a, b), n in zip(widths, x.shape, strict=True)], value, dtype=x.dtype)
    y[_middle(x.shape, widths)] = x  # numpy.pad would take five times as long
    return y


def _middle(shape, widths):
    return tuple([slice(before, before + n) for (before, _), n in zip(widths, shape, strict=True)])


def _inner(g, x_shape, widths):
    return g[_middle(x_shape, widths)]


_pad.vjp(x=_inner)


def pad(x: Any, pad_width: Any, mode: Any = "constant", constant_values: float = 0) -> Any:
    """x with a margin: `pad_width` entries before and after each axis, as in `numpy.pad`.

    The margin is one constant, or copies of x itself: mode "edge", "reflect", "symmetric" or "wrap".

    >>> pad([1, 2, 3], (1, 2), mode="edge")
    tensor([1, 1, 2, 3, 3, 3])
    """
    x = as_tensor(x)
    widths = tuple((int(a), int(b)) for a, b in np.broadcast_to(pad_width, (x.ndim, 2)))
    if mode == "constant":
        return _pad(x, widths, constant_values) if widths else x
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ValueError(f"expected mode 'constant', 'edge', 'reflect', 'symmetric' or 'wrap', got {mode!r}")
    for axis, width in enumerate(widths):
        if any(width):
            x = _lines(x, axis, np.pad(np.arange(x.shape[axis]), width, mode=mode))
    return x
