"""Every operation, under NumPy's names; and Tensor's methods and operators, which are these functions.

This namespace is also the `xp` of a rule that is run on Tensors: whatever a rule calls on NumPy is here
under the same name, so the gradient it computes is itself recorded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn.autodiff import backward
from tinygrad_rnn.namespaces import asarray, namespace, on_device, to_device
from tinygrad_rnn.ops.elementwise import *  # noqa: F403
from tinygrad_rnn.ops.elementwise import (
    add, divide, equal, greater, greater_equal, less, less_equal, multiply, negative, not_equal, power, subtract,
)  # fmt: skip
from tinygrad_rnn.ops.index import embedding, getitem, place, take  # noqa: F401
from tinygrad_rnn.ops.linear import linear, matmul  # noqa: F401
from tinygrad_rnn.ops.random import dropout  # noqa: F401
from tinygrad_rnn.ops.reduce import (  # noqa: F401
    all, any, argmax, argmin, cumsum, log_softmax, logsumexp, max, mean, min, softmax, sum,
)  # fmt: skip
from tinygrad_rnn.ops.shape import (  # noqa: F401
    broadcast_to, concatenate, expand_dims, flip, permute_dims, reshape, split, squeeze, stack, swapaxes, transpose,
)  # fmt: skip
from tinygrad_rnn.primitive import primitive
from tinygrad_rnn.tensor import Tensor, raw


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


def zeros(shape: Any, dtype: Any = None) -> Tensor:
    """Zeros on the default device."""
    return Tensor(on_device(None, lambda xp: xp.zeros(shape, dtype=dtype)))


def zeros_like(x: Any) -> Tensor:
    """Zeros of x's shape, dtype and device."""
    return Tensor(namespace(raw(x)).zeros_like(raw(x)))


def ones_like(x: Any) -> Tensor:
    """Ones of x's shape, dtype and device."""
    return Tensor(namespace(raw(x)).ones_like(raw(x)))


# -- Tensor's operators and methods --------------------------------------------------------------------


def _reflected(op: Any) -> Any:
    return lambda self, other: op(other, self)


def _attach() -> None:
    both = {"add": add, "sub": subtract, "mul": multiply, "truediv": divide, "pow": power, "matmul": matmul}
    for name, op in both.items():
        setattr(Tensor, f"__{name}__", op)
        setattr(Tensor, f"__r{name}__", _reflected(op))
    order = {"eq": equal, "ne": not_equal, "lt": less, "le": less_equal, "gt": greater, "ge": greater_equal}
    for name, op in {**order, "and": logical_and, "or": logical_or}.items():  # noqa: F405
        setattr(Tensor, f"__{name}__", op)
    namespace_ = globals()
    for name in _METHODS:
        setattr(Tensor, name, namespace_[name])
    Tensor.__neg__ = negative  # type: ignore[assignment]
    Tensor.__invert__ = logical_not  # type: ignore[attr-defined]  # noqa: F405
    Tensor.__abs__ = abs  # type: ignore[attr-defined]  # noqa: F405
    Tensor.__getitem__ = lambda self, key: getitem(self, raw(key))  # type: ignore[assignment]
    Tensor.T = property(lambda self: permute_dims(self))  # type: ignore[assignment]
    Tensor.mT = property(lambda self: swapaxes(self, -1, -2))  # type: ignore[assignment]
    Tensor.backward = backward  # type: ignore[attr-defined]
    Tensor.reshape = _reshape  # type: ignore[attr-defined]
    Tensor.transpose = _transpose  # type: ignore[attr-defined]
    Tensor.clone = copy  # type: ignore[attr-defined]
    Tensor.to = to  # type: ignore[attr-defined]
    Tensor.cpu = lambda self: to(self, "cpu")  # type: ignore[attr-defined]
    Tensor.cuda = lambda self: to(self, "cuda")  # type: ignore[attr-defined]


_METHODS = (
    "abs sign sqrt square exp expm1 log log1p sin cos tan sinh cosh tanh arcsin arccos arctan erf sigmoid relu "
    "softplus clip maximum minimum sum mean max min any all argmax argmin cumsum logsumexp softmax log_softmax "
    "swapaxes expand_dims squeeze broadcast_to flip split take matmul astype"
).split()


def _reshape(self: Tensor, *shape: Any) -> Any:
    """The same entries in another shape: `t.reshape(2, 3)` or `t.reshape((2, 3))`."""
    return reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)


def _transpose(self: Tensor, *axes: Any) -> Any:
    """The axes in another order, reversed by default: `t.transpose(1, 0, 2)`."""
    return permute_dims(self, (axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes) or None)


def to(x: Tensor, where: Any) -> Any:
    """x on another device ("cpu", "cuda:1") or in another dtype; x itself where nothing changes."""
    if isinstance(where, str) and where.partition(":")[0] in ("cpu", "cuda"):
        return x if to_device(x.data, where) is x.data else _move(x, where)
    return x if x.dtype == np.dtype(where) else astype(x, np.dtype(where))


_attach()
