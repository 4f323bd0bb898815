"""The same calls, as PyTorch spells them: operation → function of (torch, tensors…, parameters…)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.ops.cases import words

ALONE: dict[str, str] = {
    "place": "PyTorch has no such function: checked as the gradient of getitem",
    "linear_recurrence": "PyTorch has no such function: checked through the gradient of cumprod",
    "windows": "checked through conv and pool",
    "overlap_add": "checked through conv and pool",
    "dropout": "draws other random numbers",
    "to": "astype is checked",
    "array": "copy is checked",
    "zeros": "a constant",
    "ones": "a constant",
    "zeros_like": "a constant",
    "ones_like": "a constant",
    "full_like": "a constant",
}
"""Operations without a counterpart, and why."""


def named(name: str) -> Callable[..., Any]:
    """The function of that name, with the same arguments."""
    return lambda t, *xs: getattr(t, name)(*xs)


def reduced(name: str) -> Callable[..., Any]:
    """`axis` is PyTorch's `dim`; all axes one after the other where it takes only one."""
    return lambda t, x, axis, keepdims=False, **more: getattr(t, name)(
        x, dim=tuple(range(x.ndim)) if axis is None else axis, keepdim=keepdims, **more
    )


def dimmed(name: str) -> Callable[..., Any]:
    """`axis` is PyTorch's `dim`; of the flattened array where it is None."""
    return lambda t, x, axis: getattr(t, name)(
        x.reshape(-1) if axis is None else x, 0 if axis is None else axis
    )


def spread(name: str) -> Callable[..., Any]:
    return lambda t, x, axis, correction, keepdims: getattr(t, name)(
        x, axis, correction=correction, keepdim=keepdims
    )


def prod(t: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        x = t.prod(x, a, keepdim=True)
    return x if keepdims else x.squeeze(tuple(axes)) if x.ndim else x


def flags(name: str) -> Callable[..., Any]:
    def run(t: Any, x: Any, axis: Any, keepdims: bool) -> Any:
        return getattr(t, name)(x != 0, tuple(range(x.ndim)) if axis is None else axis, keepdim=keepdims)

    return run


def clip(t: Any, x: Any, low: Any = None, high: Any = None, **bounds: Any) -> Any:
    return t.clamp(x, bounds.get("min", low), bounds.get("max", high))


def split(t: Any, x: Any, indices_or_sections: Any, axis: int) -> Any:
    return t.tensor_split(x, indices_or_sections, dim=axis)


def roll(t: Any, x: Any, shift: Any, axis: Any) -> Any:
    return t.roll(x, shift, axis) if axis is not None else t.roll(x, shift)


def repeat(t: Any, x: Any, repeats: Any, axis: Any) -> Any:
    return t.repeat_interleave(
        x, t.tensor(repeats, dtype=t.int64) if isinstance(repeats, list) else repeats, dim=axis
    )


def tile(t: Any, x: Any, reps: Any) -> Any:
    return t.tile(x, reps if isinstance(reps, tuple) else (reps,))


def pad(t: Any, x: Any, pad_width: Any, mode: str, constant_values: float = 0.0) -> Any:
    widths = np.broadcast_to(pad_width, (x.ndim, 2)).tolist()
    if mode == "constant":
        flat = [n for pair in reversed(widths) for n in pair]
        return t.nn.functional.pad(x, flat, value=constant_values) if flat else x
    for axis, width in enumerate(widths):  # by the index that NumPy would pad
        x = t.index_select(x, axis, t.tensor(np.pad(np.arange(x.shape[axis]), width, mode=mode)))
    return x


def getitem(t: Any, x: Any, key: Any) -> Any:
    """NumPy's keys on tensors: negative steps become flips of the result of index_select."""
    numbers = np.arange(x.numel()).reshape(tuple(x.shape))[key]
    return t.take(x, t.tensor(numbers))


def take(t: Any, x: Any, where: Any, axis: Any) -> Any:
    if axis is None:
        return t.take(x, where)
    axis %= x.ndim
    flat = t.index_select(x, axis, where.reshape(-1) % x.shape[axis])
    return flat.reshape((*x.shape[:axis], *where.shape, *x.shape[axis + 1 :]))


def normalized(t: Any, x: Any, *affine: Any, normalized_shape: Any) -> Any:
    return t.nn.functional.layer_norm(x, normalized_shape, *affine)


def standardize(t: Any, x: Any, axis: int) -> Any:
    return (x - x.mean(axis, keepdim=True)) / (x.var(axis, correction=0, keepdim=True) + 1e-5).sqrt()


def dot(t: Any, a: Any, b: Any) -> Any:
    if not a.ndim or not b.ndim:
        return a * b
    return t.tensordot(a, b, ([a.ndim - 1], [max(b.ndim - 2, 0)]))


def tensordot(t: Any, a: Any, b: Any, axes: Any) -> Any:
    if isinstance(axes, tuple):
        axes = tuple([i] if isinstance(i, int) else list(i) for i in axes)
    return t.tensordot(a, b, axes)


def convolution(name: str) -> Callable[..., Any]:
    def run(t: Any, *xs: Any, **params: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # padding="same" may copy the input
            return getattr(t.nn.functional, name)(*xs, **params)

    return run


def functional(name: str) -> Callable[..., Any]:
    return lambda t, x, **params: getattr(t.nn.functional, name)(x, **params)


SAME = words("""
    add subtract multiply divide remainder negative square sqrt abs sign floor ceil exp expm1 log log1p
    log2 log10 logaddexp sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh
    erf sigmoid relu maximum minimum where not_equal less less_equal greater greater_equal logical_and
    logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor isnan isinf isfinite matmul
""")
"""Called alike in both."""

TORCH: dict[str, Callable[..., Any]] = {
    **{name: named(name) for name in SAME},
    "floor_divide": lambda t, a, b: t.floor_divide(a.detach(), b.detach()),
    "power": named("pow"),
    "equal": named("eq"),
    "bitwise_invert": named("bitwise_not"),
    "copy": named("clone"),
    "outer": lambda t, a, b: t.outer(a.reshape(-1), b.reshape(-1)),
    "round": lambda t, x, decimals: t.round(x, decimals=decimals),
    "astype": lambda t, x, dtype: x.to(getattr(t, dtype)),
    "clip": clip,
    **{name: functional(name) for name in ("leaky_relu", "elu", "softplus", "silu", "gelu")},
    **{name: reduced(name) for name in ("sum", "mean", "logsumexp")},
    "max": reduced("amax"),
    "min": reduced("amin"),
    "prod": prod,
    "any": flags("any"),
    "all": flags("all"),
    "var": spread("var"),
    "std": spread("std"),
    "standardize": standardize,
    "layer_norm": normalized,
    "norm": lambda t, x, axis, ord, keepdims: t.linalg.vector_norm(x, ord, axis, keepdims),
    **{name: dimmed(name) for name in ("softmax", "log_softmax", "cumsum", "cumprod", "argmax", "argmin")},
    "reshape": lambda t, x, shape: x.reshape(shape),
    **dict.fromkeys(
        ("permute_dims", "transpose"), lambda t, x, axes: x.permute(axes or tuple(range(x.ndim))[::-1])
    ),
    "swapaxes": lambda t, x, axis1, axis2: x.swapaxes(axis1, axis2),
    "moveaxis": lambda t, x, source, destination: x.moveaxis(source, destination),
    "expand_dims": lambda t, x, axis: x[None, ..., None] if isinstance(axis, tuple) else x.unsqueeze(axis),
    "squeeze": lambda t, x, axis: x.squeeze() if axis is None else x.squeeze(axis),
    "broadcast_to": lambda t, x, shape: x.expand(shape),
    "flip": lambda t, x, axis: x.flip(tuple(range(x.ndim)) if axis is None else axis),
    "roll": roll,
    "tril": lambda t, x, k: t.tril(x, k),
    "triu": lambda t, x, k: t.triu(x, k),
    "concatenate": lambda t, *xs, axis: t.cat(xs, axis),
    "stack": lambda t, *xs, axis: t.stack(xs, axis),
    "split": split,
    "unstack": lambda t, x, axis: t.unbind(x, axis),
    "repeat": repeat,
    "tile": tile,
    "pad": pad,
    "getitem": getitem,
    "take": take,
    "embedding": lambda t, i, w: t.nn.functional.embedding(i, w),
    "take_along_axis": lambda t, x, i, axis: t.take_along_dim(x, i % x.shape[axis], axis),
    "gather": lambda t, x, i, axis: t.gather(x, axis, i),
    "scatter_add": lambda t, x, i, source, axis: t.scatter_add(
        x, axis, i, source[tuple(slice(n) for n in i.shape)]
    ),
    "argsort": lambda t, x, axis, descending: t.argsort(x, dim=axis, descending=descending, stable=True),
    "sort": lambda t, x, axis, descending: t.sort(x, axis, descending).values,
    "diagonal": lambda t, x, offset, axis1, axis2: t.diagonal(x, offset, axis1, axis2),
    "trace": lambda t, x, offset, axis1, axis2: t.diagonal(x, offset, axis1, axis2).sum(-1),
    "linear": lambda t, *xs: t.nn.functional.linear(*xs),
    "dot": dot,
    "tensordot": tensordot,
    "einsum": lambda t, *xs, subscripts: t.einsum(subscripts, *xs),
    **{name: convolution(name) for name in ("conv1d", "conv2d")},
    **{name: functional(name) for name in ("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d")},
}


def compare(torch: Any, case: Any, call: Any) -> tuple[float, float]:
    """The same call here and in PyTorch: the largest gap of values, and of gradients, relative to 1."""
    import tinygrad_rnn as tg

    ours = [tg.tensor(a, requires_grad=a.dtype.kind == "f") for a in call.arrays]
    theirs = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in call.arrays]
    ys, zs = case.apply(*ours, **call.params), TORCH[case.op](torch, *theirs, **call.params)
    ys, zs = ([v] if hasattr(v, "dtype") else list(v) for v in (ys, zs))
    assert [y.shape for y in ys] == [tuple(z.shape) for z in zs]
    values = max((_gap(y.numpy(), z.detach().numpy()) for y, z in zip(ys, zs, strict=True)), default=0.0)
    pairs = [(y, z) for y, z in zip(ys, zs, strict=True) if y.requires_grad and z.requires_grad]
    if not pairs or not any(z.requires_grad for z in theirs):
        return values, 0.0
    rng = np.random.default_rng(1)
    vs = [rng.normal(size=y.shape) for y, _ in pairs]
    found = tg.grad([y for y, _ in pairs], [x for x in ours if x.requires_grad], [tg.tensor(v) for v in vs])
    sought = [x for x in theirs if x.requires_grad]
    right = torch.autograd.grad([z for _, z in pairs], sought, [torch.tensor(v) for v in vs])
    return values, max(_gap(a.numpy(), b.numpy()) for a, b in zip(found, right, strict=True))


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    difference = np.abs(np.subtract(a, b, dtype=np.float64))
    worst = float((difference / np.maximum(1.0, np.abs(b))).max(initial=0.0))
    return math.inf if math.isnan(worst) else worst
