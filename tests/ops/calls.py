"""Calls of single operations, where the common forms in draws.py do not fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.ops.draws import (
    Call,
    Draw,
    calls,
    distinct,
    full_shapes,
    one_axis,
    pairs,
    real,
    seeds,
    shapes,
    wide_shapes,
)  # fmt: skip
from tinygrad_rnn import ops


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
