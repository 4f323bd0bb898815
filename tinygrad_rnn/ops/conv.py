"""Convolution and pooling: both look at the input through windows.

`windows` shows every window of the last axes as a view, copying nothing; `overlap_add` is its transpose.
A convolution is then one matrix product, a pooling one reduction. Arguments as PyTorch's: x is
(N, C, L) or (N, C, H, W), without N for one example; sizes are one int, or one for each axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.ops.index import as_tensor, take_along_axis
from tinygrad_rnn.ops.linear import matmul
from tinygrad_rnn.ops.reduce import argmax, max, mean, sum
from tinygrad_rnn.ops.shape import broadcast_to, moveaxis, pad, permute_dims, reshape, squeeze
from tinygrad_rnn.primitive import primitive
from tinygrad_rnn.tensor import Tensor

__all__ = [
    "windows", "overlap_add", "conv1d", "conv2d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d",
]  # fmt: skip


Sizes = int | Sequence[int]
"""One int for every axis, or one for each."""


@primitive
def windows(xp, x, /, size, stride, dilation):
    """Every window over the last axes, as a view: (…, L) → (…, positions, size); one entry per axis."""
    n = x.ndim - len(size)
    axes = zip(x.shape[n:], size, stride, dilation, strict=True)
    positions = tuple((length - d * (k - 1) - 1) // s + 1 for length, k, s, d in axes)
    if any(p < 1 for p in positions):
        raise ValueError(f"expected windows that fit into {x.shape[n:]}, got {size}, dilation {dilation}")
    steps = tuple(factor * step for factor, step in zip((*stride, *dilation), x.strides[n:] * 2, strict=True))
    return xp.lib.stride_tricks.as_strided(x, (*x.shape[:n], *positions, *size), (*x.strides[:n], *steps))


@primitive
def overlap_add(xp, w, /, shape, stride, dilation):
    """Windows laid back into zeros of `shape`; where they overlap, they add up."""
    y = xp.zeros(shape, dtype=w.dtype)
    count = len(stride)
    positions, size = w.shape[-2 * count : -count], w.shape[-count:]
    for offset in itertools.product(*map(range, size)):
        axes = zip(offset, positions, stride, dilation, strict=True)
        y[(..., *[slice(o * d, o * d + s * (p - 1) + 1, s) for o, p, s, d in axes])] += w[(..., *offset)]
    return y


windows.vjp(x=lambda g, xp, x_shape, stride, dilation: overlap_add.within(xp)(g, x_shape, stride, dilation))
overlap_add.vjp(w=lambda g, xp, w_shape, stride, dilation: (
    windows.within(xp)(g, w_shape[-len(stride):], stride, dilation)
))  # fmt: skip


# -- convolution ---------------------------------------------------------------------------------------


def conv1d(
    x: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes | str = 0,
    dilation: Sizes = 1, groups: int = 1
) -> Any:  # fmt: skip
    """yₒ[t] = biasₒ + Σ_c Σ_k weight[o, c, k]·x_c[stride·t + dilation·k - padding].

    x (N, C, L), weight (O, C/groups, K), bias (O) → (N, O, positions); `padding` may be "same" or "valid".
    ValueError where shapes do not fit.

    >>> conv1d([[[1, 2, 3, 4]]], [[[1, 1]]])
    tensor([[[3, 5, 7]]])
    """
    return _conv(x, weight, bias, stride, padding, dilation, groups, 1)


def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes | str = 0,
    dilation: Sizes = 1, groups: int = 1
) -> Any:  # fmt: skip
    """conv1d over two axes: x (N, C, H, W), weight (O, C/groups, K, K′), bias (O) → (N, O, H′, W′)."""
    return _conv(x, weight, bias, stride, padding, dilation, groups, 2)


def _conv(x, weight, bias, stride, padding, dilation, groups, dims):
    x, weight = as_tensor(x), as_tensor(weight)
    if x.ndim == dims + 1:
        y = _conv(reshape(x, (1, *x.shape)), weight, bias, stride, padding, dilation, groups, dims)
        return reshape(y, y.shape[1:])
    name = f"conv{dims}d"
    if x.ndim != dims + 2 or weight.ndim != dims + 2:
        came = f"{x.shape} and {weight.shape}"
        raise ValueError(f"{name}: expected x and weight with {dims + 2} axes, got {came}")
    (n, channels), (outs, depth), size = x.shape[:2], weight.shape[:2], weight.shape[2:]
    if channels != depth * groups or outs % groups:
        raise ValueError(
            f"{name}: expected a weight ({groups}·any, {channels}/{groups}, …) for {channels} channels and "
            f"groups={groups}, got {weight.shape}"
        )
    stride, dilation = each(stride, dims, name), each(dilation, dims, name)
    wide = _padded(x, margins(padding, size, stride, dilation, name), 0)
    view = windows(wide, size, stride, dilation)
    # (N, C, positions, size) → (N, G, C/G·size, positions): per group, a column for every position
    positions, inner = view.shape[2 : 2 + dims], depth * math.prod(size)
    view = permute_dims(view, (0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims)))
    columns = reshape(view, (n, groups, inner, math.prod(positions)))
    y = reshape(matmul(reshape(weight, (groups, outs // groups, inner)), columns), (n, outs, *positions))
    return y if bias is None else y + reshape(bias, (outs,) + (1,) * dims)


def each(value, dims, name):
    """One number for each axis."""
    values = (value,) * dims if isinstance(value, int) else tuple(value)
    if len(values) != dims or any(v < 0 for v in values):
        raise ValueError(f"{name}: expected one int ≥ 0, or {dims} of them, got {value!r}")
    return values


def margins(padding, size, stride, dilation, name):
    """What to put before and after each axis; "same" keeps the length, an odd one more coming after."""
    if padding == "valid":
        padding = 0
    if padding != "same":
        return tuple((p, p) for p in each(padding, len(size), name))
    if any(s != 1 for s in stride):
        raise ValueError(f"{name}: expected stride 1 with padding 'same', got {stride}")
    totals = [d * (k - 1) for k, d in zip(size, dilation, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


# -- pooling -------------------------------------------------------------------------------------------


def max_pool1d(
    x: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    dilation: Sizes = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest entry of every window of the last axis; `stride` is the window's size by default.

    With `return_indices` also where it stands in x.
    """
    return _max_pool(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 1)


def max_pool2d(
    x: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    dilation: Sizes = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest entry of every window of the last two axes.

    With `return_indices` also where it stands in x, its last two axes counted as one.
    """
    return _max_pool(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 2)


def avg_pool1d(
    x: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    ceil_mode: bool = False, count_include_pad: bool = True
) -> Any:  # fmt: skip
    """The mean of every window of the last axis; the padding counts as zeros, or not at all."""
    return _avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad, None, 1)


def avg_pool2d(
    x: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of every window of the last two axes; the padding counts as zeros, or not at all.

    `divisor_override` divides the sum of every window in the place of its size.
    """
    return _avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, 2)


def _max_pool(x, size, stride, padding, dilation, ceil_mode, return_indices, dims):
    x = as_tensor(x)
    dilation = each(dilation, dims, f"max_pool{dims}d")
    size, stride, margins, extra = _pooled(f"max_pool{dims}d", x, size, stride, padding, dilation, ceil_mode)
    lowest = -math.inf if x.dtype.kind == "f" else namespace(x.data).iinfo(x.dtype).min
    margins = [(a, b + more) for (a, b), more in zip(margins, extra, strict=True)]
    entries = _entries(_padded(x, margins, lowest), size, stride, dilation)
    if not return_indices:
        return max(entries, axis=0)
    shape = x.shape[-dims:]
    places = Tensor(namespace(x.data).arange(math.prod(shape)).reshape((1,) * (x.ndim - dims) + shape))
    places = broadcast_to(_entries(_padded(places, margins, 0), size, stride, dilation), entries.shape)
    chosen = take_along_axis(places, argmax(entries, axis=0, keepdims=True), axis=0)
    return max(entries, axis=0), squeeze(chosen, axis=0)


def _avg_pool(x, size, stride, padding, ceil_mode, count_include_pad, divisor, dims):
    x = as_tensor(x)
    ones = (1,) * dims
    size, stride, margins, extra = _pooled(f"avg_pool{dims}d", x, size, stride, padding, ones, ceil_mode)
    beyond = [(0, more) for more in extra]
    seen = _entries(_padded(_padded(x, margins, 0), beyond, 0), size, stride, ones)
    if divisor is not None:
        return sum(seen, axis=0) / divisor
    if not any(extra) and (count_include_pad or not any(map(any, margins))):
        return mean(seen, axis=0)
    counted = Tensor(namespace(x.data).ones(x.shape[-dims:], dtype=x.dtype))
    counted = _padded(_padded(counted, margins, int(count_include_pad)), beyond, 0)
    return sum(seen, axis=0) / sum(_entries(counted, size, stride, ones), axis=0)


def _entries(x, size, stride, dilation):
    """(size, …, positions): first the windows' first entries, then their second; quick to reduce over."""
    dims = len(size)
    view = moveaxis(windows(x, size, stride, dilation), tuple(range(-dims, 0)), tuple(range(dims)))
    return reshape(view, (math.prod(size), *view.shape[dims:]))


def _padded(x, margins, value):
    """x with margins at its last axes."""
    if not any(map(any, margins)):
        return x
    return pad(x, [(0, 0)] * (x.ndim - len(margins)) + list(margins), constant_values=value)


def _pooled(name, x, size, stride, padding, dilation, ceil_mode):
    """Sizes, strides and margins per axis; and, with ceil_mode, what the last window needs beyond them."""
    dims = len(dilation)
    if x.ndim not in (dims + 1, dims + 2):
        raise ValueError(f"{name}: expected x with {dims + 1} or {dims + 2} axes, got shape {x.shape}")
    size = each(size, dims, name)
    stride = size if stride is None else each(stride, dims, name)
    padding = each(padding, dims, name)
    if any(2 * p > k for p, k in zip(padding, size, strict=True)):
        raise ValueError(f"{name}: expected a padding of at most half the window {size}, got {padding}")
    extra = []
    for length, k, s, p, d in zip(x.shape[-dims:], size, stride, padding, dilation, strict=True):
        left = length + 2 * p - d * (k - 1) - 1
        count = -(-left // s) if ceil_mode else left // s
        if count * s >= length + p:  # a window must begin in x or in the margin before it
            count -= 1
        extra.append(count * s - left if count * s > left else 0)
    return size, stride, [(p, p) for p in padding], extra
