"""Operations that move entries and compute none: reshape, transpose, join, split."""

from __future__ import annotations

from typing import Any

from tinygrad_rnn.primitive import primitive


@primitive
def reshape(xp, x, /, shape):
    """The same entries in another shape; one length may be -1."""
    return xp.reshape(x, shape)


reshape.vjp(x=lambda g, xp, x_shape: xp.reshape(g, x_shape))


@primitive
def permute_dims(xp, x, /, axes=None):
    """The axes in another order; by default reversed."""
    return xp.transpose(x, axes)


permute_dims.vjp(
    x=lambda g, xp, axes: xp.permute_dims(g, None if axes is None else tuple(sorted(range(g.ndim), key=lambda i: axes[i] % g.ndim)))
)

transpose = permute_dims


@primitive
def swapaxes(xp, x, /, axis1, axis2):
    """Two axes exchanged."""
    return xp.swapaxes(x, axis1, axis2)


swapaxes.vjp(x=lambda g, xp, axis1, axis2: xp.swapaxes(g, axis1, axis2))


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


def _cuts(xp, g, shapes, axis):
    """g in pieces as long as the joined inputs were, along `axis`."""
    ends, end = [], 0
    for shape in shapes[:-1]:
        end += shape[axis]
        ends.append(end)
    return xp.split(g, ends, axis=axis)


@primitive
def _concatenate(xp, *arrays, axis=0):
    return xp.concatenate(arrays, axis=axis)


_concatenate.vjp(arrays=lambda g, xp, arrays_shape, axis: _cuts(xp, g, arrays_shape, axis))


def concatenate(arrays: Any, axis: int = 0) -> Any:
    """Join a sequence of tensors along an axis that they have."""
    return _concatenate(*arrays, axis=axis)


@primitive
def _stack(xp, *arrays, axis=0):
    return xp.stack(arrays, axis=axis)


_stack.vjp(arrays=lambda g, xp, arrays_shape, axis: [xp.take(g, i, axis=axis) for i in range(len(arrays_shape))])


def stack(arrays: Any, axis: int = 0) -> Any:
    """Join a sequence of tensors of one shape along a new axis."""
    return _stack(*arrays, axis=axis)


@primitive
def split(xp, x, /, indices_or_sections, axis=0):
    """The parts of x along `axis`: so many equal ones, or cut at the indices given; a tuple of views."""
    if not isinstance(indices_or_sections, int):
        return tuple(xp.split(x, indices_or_sections, axis=axis))
    length, left = divmod(x.shape[axis], indices_or_sections)
    if left:
        raise ValueError(f"expected an axis that divides into {indices_or_sections} equal parts, got length {x.shape[axis]}")
    before = (slice(None),) * (axis % x.ndim)
    return tuple([x[(*before, slice(i, i + length))] for i in range(0, x.shape[axis], length)])


split.vjp(x=lambda g, xp, axis: xp.concatenate(g, axis=axis))
