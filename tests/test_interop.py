"""Tensors among NumPy's arrays, other libraries' arrays, and pickles."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg


@pytest.fixture
def t():
    return tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)


def test_asarray_gives_the_same_memory(t):
    assert np.shares_memory(np.asarray(t), t.data)
    assert np.asarray(t, dtype="float64").dtype == np.float64
    assert not np.shares_memory(np.array(t), t.data)
    with pytest.raises(ValueError, match="copy"):
        np.array(t, dtype="float64", copy=False)


@pytest.mark.parametrize("left", [
    np.array([10.0, 20.0], "f"), np.float32(2.0), np.float64(2.0), np.array(3.0, "f"),
    2, 2.5, True, [10.0, 20.0],
])  # fmt: skip
@pytest.mark.parametrize("op", ["__add__", "__sub__", "__mul__", "__truediv__", "__pow__"])
def test_arrays_and_numbers_on_either_side_give_a_tensor_with_its_gradient(t, left, op):
    function = {"__add__": lambda a, b: a + b, "__sub__": lambda a, b: a - b, "__mul__": lambda a, b: a * b,
                "__truediv__": lambda a, b: a / b, "__pow__": lambda a, b: a**b}[op]  # fmt: skip
    array = np.asarray(left, "f") if isinstance(left, list) else left
    for y, expected in (
        (function(left, t), function(array, t.data)),
        (function(t, left), function(t.data, array)),
    ):
        assert type(y) is tg.Tensor and y.requires_grad
        np.testing.assert_array_equal(y.data, expected)
        assert y.dtype == expected.dtype
        assert tg.grad(y.sum(), t).dtype == t.dtype


def test_matmul_and_comparison_with_an_array_on_the_left(t):
    a = np.eye(2, dtype="f")
    assert type(a @ t) is tg.Tensor and (a @ t).requires_grad
    assert type(a < t) is tg.Tensor and (a < t).dtype == bool
    a += 1
    assert type(a == t) is tg.Tensor


def test_what_would_lose_the_gradient_is_refused(t):
    a = np.ones((2, 2), "f")
    with pytest.raises(TypeError, match="Tensor"):
        a += t
    with pytest.raises(TypeError, match="Tensor"):
        np.exp(t)
    assert (a == 1).all()


def test_from_numpy_shares_memory_both_ways():
    a = np.zeros(3)
    t = tg.from_numpy(a)
    a[0] = 1.0
    t[1] = 2.0
    assert t.tolist() == [1.0, 2.0, 0.0] == a.tolist()
    assert np.shares_memory(tg.from_numpy(a[::-1]).data, a)


def test_dlpack_shares_memory_both_ways(t):
    a = np.from_dlpack(t)
    assert np.shares_memory(a, t.data)
    b = np.arange(3.0)
    s = tg.from_dlpack(b)
    s[0] = 9.0
    assert b[0] == 9.0
    assert t.__dlpack_device__() == (1, 0)


def test_dlpack_with_pytorch():
    torch = pytest.importorskip("torch")
    a = torch.zeros(3)
    t = tg.from_dlpack(a)
    t[0] = 5.0
    assert a[0] == 5.0
    b = torch.from_dlpack(t)
    b[1] = 6.0
    assert t.tolist() == [5.0, 6.0, 0.0]


@pytest.mark.parametrize("requires_grad", [True, False])
def test_a_leaf_is_pickled_with_its_name(requires_grad):
    t = tg.tensor(np.array([1.0, 2.0], "float64"), requires_grad=requires_grad)
    t.name = "w"
    u = pickle.loads(pickle.dumps(t))
    assert (u.tolist(), u.dtype, u.requires_grad, u.name) == ([1.0, 2.0], t.dtype, requires_grad, "w")
    assert not np.shares_memory(u.data, t.data)


def test_a_deep_copy_is_a_leaf_of_its_own(t):
    (t * t).sum().backward()
    t.register_hook(lambda g: g * 100)
    twice = copy.deepcopy({"a": t, "b": [t]})
    u = twice["a"]
    assert u is twice["b"][0] and u.is_leaf and u.requires_grad
    np.testing.assert_array_equal(u.grad.data, t.grad.data)
    assert not np.shares_memory(u.data, t.data) and not np.shares_memory(u.grad.data, t.grad.data)
    u.grad = None
    u.sum().backward()
    assert (u.grad.data == 1).all()


def test_a_deep_copy_of_a_module_trains_by_itself():
    layer = tg.nn.Linear(2, 1)
    twin = copy.deepcopy(layer)
    twin(tg.ones(1, 2)).sum().backward()
    assert layer.weight.grad is None and twin.weight.grad is not None
    assert type(twin.weight) is type(layer.weight)


def test_python_protocols(t):
    assert [row.tolist() for row in t] == [[1.0, 2.0], [3.0, 4.0]]
    assert len(t) == 2 and float(t[0, 0]) == 1.0 and int(t[1, 1]) == 4
    assert "abc"[tg.tensor(1)] == "b"
    assert len({t, t}) == 1
    assert repr(tg.tensor([0.5], dtype="float64")) == "tensor([0.5], dtype=float64)"
