"""Every operation, with calls to try it on."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.ops.calls import (
    affine,
    clipped,
    contracted,
    convolved,
    cut,
    diagonals,
    dotted,
    embedded,
    flags,
    gathered,
    joined,
    masked,
    normalized,
    overlapped,
    padded,
    picked,
    placed,
    pooled,
    products,
    recurrence,
    repeated,
    reshapings,
    rolled,
    scattered,
    stacked,
    stretched,
    summed,
    taken,
    taken_along,
    windowed,
)  # fmt: skip
from tests.ops.draws import (
    Call,
    along,
    apart,
    between,
    binary,
    distinct,
    full_shapes,
    matrices,
    moved,
    one_axis,
    positive,
    quotients,
    real,
    reduction,
    singles,
    some_axes,
    unary,
    zeros_among,
)  # fmt: skip
from tinygrad_rnn import ops


def words(text: str) -> list[str]:
    return text.split()


class Case(NamedTuple):
    op: str
    calls: st.SearchStrategy[Call]
    listed: bool = False
    """The arrays go in as one sequence: concatenate, stack."""

    @property
    def differentiable(self) -> bool:
        return self.op not in NO_GRADIENT

    def apply(self, *arrays: Any, **params: Any) -> Any:
        op = getattr(ops, self.op)
        if self.op == "gather":
            return op(arrays[0], params["axis"], arrays[1])
        if self.op == "scatter_add":
            return op(arrays[0], params["axis"], arrays[1], arrays[2])
        if self.op == "layer_norm":
            return op(arrays[0], params["normalized_shape"], *arrays[1:])
        if self.op == "einsum":
            return op(params["subscripts"], *arrays)
        if self.op == "dropout":
            from tinygrad_rnn import manual_seed

            manual_seed(3)
        return op(list(arrays), **params) if self.listed else op(*arrays, **params)


NO_GRADIENT = frozenset(
    words("""
    equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor logical_not
    bitwise_and bitwise_or bitwise_xor bitwise_invert isnan isinf isfinite any all argmax argmin argsort
    zeros ones zeros_like ones_like full_like
    """)
)

# -- the table -----------------------------------------------------------------------------------------

_UNARY: dict[str, Any] = {
    **dict.fromkeys(
        words("negative square exp expm1 sin cos sinh cosh tanh arctan arcsinh erf sigmoid softplus"), real
    ),
    **dict.fromkeys(words("abs sign floor ceil relu silu"), real),
    **dict.fromkeys(words("sqrt log log1p log2 log10"), positive),
    **dict.fromkeys(words("arcsin arccos arctanh"), between(-0.8, 0.8)),
    "tan": between(-1.2, 1.2),
    "arccosh": between(1.3, 3),
    "floor": distinct,
    "ceil": distinct,
    "isnan": real,
    "isinf": real,
    "isfinite": real,
    "logical_not": real,
    "zeros_like": real,
    "ones_like": real,
    "copy": real,
}
_BINARY: dict[str, tuple[Any, Any]] = {
    "add": (real, real),
    "subtract": (real, real),
    "multiply": (real, real),
    "divide": (real, between(-2, 2, 0.4)),
    "power": (positive, real),
    "arctan2": (real, real),
    "logaddexp": (real, real),
    "outer": (real, real),
}
_COMPARED = words(
    "maximum minimum equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor"
)

CASES: list[Case] = [
    *[Case(name, unary(entries)) for name, entries in _UNARY.items()],
    *[Case(name, binary(*entries)) for name, entries in _BINARY.items()],
    *[Case(name, apart()) for name in _COMPARED],
    *[Case(f"bitwise_{name}", flags(2)) for name in ("and", "or", "xor")],
    Case("bitwise_invert", flags(1)),
    Case("floor_divide", quotients()),
    Case("remainder", quotients()),
    Case("round", unary(distinct, decimals=st.just(0))),
    Case("leaky_relu", unary(real, negative_slope=st.sampled_from([0.01, 0.3]))),
    Case("elu", unary(real, alpha=st.sampled_from([1.0, 0.5]))),
    Case("gelu", unary(real, approximate=st.sampled_from(["none", "tanh"]))),
    Case("clip", clipped()),
    Case("where", masked()),
    # reduce
    Case("sum", reduction()),
    Case("mean", reduction(shapes=full_shapes)),
    Case("prod", reduction(zeros_among)),
    Case("max", reduction(distinct, full_shapes)),
    Case("min", reduction(distinct, full_shapes)),
    Case(
        "var",
        reduction(
            shapes=hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=3),
            correction=st.integers(0, 1),
        ),
    ),
    Case(
        "std",
        reduction(
            distinct,
            hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=3),
            correction=st.integers(0, 1),
        ),
    ),
    Case("norm", reduction(distinct, full_shapes, ord=st.sampled_from([1, 2, 3, 2.5, math.inf, -math.inf]))),
    Case("standardize", along(distinct, hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=3))),
    Case("layer_norm", normalized()),
    Case("logsumexp", reduction(shapes=full_shapes)),
    Case("softmax", along()),
    Case("log_softmax", along()),
    Case("cumsum", along(none=True)),
    Case("cumprod", along(zeros_among, none=True)),
    Case("linear_recurrence", recurrence()),
    Case("any", reduction(zeros_among)),
    Case("all", reduction(zeros_among)),
    Case("argmax", along(distinct, full_shapes.filter(bool), none=True)),
    Case("argmin", along(distinct, full_shapes.filter(bool), none=True)),
    # shape
    Case("reshape", moved(shape=reshapings)),
    Case("permute_dims", moved(axes=lambda s: st.none() | st.permutations(range(len(s))).map(tuple))),
    Case("transpose", moved(shapes=matrices, axes=lambda s: st.permutations(range(-len(s), 0)).map(tuple))),
    Case(
        "swapaxes", moved(shapes=matrices, axis1=lambda s: one_axis(len(s)), axis2=lambda s: one_axis(len(s)))
    ),
    Case(
        "moveaxis",
        moved(shapes=matrices, source=lambda s: one_axis(len(s)), destination=lambda s: one_axis(len(s))),
    ),
    Case("expand_dims", moved(axis=lambda s: one_axis(len(s) + 1) | st.just((0, -1)))),
    Case(
        "squeeze",
        moved(
            shapes=singles.map(lambda s: (1, *s)), axis=lambda s: st.sampled_from([None, 0, (0,), -len(s)])
        ),
    ),
    Case("broadcast_to", moved(shape=stretched)),
    Case("flip", moved(axis=lambda s: some_axes(len(s)))),
    Case("roll", rolled()),
    Case("tril", moved(shapes=matrices, k=lambda s: st.integers(-2, 2))),
    Case("triu", moved(shapes=matrices, k=lambda s: st.integers(-2, 2))),
    Case("concatenate", joined(), listed=True),
    Case("stack", stacked(), listed=True),
    Case("split", cut()),
    Case("unstack", along()),
    Case("repeat", repeated()),
    Case(
        "tile",
        moved(
            reps=lambda s: st.integers(0, 3) | st.lists(st.integers(1, 2), min_size=1, max_size=4).map(tuple)
        ),
    ),
    Case("pad", padded()),
    # index
    Case("getitem", picked()),
    Case("place", placed()),
    Case("take", taken()),
    Case("embedding", embedded()),
    Case("take_along_axis", taken_along()),
    Case("gather", gathered()),
    Case("scatter_add", scattered()),
    Case("argsort", along(distinct, descending=st.booleans())),
    Case("sort", along(distinct, descending=st.booleans())),
    Case("diagonal", diagonals()),
    Case("trace", diagonals()),
    # linear
    Case("matmul", products()),
    Case("linear", affine()),
    Case("dot", dotted()),
    Case("tensordot", contracted()),
    Case("einsum", summed()),
    # conv
    Case("windows", windowed()),
    Case("overlap_add", overlapped()),
    Case("conv1d", convolved(1)),
    Case("conv2d", convolved(2)),
    Case("max_pool1d", pooled(1, True)),
    Case("max_pool2d", pooled(2, True)),
    Case("avg_pool1d", pooled(1, False)),
    Case("avg_pool2d", pooled(2, False)),
    # random, convert
    Case("dropout", unary(real, p=st.sampled_from([0.0, 0.5, 1.0]))),
    Case("astype", unary(real, dtype=st.just("float64"))),
    Case("to", unary(real, where=st.just("float64")).map(lambda c: Call(c.arrays, c.params))),
    Case("array", unary(real)),
    Case("zeros", st.just(Call((), {"shape": (2, 0)}))),
    Case("ones", st.just(Call((), {"shape": (2, 3)}))),
    Case("full_like", unary(real, value=st.just(7.0))),
]


@functools.cache
def case(op: str) -> Case:
    """The case of that operation."""
    return next(c for c in CASES if c.op == op)
