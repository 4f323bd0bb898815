"""Every operation, with calls to try it on: shapes and axes from Hypothesis, entries from a seed.

Entries keep their distance from kinks and jumps (0, ties, integers, poles), where finite differences mean
nothing; what happens exactly there is claimed test by test in test_traps.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_rnn import ops

Draw = Callable[..., Any]


def words(text: str) -> list[str]:
    return text.split()


class Call(NamedTuple):
    """What an operation is called with: arrays (the floating ones to be differentiated) and parameters."""

    arrays: tuple[np.ndarray, ...]
    params: Mapping[str, Any] = MappingProxyType({})


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


# -- calls of single operations ------------------------------------------------------------------------


@calls
def masked(draw: Draw) -> Call:
    found = draw(
        hnp.mutually_broadcastable_shapes(num_shapes=3, min_side=0, max_dims=3, max_side=3)
    ).input_shapes
    rng = draw(seeds)
    return Call((rng.random(found[0]) > 0.5, real(rng, found[1]), real(rng, found[2])))


@calls
def clipped(draw: Draw) -> Call:
    x = distinct(draw(seeds), draw(shapes))
    low, high = draw(st.sampled_from([(-1.0, 1.0), (None, 0.5), (-0.5, None)]))
    if draw(st.booleans()):
        return Call((x,), {"min": low, "max": high})
    return Call((x, np.float64(-1.0) + np.zeros(()), np.full(x.shape[-1:], 1.0)))


@calls
def recurrence(draw: Draw) -> Call:
    shape, rng = draw(wide_shapes), draw(seeds)
    return Call((real(rng, shape), real(rng, shape)))


@calls
def normalized(draw: Draw) -> Call:
    shape, rng = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=3)), draw(seeds)
    last = shape[-draw(st.integers(1, len(shape))) :]
    arrays = (distinct(rng, shape), real(rng, last), real(rng, last))[: draw(st.integers(1, 3))]
    return Call(arrays, {"normalized_shape": last})


@calls
def joined(draw: Draw) -> Call:
    shape, rng = list(draw(wide_shapes)), draw(seeds)
    axis = draw(one_axis(len(shape)))
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    arrays = (real(rng, (*shape[:axis], n, *shape[axis:][1:])) for n in lengths)
    return Call(tuple(arrays), {"axis": axis})


@calls
def stacked(draw: Draw) -> Call:
    shape, rng = draw(shapes), draw(seeds)
    count = draw(st.integers(1, 3))
    return Call(tuple(real(rng, shape) for _ in range(count)), {"axis": draw(one_axis(len(shape) + 1))})


@calls
def cut(draw: Draw) -> Call:
    shape, rng = draw(wide_shapes), draw(seeds)
    axis = draw(one_axis(len(shape)))
    n = shape[axis]
    equal = st.sampled_from([k for k in range(1, n + 2) if n % k == 0])
    at = st.lists(st.integers(0, n), max_size=3).map(sorted)
    return Call((real(rng, shape),), {"indices_or_sections": draw(equal | at), "axis": axis})


@calls
def picked(draw: Draw) -> Call:
    """Slices, ints, None, ..., boolean and integer arrays (repeating), as NumPy takes them."""
    shape, rng = draw(full_shapes), draw(seeds)
    kind = draw(st.sampled_from(["basic", "integer", "boolean", "mixed", "rows"]))
    if kind == "basic" or not shape:
        key = draw(hnp.basic_indices(shape, allow_newaxis=True))
    elif kind == "integer":
        key = draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=3)))
    elif kind == "boolean":
        key = rng.random(shape[: draw(st.integers(1, len(shape)))]) > 0.4
    elif kind == "mixed":
        key = (
            (rng.integers(-shape[0], shape[0], 4), ..., slice(None, None, -1))
            if len(shape) > 1
            else [0, -1, 0]
        )
    else:
        key = rng.integers(-shape[0], shape[0], (2, 3))
    return Call((real(rng, shape),), {"key": key})


@calls
def placed(draw: Draw) -> Call:
    call = draw(picked())
    (x,), key = call.arrays, call.params["key"]
    source = x[key]
    return Call((real(draw(seeds), np.shape(source)),), {"key": key, "shape": x.shape})


@calls
def taken(draw: Draw) -> Call:
    shape, rng = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=3)), draw(seeds)
    axis = draw(one_axis(len(shape)) | st.none())
    n = math.prod(shape) if axis is None else shape[axis]
    where = rng.integers(-n, n, draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)))
    return Call((real(rng, shape), where), {"axis": axis})


@calls
def embedded(draw: Draw) -> Call:
    rng = draw(seeds)
    indices = rng.integers(0, 4, draw(shapes))
    return Call((indices, real(rng, (4, 2))))


@calls
def taken_along(draw: Draw) -> Call:
    shape, rng = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=3)), draw(seeds)
    axis = draw(one_axis(len(shape)))
    like = list(shape)
    like[axis] = draw(st.integers(0, 4))
    return Call((real(rng, shape), rng.integers(-shape[axis], shape[axis], like)), {"axis": axis})


@calls
def gathered(draw: Draw) -> Call:
    shape, rng = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=3)), draw(seeds)
    axis = draw(one_axis(len(shape)))
    like = [draw(st.integers(1, n)) for n in shape]
    like[axis] = draw(st.integers(0, 4))
    return Call((real(rng, shape), rng.integers(0, shape[axis], like)), {"axis": axis})


@calls
def scattered(draw: Draw) -> Call:
    call = draw(gathered())
    (x, index), rng = call.arrays, draw(seeds)
    source = real(rng, tuple(n + draw(st.integers(0, 1)) for n in index.shape))
    return Call((x, index, source), call.params)


@calls
def diagonals(draw: Draw) -> Call:
    shape, rng = draw(hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=3)), draw(seeds)
    axis1, axis2 = draw(st.permutations(range(len(shape))))[:2]
    axis2 -= draw(st.sampled_from([0, len(shape)]))
    return Call((real(rng, shape),), {"offset": draw(st.integers(-2, 2)), "axis1": axis1, "axis2": axis2})


@calls
def products(draw: Draw) -> Call:
    found = draw(
        hnp.mutually_broadcastable_shapes(
            signature="(m?,n),(n,p?)->(m?,p?)", max_dims=2, max_side=3, min_side=0
        )
    )
    rng = draw(seeds)
    return Call(tuple(real(rng, s) for s in found.input_shapes))


@calls
def affine(draw: Draw) -> Call:
    rng, batch = draw(seeds), draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    i, o = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    arrays = real(rng, (*batch, i)), real(rng, (o, i)), real(rng, (o,))
    return Call(arrays[: draw(st.integers(2, 3))])


@calls
def dotted(draw: Draw) -> Call:
    rng, n = draw(seeds), draw(st.integers(0, 3))
    a, b = draw(
        st.sampled_from(
            [
                ((), ()),
                ((), (n,)),
                ((n,), (n,)),
                ((2, n), (n,)),
                ((2, n), (n, 3)),
                ((n,), (2, n, 2)),
                ((2, 1, n), (2, n, 3)),
            ]
        )
    )
    return Call((real(rng, a), real(rng, b)))


@calls
def contracted(draw: Draw) -> Call:
    rng, (n, m) = draw(seeds), draw(st.tuples(st.integers(0, 3), st.integers(1, 3)))
    a, b, axes = draw(
        st.sampled_from(
            [
                ((2, n, m), (n, m, 2), 2),
                ((2, n), (n, 3), 1),
                ((n,), (m,), 0),
                ((n, 2, m), (m, 3, n), ((0, 2), (2, 0))),
                ((n, m), (2, n), (0, -1)),
                ((n, 2, m), (m, n), ([-1, 0], [0, 1])),
            ]
        )
    )
    return Call((real(rng, a), real(rng, b)), {"axes": axes})


@calls
def summed(draw: Draw) -> Call:
    rng, n = draw(seeds), draw(st.integers(0, 3))
    subscripts, *like = draw(
        st.sampled_from(
            [
                ("ij,jk->ik", (2, n), (n, 3)),
                ("ij,jk", (2, n), (n, 3)),
                ("ij->", (2, n)),
                ("ij->ji", (2, n)),
                ("ij->j", (2, n)),
                ("i,i", (n,), (n,)),
                ("i,j->ij", (n,), (2,)),
                ("ii->i", (n, n)),
                ("ii", (n, n)),
                ("iji->j", (n, 2, n)),
                ("bij,bjk->bik", (2, 2, n), (2, n, 1)),
                ("...ij,...jk->...ik", (2, 1, 2, n), (3, n, 2)),
                ("...i->...", (2, 2, n)),
                ("...,...", (2, n), (n,)),
                ("ij,kj,k->i", (2, n), (3, n), (3,)),
                ("ij,kl->", (2, n), (2, 2)),
                ("i...,i...->...", (n, 2), (n, 2)),
                (",i->i", (), (n,)),
                ("ij , jk -> ki", (2, n), (n, 3)),
            ]
        )
    )
    return Call(tuple(real(rng, s) for s in like), {"subscripts": subscripts})


@calls
def windowed(draw: Draw) -> Call:
    rng, dims = draw(seeds), draw(st.integers(1, 2))
    size, stride, dilation = (tuple(draw(st.integers(1, 2)) for _ in range(dims)) for _ in range(3))
    fits = tuple(d * (k - 1) + 1 + draw(st.integers(0, 2)) for k, d in zip(size, dilation, strict=True))
    return Call((real(rng, (2, *fits)),), {"size": size, "stride": stride, "dilation": dilation})


@calls
def overlapped(draw: Draw) -> Call:
    call = draw(windowed())
    shape, params = call.arrays[0].shape[1:], dict(call.params)
    seen = ops.windows(call.arrays[0][0], **params)
    del params["size"]
    return Call((real(draw(seeds), seen.shape),), {"shape": shape, **params})


@calls
def convolved(draw: Draw, dims: int) -> Call:
    rng, groups = draw(seeds), draw(st.integers(1, 2))
    each = (
        st.integers(1, 2)
        if dims == 1
        else st.integers(1, 2) | st.tuples(st.integers(1, 2), st.integers(1, 2))
    )
    stride, dilation = draw(each), draw(each)
    padding = (
        draw(st.integers(0, 2))
        if dims == 1
        else draw(st.integers(0, 1) | st.tuples(st.integers(0, 1), st.integers(0, 1)))
    )
    if stride == 1 and draw(st.booleans()):
        padding = "same"
    size = tuple(draw(st.integers(1, 3 if dims == 1 else 2)) for _ in range(dims))
    lengths = tuple(2 * (k - 1) + draw(st.integers(1, 3 if dims == 1 else 2)) for k in size)
    channels, outs = groups * draw(st.integers(1, 2 if dims == 1 else 1)), groups * draw(st.integers(1, 2))
    batch = draw(st.sampled_from([(), (1,), (2,)]))
    x, weight = real(rng, (*batch, channels, *lengths)), real(rng, (outs, channels // groups, *size))
    arrays = (x, weight, real(rng, (outs,)))[: draw(st.integers(2, 3))]
    return Call(arrays, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups})


@calls
def pooled(draw: Draw, dims: int, highest: bool) -> Call:
    rng, size = draw(seeds), draw(st.integers(1, 3) if dims == 1 else st.integers(1, 2) | st.just((2, 1)))
    least = size if isinstance(size, int) else min(size)
    params = {
        "kernel_size": size,
        "stride": draw(st.none() | st.integers(1, 3)),
        "padding": draw(st.integers(0, least // 2)),
        "ceil_mode": draw(st.booleans()),
    }
    params |= {"dilation": draw(st.integers(1, 2))} if highest else {"count_include_pad": draw(st.booleans())}
    lengths = tuple(draw(st.integers(5, 6) if dims == 1 else st.integers(3, 4)) for _ in range(dims))
    return Call((distinct(rng, (*draw(st.sampled_from([(1,), (2, 1)])), *lengths)),), params)


def reshapings(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    size = math.prod(shape)
    return st.sampled_from(
        [(size,), (1, size), (size, 1, 1), *([(-1,), (2, -1)] if size and size % 2 == 0 else [])]
    )


def stretched(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    longer = tuple(3 if n == 1 else n for n in shape)
    return st.sampled_from([shape, longer, (2, *shape), (2, 1, *longer)])


def widths(ndim: int) -> st.SearchStrategy[Any]:
    margin = st.integers(0, 2)
    same = margin | st.tuples(margin, margin)
    return same | st.tuples(*[st.tuples(margin, margin)] * ndim) if ndim else same


@calls
def padded(draw: Draw) -> Call:
    mode = draw(st.sampled_from(["constant", "constant", "edge", "reflect", "symmetric", "wrap"]))
    shape = draw(shapes if mode == "constant" else full_shapes)
    extra = {"constant_values": 1.5} if mode == "constant" and draw(st.booleans()) else {}
    return Call((real(draw(seeds), shape),), {"pad_width": draw(widths(len(shape))), "mode": mode, **extra})


@calls
def repeated(draw: Draw) -> Call:
    shape, rng = draw(shapes), draw(seeds)
    axis = draw(st.none() | one_axis(len(shape))) if shape else None
    n = math.prod(shape) if axis is None else shape[axis]
    repeats = draw(st.integers(0, 3) | st.lists(st.integers(0, 3), min_size=n, max_size=n))
    return Call((real(rng, shape),), {"repeats": repeats, "axis": axis})


@calls
def rolled(draw: Draw) -> Call:
    shape, rng = draw(shapes), draw(seeds)
    if len(shape) > 1 and draw(st.booleans()):
        return Call((real(rng, shape),), {"shift": (draw(st.integers(-4, 4)), 1), "axis": (0, -1)})
    axis = draw(st.none() | one_axis(len(shape))) if shape else None
    return Call((real(rng, shape),), {"shift": draw(st.integers(-4, 4)), "axis": axis})


@calls
def flags(draw: Draw, count: int) -> Call:
    return Call(tuple(draw(seeds).random(s) > 0.5 for s in draw(pairs).input_shapes[:count]))


matrices = hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=3)
singles = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=2)

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
