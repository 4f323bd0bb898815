"""Every operation, under NumPy's names; and Tensor's methods and operators, which are these functions.

This namespace is also the `xp` of a rule that is run on Tensors: whatever a rule calls on NumPy is here
under the same name, so the gradient it computes is itself recorded. Read the elementwise ones first:
`arithmetic`, `functions`, `activations`, `choice`; then in any order `reduce`, `shape`, `index` (pick and
place), `linear` (products), `conv` (windows), `random`, `convert` (dtype, device, constants).
"""
# ruff: noqa: F403, F405  (each file lists in __all__ what it gives to this namespace)

from __future__ import annotations

from tinygrad_rnn.autodiff import backward
from tinygrad_rnn.ops import conv, convert, elementwise, index, random, reduce, shape
from tinygrad_rnn.ops import linear as products
from tinygrad_rnn.ops.activations import *
from tinygrad_rnn.ops.arithmetic import *
from tinygrad_rnn.ops.choice import *
from tinygrad_rnn.ops.conv import *
from tinygrad_rnn.ops.convert import *
from tinygrad_rnn.ops.functions import *
from tinygrad_rnn.ops.index import *
from tinygrad_rnn.ops.linear import *
from tinygrad_rnn.ops.random import *
from tinygrad_rnn.ops.reduce import *
from tinygrad_rnn.ops.shape import *
from tinygrad_rnn.tensor import Tensor, raw

__all__: list[str] = []
__all__ += elementwise.__all__
__all__ += reduce.__all__
__all__ += shape.__all__
__all__ += index.__all__
__all__ += products.__all__
__all__ += conv.__all__
__all__ += random.__all__
__all__ += convert.__all__

# -- Tensor's operators and methods --------------------------------------------------------------------

_BINARY = {
    "add": add, "sub": subtract, "mul": multiply, "truediv": divide, "pow": power, "matmul": matmul,
    "floordiv": floor_divide, "mod": remainder, "and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor,
}  # fmt: skip
_ORDER = {"eq": equal, "ne": not_equal, "lt": less, "le": less_equal, "gt": greater, "ge": greater_equal}
_UNARY = {"neg": negative, "abs": abs, "invert": bitwise_invert}
_METHODS = """
    abs sign floor ceil round square sqrt exp expm1 log log1p sin cos tan sinh cosh tanh arcsin arccos arctan
    erf sigmoid relu softplus clip maximum minimum logical_not isnan isinf isfinite
    sum mean prod max min var std norm any all argmax argmin cumsum cumprod logsumexp softmax log_softmax
    swapaxes moveaxis expand_dims squeeze broadcast_to flip roll repeat tile tril triu split unstack
    take gather scatter_add sort argsort diagonal trace matmul dot astype copy to
"""


def _reflected(op):
    def reflected(self, other):
        return op(other, self)

    reflected.__code__ = reflected.__code__.replace(co_name=f"r{op.__name__}")  # its own, to be specialised
    return reflected


def _reshape(self, *shape):
    """The same entries in another shape: `t.reshape(2, 3)` or `t.reshape((2, 3))`."""
    return reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)


def _transpose(self, *axes):
    """The axes in another order, reversed by default: `t.transpose(1, 0, 2)`."""
    return permute_dims(self, (axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes) or None)


def _iterate(self):
    """The slices along the first axis, from one recorded operation."""
    if not self.ndim:
        raise TypeError("expected a tensor with at least one axis, got a 0-d one: nothing to iterate over")
    return iter(unstack(self))


def _attach(**methods):
    for name, method in methods.items():
        setattr(Tensor, name, method)


_attach(**{f"__{name}__": op for name, op in {**_BINARY, **_ORDER, **_UNARY}.items()})
_attach(**{f"__r{name}__": _reflected(op) for name, op in _BINARY.items()})
_attach(**{name: globals()[name] for name in _METHODS.split()})
_attach(
    __getitem__=lambda self, key: getitem(self, raw(key)),
    __iter__=_iterate,
    T=property(lambda self: permute_dims(self)),
    mT=property(lambda self: swapaxes(self, -1, -2)),
    backward=backward,
    reshape=_reshape,
    transpose=_transpose,
    flatten=lambda self: reshape(self, (-1,)),
    clone=copy,
    cpu=lambda self: to(self, "cpu"),
    cuda=lambda self: to(self, "cuda"),
)
