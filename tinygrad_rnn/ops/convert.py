"""Making tensors out of nothing or out of others: dtype, device, copies, constants.

The constants are what rules ask of their namespace: `xp.zeros_like(g)` on Tensors is the one here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn.namespaces import asarray, namespace, on_device, to_device
from tinygrad_rnn.primitive import primitive
from tinygrad_rnn.tensor import Tensor, raw

__all__ = ["astype", "copy", "to", "array", "zeros", "ones", "zeros_like", "ones_like", "full_like"]


@primitive
def astype(xp, x, /, dtype):
    """x in another dtype; the gradient goes back in x's own."""
    return x.astype(dtype)


astype.vjp(x=lambda g, x_dtype: g.astype(x_dtype))


@primitive
def copy(xp, x, /):
    """x in memory of its own."""
    return xp.array(x, copy=True)


copy.vjp(x=lambda g: g)


@primitive
def _move(xp, x, /, device):
    return to_device(x, device)


_move.vjp(x=lambda g, x_device: to(g, x_device) if isinstance(g, Tensor) else to_device(g, x_device))


def to(x: Any, where: Any) -> Any:
    """x on another device ("cpu", "cuda:1") or in another dtype; x itself where nothing changes."""
    if isinstance(where, str) and where.partition(":")[0] in ("cpu", "cuda"):
        return x if to_device(x.data, where) is x.data else _move(x, where)
    return x if x.dtype == np.dtype(where) else astype(x, np.dtype(where))


def array(x: Any, dtype: Any = None, copy: bool = True) -> Any:
    """x, or what data there is, as a Tensor of its own (or, with copy=False, as it is)."""
    x = x if isinstance(x, Tensor) else Tensor(asarray(x))
    x = x if dtype is None else to(x, dtype)
    return _copy(x) if copy else x


_copy = copy


def zeros(shape: Any, dtype: Any = None) -> Any:
    """Zeros on the default device."""
    return Tensor(on_device(None, lambda xp: xp.zeros(shape, dtype=dtype)))


def ones(shape: Any, dtype: Any = None) -> Any:
    """Ones on the default device."""
    return Tensor(on_device(None, lambda xp: xp.ones(shape, dtype=dtype)))


def zeros_like(x: Any) -> Any:
    """Zeros of x's shape, dtype and device."""
    return Tensor(namespace(raw(x)).zeros_like(raw(x)))


def ones_like(x: Any) -> Any:
    """Ones of x's shape, dtype and device."""
    return Tensor(namespace(raw(x)).ones_like(raw(x)))


def full_like(x: Any, value: Any) -> Any:
    """`value` everywhere, in x's shape, dtype and device."""
    return Tensor(namespace(raw(x)).full_like(raw(x), value))
