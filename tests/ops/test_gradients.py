"""Every operation, to the second derivative, against finite differences; and none is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.ops.cases import CASES, NO_GRADIENT, Case
from tinygrad_rnn import ops
from tinygrad_rnn.check import check_grads

several = settings(suppress_health_check=[
    HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture,
])  # fmt: skip
smooth = [c for c in CASES if c.differentiable]


def by_op(case: Case) -> str:
    return case.op


def test_every_operation_is_in_the_table():
    assert sorted(c.op for c in CASES) == sorted(ops.__all__)


def test_no_operation_is_listed_twice():
    assert len(set(ops.__all__)) == len(ops.__all__)


@pytest.mark.parametrize("case", smooth, ids=by_op)
@settings(several, max_examples=10)
@given(data=st.data())
def test_first_and_second_derivatives(case, data):
    call = data.draw(case.calls)
    check_grads(lambda *xs: case.apply(*xs, **call.params), *call.arrays, order=2)


@pytest.mark.parametrize(
    "op", ["tanh", "power", "prod", "cumprod", "std", "norm", "softmax", "standardize", "gelu"]
)
@settings(several, max_examples=2)
@given(data=st.data())
def test_third_derivatives(op, data):
    case = next(c for c in CASES if c.op == op)
    call = data.draw(case.calls.filter(lambda c: sum(a.size for a in c.arrays) < 5))
    check_grads(lambda *xs: case.apply(*xs, **call.params), *call.arrays, order=3, rtol=1e-4)


@pytest.mark.parametrize("case", [c for c in CASES if c.op in NO_GRADIENT], ids=by_op)
@settings(several, max_examples=5)
@given(data=st.data())
def test_without_a_gradient_nothing_is_recorded(case, data):
    call = data.draw(case.calls)
    arrays = [tg.tensor(a, requires_grad=a.dtype.kind == "f") for a in call.arrays]
    assert not case.apply(*arrays, **call.params).requires_grad


def outputs(result):
    return [result] if isinstance(result, tg.Tensor) else list(result)


def gradients(case, arrays, params):
    """Values, and the gradients for a fixed cotangent."""
    xs = [tg.from_numpy(a).to(tg.get_default_device()) for a in arrays]
    xs = [x.requires_grad_() if x.dtype.kind == "f" else x for x in xs]
    ys = outputs(case.apply(*xs, **params))
    rng = np.random.default_rng(5)
    vs = [tg.tensor(rng.normal(size=y.shape), dtype=y.dtype) for y in ys]
    sought = [x for x in xs if x.requires_grad]
    ys, vs = zip(*[(y, v) for y, v in zip(ys, vs, strict=True) if y.requires_grad], strict=True) or ((), ())
    return [y.numpy() for y in ys], [g.numpy() for g in tg.grad(ys, sought, vs)]


@pytest.mark.parametrize("case", smooth, ids=by_op)
@settings(several, max_examples=4)
@given(data=st.data())
def test_gradients_of_several_uses_add_up_and_write_into_nobody(case, data):
    call = data.draw(case.calls)
    assume(all(a.size for a in call.arrays))
    _, once = gradients(case, call.arrays, call.params)
    xs = [tg.tensor(a, requires_grad=a.dtype.kind == "f") for a in call.arrays]
    sought = [x for x in xs if x.requires_grad]
    uses = [outputs(case.apply(*xs, **call.params)) for _ in range(3)]
    rng = np.random.default_rng(5)
    vs = [tg.tensor(rng.normal(size=y.shape), dtype=y.dtype) for y in uses[0]]
    ones = [tg.ones(*x.shape, dtype=x.dtype) for x in sought]
    before = [v.numpy().copy() for v in vs]
    ys = [y for use in uses for y in use] + [x * 1.0 for x in sought] * 2
    pairs = [(y, v) for y, v in zip(ys, [*vs * 3, *ones, *ones], strict=True) if y.requires_grad]
    found = tg.grad([y for y, _ in pairs], sought, [v for _, v in pairs])
    for thrice, g in zip(found, once, strict=True):
        np.testing.assert_allclose(thrice.numpy(), 3 * g + 2, rtol=1e-10, atol=1e-10)
    for v, same in zip([*vs, *ones], [*before, *(np.ones(x.shape) for x in sought)], strict=True):
        np.testing.assert_array_equal(v.numpy(), same)


def strided(a):
    """The same entries, in memory with gaps and backwards along every axis."""
    wide = np.zeros(tuple(2 * n for n in a.shape), dtype=a.dtype)
    view = wide[(..., *[slice(None, None, -2)] * a.ndim)]
    view[...] = a
    return view


@pytest.mark.parametrize("case", smooth, ids=by_op)
@settings(several, max_examples=5)
@given(data=st.data())
def test_gaps_and_negative_strides_change_nothing(case, data):
    call = data.draw(case.calls)
    assume(all(a.size for a in call.arrays))
    plain = gradients(case, call.arrays, call.params)
    for layout in (strided, lambda a: np.asarray(a, order="F")):
        other = gradients(case, [layout(a) for a in call.arrays], call.params)
        for expected, found in zip(plain, other, strict=True):
            for a, b in zip(expected, found, strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("case", [c for c in smooth if c.op not in ("astype", "to")], ids=by_op)
@settings(several, max_examples=4)
@given(data=st.data())
def test_the_dtype_stays(case, dtype, data):
    call = data.draw(case.calls)
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in call.arrays]
    assume(all(a.size for a in arrays))
    values, found = gradients(case, arrays, call.params)
    assert {a.dtype for a in (*values, *found)} == {np.dtype(dtype)}
