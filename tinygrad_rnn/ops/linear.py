"""Products of matrices and tensors, and the affine map that networks are made of."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from tinygrad_rnn.ops.index import as_tensor, diagonal
from tinygrad_rnn.ops.reduce import sum
from tinygrad_rnn.ops.shape import permute_dims, reshape
from tinygrad_rnn.primitive import primitive

__all__ = ["matmul", "linear", "dot", "outer", "tensordot", "einsum", "trace"]


@primitive
def matmul(xp, a, b, /):
    """Matrix product over the last two axes, broadcast over the others; a vector is a row or a column."""
    return xp.matmul(a, b)


def _matmul_a(g, xp, b, a_shape):
    if b.ndim == 1:
        g, b = g[..., None], b[:, None]
    if len(a_shape) == 1:
        return xp.matmul(g[..., None, :], xp.swapaxes(b, -1, -2))[..., 0, :]
    return xp.matmul(g, xp.swapaxes(b, -1, -2))


def _matmul_b(g, xp, a, b_shape):
    if a.ndim == 1:
        g, a = g[..., None, :] if len(b_shape) > 1 else g[None], a[None]
    if len(b_shape) == 1:
        return xp.matmul(xp.swapaxes(a, -1, -2), g[..., None])[..., 0]
    return xp.matmul(xp.swapaxes(a, -1, -2), g)


matmul.vjp(a=_matmul_a, b=_matmul_b)


@primitive
def linear(xp, x, weight, bias=None, /):
    """x @ weightᵀ + bias: x (…, I), weight (O, I), bias (O) or None → (…, O)."""
    y = _product(xp, x, weight.T)
    return y if bias is None else y + bias


def _product(xp, a, b):
    """a @ b, where b is a matrix; NumPy gets two small ones to BLAS sooner by `dot`."""
    return a.dot(b) if type(a) is np.ndarray and a.ndim == 2 else xp.matmul(a, b)


def _weight_rule(g, xp, x):
    if x.ndim != 2:
        g, x = _rows(g, xp), _rows(x, xp)
    return xp.matmul(g.T, x)


def _rows(x, xp):
    """x as a matrix: all axes but the last in one."""
    return xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


linear.vjp(x=lambda g, xp, weight: _product(xp, g, weight), weight=_weight_rule, bias=lambda g: g)
linear.primitive.by_rows("weight", "bias")


# -- products of tensors, from products of matrices ----------------------------------------------------


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Σ over pairs of axes: the last `axes` of a with the first of b, or (axes of a, axes of b)."""
    a, b = as_tensor(a), as_tensor(b)
    if isinstance(axes, int):
        axes = range(a.ndim - axes, a.ndim), range(axes)
    inner_a, inner_b = ([i] if isinstance(i, int) else list(i) for i in axes)
    inner_a, inner_b = [i % a.ndim for i in inner_a], [i % b.ndim for i in inner_b]
    if [a.shape[i] for i in inner_a] != [b.shape[i] for i in inner_b]:
        came = f"{inner_a} of {a.shape} and {inner_b} of {b.shape}"
        raise ValueError(f"tensordot: expected axes of equal lengths, got {came}")
    outer_a = [i for i in range(a.ndim) if i not in inner_a]
    outer_b = [i for i in range(b.ndim) if i not in inner_b]
    shape = (*(a.shape[i] for i in outer_a), *(b.shape[i] for i in outer_b))
    size = math.prod(a.shape[i] for i in inner_a)
    left = reshape(permute_dims(a, (*outer_a, *inner_a)), (math.prod(a.shape[i] for i in outer_a), size))
    right = reshape(permute_dims(b, (*inner_b, *outer_b)), (size, math.prod(b.shape[i] for i in outer_b)))
    return reshape(matmul(left, right), shape)


def dot(a: Any, b: Any) -> Any:
    """Σ over the last axis of a and the last but one of b (the only one of a vector); 0-d: the product."""
    a, b = as_tensor(a), as_tensor(b)
    if not (a.ndim and b.ndim):
        return a * b
    return tensordot(a, b, (-1, -2 if b.ndim > 1 else -1))


def outer(a: Any, b: Any) -> Any:
    """All products of an entry of a with an entry of b: y[i, j] = a[i]·b[j]."""
    return reshape(a, (-1, 1)) * reshape(b, (1, -1))


@primitive
def _einsum(xp, *operands, subscripts, optimize=True):
    return xp.einsum(subscripts, *operands, optimize=optimize)


def _einsum_rule(g, xp, operands, subscripts, optimize):
    """To each operand the same sum, in which it and the output have changed places."""
    terms, result = subscripts.split("->")
    terms = terms.split(",")
    cotangents = []
    for k, labels in enumerate(terms):
        others = [result, *terms[:k], *terms[k + 1 :]]
        kept = "".join(c for c in labels if c in "".join(others))
        d = xp.einsum(",".join(others) + "->" + kept, g, *operands[:k], *operands[k + 1 :], optimize=optimize)
        lengths = iter(d.shape)
        cotangents.append(xp.reshape(d, tuple(next(lengths) if c in kept else 1 for c in labels)))
    return cotangents


_einsum.vjp(operands=_einsum_rule)


def einsum(subscripts: str, *operands: Any, optimize: bool = True) -> Any:
    """Products of operands summed by labels: "ij,jk->ik" is the matrix product; labels and `...` as NumPy's.

    >>> einsum("ij,j", [[1, 2], [3, 4]], [1, 10])
    tensor([21, 43])
    """
    xs = [as_tensor(x) for x in operands]
    terms, result = _labels(subscripts.replace(" ", ""), [x.ndim for x in xs])
    for k, labels in enumerate(terms):
        for c in [c for c, times in Counter(labels).items() for _ in range(times - 1)]:  # "ii": its diagonal
            first = terms[k].index(c)
            second = terms[k].index(c, first + 1)
            xs[k] = diagonal(xs[k], 0, first, second)
            terms[k] = terms[k][:first] + terms[k][first + 1 : second] + terms[k][second + 1 :] + c
    return _einsum(*xs, subscripts=",".join(terms) + "->" + result, optimize=optimize)


def _labels(subscripts, ndims):
    """One label for every axis of every operand, and of the result: `...` and the arrow spelled out."""
    given, arrow, result = subscripts.partition("->")
    terms = given.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum: expected {len(terms)} operands for {subscripts!r}, got {len(ndims)}")
    spare = [c for c in map(chr, range(ord("A"), ord("z") + 1)) if c.isalpha() and c not in subscripts]
    longest = ""
    for k, (term, ndim) in enumerate(zip(terms, ndims, strict=True)):
        named = term.replace("...", "")
        free = ndim - len(named)
        if free < 0 or (free and "..." not in term):
            raise ValueError(f"einsum: expected an operand with the axes {term!r}, got one with {ndim}")
        dots = "".join(spare[:free][::-1])
        terms[k] = term.replace("...", dots)
        longest = max(longest, dots, key=len)
    if not arrow:
        once = [c for c, times in Counter(given).items() if times == 1 and c.isalpha()]
        result = "..." + "".join(sorted(once))
    return terms, result.replace("...", longest)


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of a diagonal."""
    return sum(diagonal(x, offset, axis1, axis2), axis=-1)
