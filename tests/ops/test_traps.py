"""Claims about single operations: at kinks and ties, on nothing, on repeated indices, on wrong calls."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.check import check_grads


def gradient(fn, *arrays, v=None):
    """The values and gradients of fn, lists in and out."""
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    y = fn(*xs)
    found = tg.grad(y, xs, None if v is None else tg.tensor(v, dtype=y.dtype))
    return found[0].tolist() if len(arrays) == 1 else [g.tolist() for g in found]


# -- indexing: repeated positions add up ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("pick", "expected"),
    [
        (lambda x: x[[0, 0, 2]], [2.0, 0.0, 1.0]),
        (lambda x: x[np.array([[1, 1], [1, -3]])], [1.0, 3.0, 0.0]),
        (lambda x: x[tg.tensor([2, 2])], [0.0, 0.0, 2.0]),
        (lambda x: x[np.array([True, False, True])], [1.0, 0.0, 1.0]),
        (lambda x: x[tg.tensor([True, False, True])], [1.0, 0.0, 1.0]),
        (lambda x: x[x > 1.5], [0.0, 1.0, 1.0]),
        (lambda x: x[::-2], [1.0, 0.0, 1.0]),
        (lambda x: x[None, ..., 1], [0.0, 1.0, 0.0]),
        (lambda x: x[np.int64(1)], [0.0, 1.0, 0.0]),
        (lambda x: x[tg.tensor(1)], [0.0, 1.0, 0.0]),
        (lambda x: x[[]], [0.0, 0.0, 0.0]),
        (lambda x: ops.take(x, 1), [0.0, 1.0, 0.0]),
        (lambda x: ops.take(x, [1, 1, 1]), [0.0, 3.0, 0.0]),
        (lambda x: ops.gather(x, 0, [1, 1]), [0.0, 2.0, 0.0]),
        (lambda x: ops.repeat(x, [0, 2, 1]), [0.0, 2.0, 1.0]),
        (lambda x: ops.pad(x, 2, mode="reflect"), [2.0, 3.0, 2.0]),
    ],
)
def test_a_position_picked_twice_gets_both_gradients(pick, expected):
    assert gradient(lambda x: pick(x).sum(), [1.0, 2.0, 3.0]) == expected


def test_an_embedding_row_met_twice_gets_both_gradients_and_the_padding_none():
    weight = tg.ones(4, 2, requires_grad=True)
    ops.embedding([[1, 1], [0, 3]], weight, padding_idx=-1).sum().backward()
    assert weight.grad.tolist() == [[1.0, 1.0], [2.0, 2.0], [0.0, 0.0], [0.0, 0.0]]


def test_scatter_add_takes_an_empty_index():
    x = ops.scatter_add(tg.ones(2, 2), 0, np.zeros((0, 2), int), tg.ones(0, 2))
    assert x.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_iterating_records_one_operation():
    x = tg.ones(3, 2, requires_grad=True)
    first, _, last = x
    assert first.node.parents[0] is last.node.parents[0]
    (first + last).sum().backward()  # the second has no cotangent: zeros
    assert x.grad.tolist() == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]


def test_split_with_parts_unused():
    assert gradient(lambda x: ops.split(x, 3)[1].sum(), [1.0, 2.0, 3.0]) == [0.0, 1.0, 0.0]


# -- kinks and ties: a valid subgradient ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "x", "expected"),
    [
        (ops.relu, 0.0, 0.0),
        (ops.abs, 0.0, 0.0),
        (ops.sqrt, 4.0, 0.25),
        (lambda x: ops.maximum(x, 0.0), 0.0, 0.5),
        (lambda x: ops.minimum(x, 0.0), 0.0, 0.5),
        (lambda x: ops.clip(x, 0.0, 1.0), 1.0, 1.0),
        (lambda x: ops.clip(x, 0.0, 1.0), 2.0, 0.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x**1, 0.0, 1.0),
        (lambda x: x**2, -3.0, -6.0),
        (lambda x: 2.0**x, 3.0, 8 * math.log(2)),
        (lambda x: 0.0**x, 2.0, 0.0),
        (lambda x: ops.norm(ops.reshape(x, (1,))), 0.0, 0.0),
        (lambda x: ops.sigmoid(x), 1000.0, 0.0),
        (lambda x: ops.softplus(x), 1000.0, 1.0),
        (lambda x: ops.softplus(x), -1000.0, 0.0),
        (lambda x: ops.floor(x), 1.5, 0.0),
    ],
)
def test_where_a_derivative_jumps_or_saturates(fn, x, expected):
    assert gradient(fn, x) == pytest.approx(expected)


@pytest.mark.parametrize("reduce", [ops.max, ops.min])
def test_tied_extremes_share(reduce):
    assert gradient(lambda x: reduce(x), [3.0, 3.0, 3.0, 3.0]) == [0.25] * 4


def test_equal_entries_keep_their_order():
    assert ops.argsort([1.0, 1.0, 0.0]).tolist() == [2, 0, 1]
    assert ops.argsort([1.0, 1.0, 2.0], descending=True).tolist() == [2, 0, 1]


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_products_with_zeros(zeros):
    x = np.array([2.0, 3.0, -1.0])
    x[:zeros] = 0.0
    check_grads(ops.prod, x, order=3)
    check_grads(lambda x: ops.cumprod(x, axis=0), x, order=3)


def test_no_spread_has_no_gradient_and_no_nan():
    assert gradient(lambda x: ops.std(x), [2.0, 2.0]) == [0.0, 0.0]
    assert gradient(lambda x: ops.norm(x), [0.0, 0.0]) == [0.0, 0.0]


def test_logsumexp_of_impossible_events():
    minus = -math.inf
    assert ops.logsumexp([minus, minus]).item() == minus
    assert gradient(lambda x: ops.logsumexp(x), [minus, minus]) == [0.0, 0.0]
    assert gradient(lambda x: ops.logsumexp(x), [minus, 0.0]) == [0.0, 1.0]


def test_softmax_of_nothing_but_minus_infinity_is_zero_with_no_gradient():
    x = tg.tensor([-math.inf, -math.inf], requires_grad=True)
    y = ops.softmax(x)
    assert y.tolist() == [0, 0] and tg.grad(y.sum(), x).tolist() == [0, 0]


@pytest.mark.parametrize("big", [1e4, -1e4])
def test_softmax_does_not_overflow(big):
    assert ops.softmax(tg.tensor([big, big])).tolist() == [0.5, 0.5]
    assert ops.log_softmax(tg.tensor([big, big])).tolist() == pytest.approx([-math.log(2)] * 2)


# -- nothing, and next to nothing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "shape", "result"),
    [
        (lambda x: ops.sum(x), (0,), ()),
        (lambda x: ops.prod(x, axis=0), (0, 2), (2,)),
        (lambda x: ops.softmax(x), (2, 0), (2, 0)),
        (lambda x: ops.log_softmax(x, axis=0), (0, 3), (0, 3)),
        (lambda x: ops.matmul(x, ops.swapaxes(x, 0, 1)), (2, 0), (2, 2)),
        (lambda x: ops.linear(x, tg.ones(3, 2)), (0, 4, 2), (0, 4, 3)),
        (lambda x: ops.einsum("ij,kj->ik", x, x), (2, 0), (2, 2)),
        (lambda x: ops.concatenate([x, x], axis=1), (2, 0), (2, 0)),
        (lambda x: ops.pad(x, 1), (0,), (2,)),
        (lambda x: ops.tile(x, (2, 2)), (0,), (2, 0)),
        (lambda x: ops.sort(x), (0,), (0,)),
        (lambda x: ops.conv1d(x, tg.ones(2, 3, 2)), (0, 3, 4), (0, 2, 3)),
        (lambda x: ops.unstack(x)[0], (1, 0), (0,)),
        (lambda x: ops.take(x, tg.zeros(0, dtype=int), axis=0), (2, 3), (0, 3)),
    ],
)
def test_empty_arrays_pass_through(fn, shape, result):
    x = tg.zeros(*shape, requires_grad=True)
    y = fn(x)
    assert y.shape == result
    assert tg.grad(y, x, tg.zeros(*result)).shape == shape


def test_0_d_stays_an_array():
    x = tg.tensor(2.0, requires_grad=True)
    y = ops.sum(ops.tanh(x) * x, axis=None)
    assert type(y.data) is type(tg.grad(y, x).data) is type(x.data)


# -- dtypes: a Python scalar never widens --------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x * 2,
        lambda x: 2.5 - x,
        lambda x: x / 3.0,
        lambda x: x**2.5,
        lambda x: 2.0**x,
        lambda x: ops.maximum(x, 0.5),
        lambda x: ops.where(x.data > 1, x, 0.0),
        lambda x: ops.clip(x, 0.0, 1.0),
        lambda x: ops.gelu(x),
        lambda x: ops.dropout(x, 0.5),
        lambda x: ops.erf(x),
        lambda x: x.mean(),
        lambda x: x.var(),
        lambda x: ops.layer_norm(x, 3),
        lambda x: ops.avg_pool1d(x[None], 2),
        lambda x: ops.log2(x),
        lambda x: x % 2,
    ],
)
def test_a_python_scalar_never_widens(fn, dtype):
    x = tg.tensor(np.array([0.5, 1.5, 2.5]), dtype=dtype, requires_grad=True)
    y = fn(x)
    assert y.dtype == dtype
    assert tg.grad(y.sum(), x, create_graph=True).dtype == dtype


def test_mixed_dtypes_promote_and_each_gradient_keeps_its_own():
    a = tg.ones(2, dtype="float32", requires_grad=True)
    b = tg.ones(2, dtype="float64", requires_grad=True)
    y = a * b
    assert y.dtype == "float64"
    assert [g.dtype for g in tg.grad(y.sum(), [a, b])] == ["float32", "float64"]


@pytest.mark.parametrize("fn", [lambda i, x: i * x, lambda i, x: ops.where(i > 0, i, x), lambda i, x: x**i])
def test_integers_take_part(fn):
    x = tg.tensor([2.0, 3.0], dtype="float64", requires_grad=True)
    check_grads(lambda x: fn(tg.tensor([2, 0]), x), x)


def test_operators_are_numpys():
    a, b = np.array([7, -7, 3]), np.array([2, 2, -2])
    for op in ("//", "%", "&", "|", "^", "+", "-", "*", "/", "<", ">=", "==", "!="):
        expected, x, y = eval(f"a {op} b"), tg.tensor(a), tg.tensor(b)
        found = [
            eval(f"s {op} t", {"s": s, "t": t})
            for s, t in [(x, y), (x, y.data), (x.data, y)]
        ]
        for z in found:
            np.testing.assert_array_equal(z.numpy(), expected)
            assert z.dtype == expected.dtype
    assert (~tg.tensor(a)).tolist() == (~a).tolist()
    assert (~tg.tensor([True])).tolist() == [False]


# -- dropout -------------------------------------------------------------------------------------------


def test_dropout_keeps_the_mean_and_uses_one_mask_both_ways():
    x = tg.ones(10_000, requires_grad=True)
    y = ops.dropout(x, 0.25)
    assert y.numpy().mean() == pytest.approx(1.0, abs=0.02)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    assert ops.dropout(x, 0.25, training=False) is x
    assert not ops.dropout(x, 1.0).numpy().any()


# -- every operation as a formula ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "formula", "rules"),
    [
        (ops.tanh, "tanh(x)", {"x": "g·(1 - y²)"}),
        (ops.sigmoid, "0.5·tanh(0.5·x) + 0.5", {"x": "g·(y - y²)"}),
        (ops.add, "a + b", {"a": "g", "b": "g"}),
        (ops.subtract, "a - b", {"a": "g", "b": "-g"}),
        (ops.multiply, "a·b", {"a": "g·b", "b": "g·a"}),
        (ops.divide, "a/b", {"a": "g/b", "b": "-g·y/b"}),
        (ops.power, "a^b", {"a": "g·b·a^where(b = 0, 1, b - 1)", "b": "g·y·log(where(a > 0, a, 1))"}),
        (ops.sqrt, "√x", {"x": "g/(2·y)"}),
        (ops.abs, "|x|", {"x": "g·sign(x)"}),
        (ops.exp, "exp(x)", {"x": "g·y"}),
        (ops.log, "log(x)", {"x": "g/x"}),
        (ops.relu, "maximum(x, 0)", {"x": "g·(y > 0)"}),
        (ops.matmul, "a @ b", {"a": "g @ bᵀ", "b": "aᵀ @ g"}),
        (ops.linear, "x @ weightᵀ + bias", {"x": "g @ weight", "weight": "gᵀ @ x", "bias": "g"}),
        (ops.erf, "erf(x)", {"x": "g·exp(-x²)·1.12838"}),
        (ops.softplus, "logaddexp(x, 0)", {"x": "g·sigmoid(x)"}),
        (
            ops.maximum,
            "maximum(a, b)",
            {"a": "where(a = b, 0.5·g, g·(a > b))", "b": "where(a = b, 0.5·g, g·(a < b))"},
        ),
        (ops.swapaxes, "swapaxes(x)", {"x": "swapaxes(g, axis1, axis2)"}),
    ],
)
def test_formulas_are_printed_from_the_rules(op, formula, rules):
    assert op.primitive.formula() == formula
    assert op.primitive.rule_formulas() == rules


def test_every_primitive_has_a_formula():
    for name in ops.__all__:
        primitive = getattr(getattr(ops, name), "primitive", None)
        if primitive is not None:
            assert primitive.formula()
            assert all(primitive.rule_formulas().values())


# -- wrong calls ---------------------------------------------------------------------------------------

ONE = np.ones(3)


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: ops.add(ONE, np.ones(4)), ValueError, "add: .*float64\\[3\\], float64\\[4\\]"),
        (lambda: ops.matmul(np.ones((2, 3)), np.ones((2, 3))), ValueError, "matmul: "),
        (lambda: ops.split(ONE, 2), ValueError, "divide the axis equally, got 2 of length 3"),
        (lambda: ops.gather(ONE, 0, [[0]]), IndexError, "integer indices with 1 axes, got int64\\[1, 1\\]"),
        (lambda: ops.gather(ONE, 0, [0.5]), IndexError, "integer indices"),
        (
            lambda: ops.gather(np.ones((2, 2)), 0, np.zeros((1, 3), int)),
            IndexError,
            "fit into x \\[2, 2\\], got \\[1, 3\\]",
        ),
        (lambda: ops.gather(ONE, 1, [0]), IndexError, "expected an axis of x, which has 1, got 1"),
        (lambda: ops.scatter_add(ONE, 0, [0, 1], [1.0]), IndexError, "fit into source"),
        (lambda: ops.take(ONE, 5), IndexError, "take: "),
        (lambda: ops.getitem(ONE, 5), IndexError, "getitem: "),
        (lambda: ops.tensordot(np.ones((2, 3)), np.ones((2, 3)), 1), ValueError, "axes of equal lengths"),
        (lambda: ops.einsum("ij,jk", ONE), ValueError, "expected 2 operands"),
        (lambda: ops.einsum("ij->i", ONE), ValueError, "axes 'ij', got one with 1"),
        (lambda: ops.pad(ONE, 1, mode="mirror"), ValueError, "got 'mirror'"),
        (
            lambda: ops.conv1d(np.ones((1, 3, 5)), np.ones((2, 2, 2))),
            ValueError,
            "for 3 channels and groups=1",
        ),
        (
            lambda: ops.conv1d(np.ones((1, 1, 2)), np.ones((1, 1, 3))),
            ValueError,
            "windows that fit into \\(2,\\)",
        ),
        (lambda: ops.conv2d(ONE, np.ones((1, 1, 2, 2))), ValueError, "x and weight with 4 axes"),
        (
            lambda: ops.conv1d(np.ones((1, 1, 5)), np.ones((1, 1, 2)), stride=2, padding="same"),
            ValueError,
            "stride 1",
        ),
        (lambda: ops.max_pool1d(np.ones((1, 5)), 2, padding=2), ValueError, "at most half the window"),
        (lambda: ops.layer_norm(np.ones((2, 3)), 2), ValueError, "end in the axes \\(2,\\)"),
        (lambda: ops.dropout(ONE, 1.5), ValueError, "between 0 and 1, got 1.5"),
        (lambda: ops.gelu(ONE, approximate="sin"), ValueError, "'none' or 'tanh', got 'sin'"),
        (lambda: ops.concatenate([]), TypeError, "at least one array, got none"),
    ],
)
def test_a_wrong_call_says_what_was_expected_and_what_came(call, kind, said):
    with pytest.raises(kind, match=said):
        call()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_erf_is_the_c_librarys_to_the_last_places(dtype):
    x = np.concatenate([np.linspace(-7, 7, 2001), [0.46875, -1e-300, 0.0, 30.0, -np.inf, np.inf]])
    x = x.astype(dtype)
    exact = np.array([math.erf(v) for v in x.tolist()])
    y = ops.erf(x)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(y.data, exact, rtol=2 * np.finfo(dtype).eps)
    assert np.isnan(ops.erf(np.nan).item()) and ops.erf(np.array([2, 0])).dtype == np.float64
