"""What calls are made of: entries from a seed, shapes, axes and common forms of calls from Hypothesis.

Entries keep their distance from kinks and jumps (0, ties, integers, poles), where finite differences mean
nothing; what happens exactly there is claimed test by test in test_traps.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

Draw = Callable[..., Any]


class Call(NamedTuple):
    """What an operation is called with: arrays (the floating ones to be differentiated) and parameters."""

    arrays: tuple[np.ndarray, ...]
    params: Mapping[str, Any] = MappingProxyType({})


# -- entries -------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def between(low: float, high: float, gap: float = 0.0) -> Callable[[Any, tuple[int, ...]], np.ndarray]:
    """Entries of [low, high], none nearer to 0 than gap."""

    def entries(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
        x = rng.uniform(low, high, shape)
        return np.where(np.abs(x) < gap, np.copysign(gap, x), x)

    return entries


def distinct(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """No two entries nearer than 0.2, none near 0 or an integer multiple of ½."""
    size = math.prod(shape)
    return (rng.permutation(size) - size // 2).reshape(shape) * 0.5 + rng.uniform(0.1, 0.3, shape)


def zeros_among(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Some entries exactly 0: a product must not divide by them."""
    return between(-2, 2, 0.3)(rng, shape) * (rng.random(shape) > 0.3)


real = between(-2, 2, 0.15)
positive = between(0.3, 3)

# -- shapes and axes -----------------------------------------------------------------------------------

shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
full_shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3)
wide_shapes = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3)
pairs = hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_dims=3, max_side=3)


def one_axis(ndim: int) -> st.SearchStrategy[int]:
    return st.integers(-ndim, ndim - 1)


def some_axes(ndim: int) -> st.SearchStrategy[Any]:
    """None, one axis or a tuple of them, negative ones too."""
    if not ndim:
        return st.none()
    several = st.permutations(range(ndim)).flatmap(lambda p: st.integers(1, ndim).map(lambda n: tuple(p[:n])))
    signed = several.flatmap(lambda axes: st.tuples(*[st.sampled_from([a, a - ndim]) for a in axes]))
    return st.none() | one_axis(ndim) | signed


def calls(of: Draw) -> Callable[..., st.SearchStrategy[Call]]:
    """A function (draw, …) → Call as a strategy; every entry of `arrays` an array, 0-d ones too."""
    strategy = st.composite(of)
    return lambda *args, **params: strategy(*args, **params).map(
        lambda call: call._replace(arrays=tuple(map(np.asarray, call.arrays)))
    )


@calls
def unary(draw: Draw, entries: Any = real, shapes: Any = shapes, **params: Any) -> Call:
    return Call((entries(draw(seeds), draw(shapes)),), {k: draw(v) for k, v in params.items()})


@calls
def binary(draw: Draw, left: Any = real, right: Any = real) -> Call:
    rng, (a, b) = draw(seeds), draw(pairs).input_shapes
    return Call((left(rng, a), right(rng, b)))


@calls
def apart(draw: Draw) -> Call:
    """Two operands that broadcast and nowhere are equal."""
    rng, (a, b) = draw(seeds), draw(pairs).input_shapes
    return Call((np.round(real(rng, a)), np.round(real(rng, b)) + rng.uniform(0.2, 0.4, b)))


@calls
def quotients(draw: Draw) -> Call:
    """a / b is at least ¼ away from every integer."""
    rng, (a, b) = draw(seeds), draw(pairs).input_shapes
    return Call((rng.integers(-4, 4, a) + 0.5, rng.choice([-2.0, -1.0, 1.0, 2.0], b)))


@calls
def reduction(
    draw: Draw, entries: Any = real, shapes: Any = shapes, keepdims: bool = True, **params: Any
) -> Call:
    shape = draw(shapes)
    given = {"axis": draw(some_axes(len(shape))), **{k: draw(v) for k, v in params.items()}}
    if keepdims:
        given["keepdims"] = draw(st.booleans())
    return Call((entries(draw(seeds), shape),), given)


@calls
def along(
    draw: Draw, entries: Any = real, shapes: Any = wide_shapes, none: bool = False, **params: Any
) -> Call:
    shape = draw(shapes)
    axis = draw(one_axis(len(shape)) | st.none() if none else one_axis(len(shape)))
    return Call((entries(draw(seeds), shape),), {"axis": axis, **{k: draw(v) for k, v in params.items()}})


@calls
def moved(draw: Draw, **params: Any) -> Call:
    """One array; each parameter drawn from a strategy that depends on its shape."""
    shape = draw(params.pop("shapes", shapes))
    return Call((real(draw(seeds), shape),), {k: draw(v(shape)) for k, v in params.items()})


matrices = hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=3)
singles = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=2)
