"""Affine maps, tables of vectors, and what stands between layers: PyTorch's names, shapes and starts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.namespaces import on_host
from tinygrad_rnn.nn import functional, init
from tinygrad_rnn.nn.module import Module, make_parameter
from tinygrad_rnn.tensor import Tensor, raw


class Linear(Module):
    """y = x Wᵀ + b: x (…, in), weight (out, in), bias (out) → (…, out); both start at U(±1/√in).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Linear(3, 5)(tg.zeros(2, 7, 3)).shape
    (2, 7, 5)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.weight = make_parameter((out_features, in_features), device, dtype)
        self.bias = make_parameter((out_features,), device, dtype) if bias else None
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Any) -> Any:
        """The map of x (…, in); ValueError for another last axis."""
        if not x.ndim or x.shape[-1] != self.in_features:
            raise ValueError(f"expected input (…, {self.in_features}), got {x.shape}")
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Embedding(Module):
    """A vector for each of V things: integers (…) → (…, D); weight (V, D) starts at N(0, 1).

    The row `padding_idx` starts at zero and gets no gradient.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Embedding(10, 4)(tg.tensor([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
        device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"expected padding_idx within {num_embeddings} rows, got {padding_idx}")
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.weight = init.normal_(make_parameter((num_embeddings, embedding_dim), device, dtype))
        if padding_idx is not None:
            self.weight.data[padding_idx] = 0.0

    def forward(self, x: Any) -> Tensor:
        """The rows of integers x; IndexError for one that is not in the table (a GPU is not asked)."""
        at = raw(x) if isinstance(x, Tensor) else np.asarray(x)
        if on_host(at) and at.size and not (at.min() >= 0 and at.max() < self.num_embeddings):
            raise IndexError(
                f"expected indices from 0 to {self.num_embeddings - 1}, got {at.min()} to {at.max()}"
            )
        return functional.embedding(x, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Dropout(Module):
    """In training, each entry zero with probability p, the others over 1 - p (Srivastava et al. 2014).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Dropout(0.5).eval()(tg.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"expected a dropout probability between 0 and 1, got {p}")
        self.p = p

    def forward(self, x: Any) -> Any:
        """x, thinned out in training."""
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class Flatten(Module):
    """The axes from start_dim to end_dim as one.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Flatten()(tg.zeros(2, 3, 4)).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        """x with those axes joined."""
        if not x.ndim:
            return ops.reshape(x, (1,))
        first, last = self.start_dim % x.ndim, self.end_dim % x.ndim
        size = math.prod(x.shape[first : last + 1])
        return ops.reshape(x, (*x.shape[:first], size, *x.shape[last + 1 :]))


class Identity(Module):
    """x as it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Any arguments, as in PyTorch; they change nothing."""

    def forward(self, x: Any) -> Any:
        """x."""
        return x
