"""Operations and rules: what is saved, which rules run, in which types."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.namespaces import to_numpy
from tinygrad_rnn.recorder import SETTLED
from tinygrad_rnn.symbols import symbol, symbolic
from tinygrad_rnn.tape import Node, note

pytestmark = pytest.mark.usefixtures("device")


@pytest.fixture
def fused():
    """a·b + c with a parameter; every rule counts its calls."""
    calls = []

    @tg.primitive
    def fused(xp, a, b, c=None, /, scale=1.0, *, shift=0.0):
        """scale·a·b + c + shift."""
        return scale * a * b + (0 if c is None else c) + shift

    def rule(name, f):
        def run(*args):
            calls.append(name)
            return f(*args)

        run.__signature__ = inspect.signature(f)
        return run

    fused.vjp(
        a=rule("a", lambda g, b, scale: scale * g * b),
        b=rule("b", lambda g, a, scale: scale * g * a),
        c=rule("c", lambda g: g),
    )
    fused.calls = calls
    return fused


def t(*values, grad=True):
    return tg.tensor(np.array(values, "f"), requires_grad=grad)


def test_a_rule_runs_only_for_an_input_that_asks(fused):
    a, b = t(1, 2), t(3, 4, grad=False)
    fused(a, b).sum().backward()
    assert fused.calls == ["a"] and a.grad.tolist() == [3.0, 4.0]
    (fused(b, a, a)).sum().backward()
    assert fused.calls == ["a", "b", "c"]


def test_only_what_the_running_rules_ask_for_is_saved(fused, xp):
    a, b, const = t(1, 2), t(3, 4), t(5, 6, grad=False)
    held = lambda y: [v for v in y.node.saved if isinstance(v, xp.ndarray)]
    assert [v is const.data for v in held(fused(a, const))] == [True]
    assert held(fused(const, const, a)) == []
    assert len(held(fused(a, b))) == 2


def test_parameters_come_by_position_or_keyword_with_defaults(fused):
    a, b = t(1, 2), t(3, 4)
    for y in (fused(a, b, None, 2.0, shift=1.0), fused(a, b, scale=2.0, shift=1.0)):
        assert y.tolist() == [7.0, 17.0]
        assert tg.grad(y.sum(), a).tolist() == [6.0, 8.0]
    with pytest.raises(TypeError):
        fused(a, b, None, 2.0, 1.0)


@pytest.mark.parametrize(
    "left", ["tensor", "constant", "array", 2, 2.5, True, np.float32(2), [2.0, 2.0], None]
)
@pytest.mark.parametrize("right", ["tensor", "constant", "array", 2, 2.5, np.float64(2)])
def test_every_kind_of_operand_gives_what_numpy_gives(left, right, xp):
    make = {"tensor": t(1, 2), "constant": t(1, 2, grad=False), "array": xp.asarray([1, 2], "f")}
    a, b = (
        make.get(left, left) if isinstance(left, str) else left,
        make.get(right, right) if isinstance(right, str) else right,
    )
    if left is None:
        with pytest.raises(TypeError, match="multiply"):
            ops.multiply(a, b)
        return
    y = ops.multiply(a, b)
    host = {tg.Tensor: tg.Tensor.numpy, xp.ndarray: to_numpy, list: lambda v: np.asarray(v, "f")}
    raw = lambda v: host.get(type(v), lambda v: v)(v)
    numbers = (bool, int, float)
    expected = np.multiply(raw(a), raw(b))
    if isinstance(a, numbers) and isinstance(b, numbers):
        return
    assert y.dtype == expected.dtype and y.requires_grad == ("tensor" in (left, right))
    np.testing.assert_array_equal(y.numpy(), expected)


def test_a_python_scalar_never_widens():
    for dtype in ("float16", "float32", "float64"):
        x = tg.tensor([1.0], dtype=dtype, requires_grad=True)
        for y in (x + 1, 1 - x, 2.5 * x, x / 3, x**2, 2**x, -x):
            assert y.dtype == np.dtype(dtype)
            assert tg.grad(y.sum(), x).dtype == np.dtype(dtype)


def test_a_scalar_result_is_an_array(xp):
    assert type(ops.sum(t(1, 2)).data) is xp.ndarray
    assert type(ops.tanh(tg.tensor(1.0)).data) is xp.ndarray
    assert type(ops.tanh(1.0).data) is xp.ndarray


def test_a_rule_of_the_wrong_shape_is_named():
    @tg.primitive
    def broken(xp, x, /):
        return x * 1

    broken.vjp(x=lambda g, xp: xp.zeros(5))
    x = t(1, 2)
    with pytest.raises(ValueError, match=r"rule of broken .*\(2,\).*\(5,\)"):
        broken(x).sum().backward()
    assert x.grad is None


def test_an_error_inside_keeps_its_kind_and_its_cause():
    with pytest.raises(np.exceptions.AxisError) as caught:
        ops.sum(t(1), axis=3)
    assert isinstance(caught.value.__cause__, np.exceptions.AxisError)
    with pytest.raises(ZeroDivisionError):

        @tg.primitive
        def divides(xp, x, /):
            return 1 // 0

        divides(t(1))


def test_shape_dtype_and_device_are_asked_for_without_the_array(xp):
    @tg.primitive
    def total(xp, x, /):
        return xp.sum(x)

    asked = []

    def rule(g, xp, x_shape, x_dtype, x_device):
        asked.append((x_shape, x_dtype, x_device))
        return xp.broadcast_to(g, x_shape)

    total.vjp(x=rule)
    y = total(t(1, 2))
    assert not any(isinstance(v, xp.ndarray) for v in y.node.saved)
    y.backward()
    assert asked == [((2,), np.dtype("float32"), y.device)]


def test_several_outputs_and_starred_inputs():
    @tg.primitive
    def both(xp, *xs, scale=1.0):
        return tuple(scale * x for x in xs)

    both.vjp(xs=lambda g, scale: [scale * part for part in g])
    a, b = t(1, 2), t(3, grad=False)
    y, z = both(a, b, scale=3.0)
    assert (y.tolist(), z.tolist()) == ([3.0, 6.0], [9.0])
    assert tg.grad(y.sum(), a).tolist() == [3.0, 3.0]


def test_a_compiled_recorder_fills_a_node_as_note_does(fused):
    y = fused(t(1, 2), t(3, 4), scale=2.0)
    plan, parents, saved = y.node.plan, y.node.parents, y.node.saved
    noted = note(plan, parents, saved, y.shape, y.dtype)
    for name in set(Node.__slots__) - {"__weakref__", "order"}:
        assert getattr(noted, name) == getattr(y.node, name), name
    assert y.node.order < noted.order


def test_operand_classes_are_settled_once_for_numpy_only():
    ops.where(t(1) > 0, t(1), 2)
    assert SETTLED[np.ndarray, np.ndarray, int] is np
    assert all(library is np for library in SETTLED.values())


def test_formulas_are_printed_from_the_operation_itself(fused):
    assert ops.tanh.primitive.formula() == "tanh(x)"
    assert ops.tanh.primitive.rule_formulas() == {"x": "g·(1 - y²)"}
    assert fused.primitive.formula(scale=2.0) == "2·a·b + c + 0"
    assert str(ops.tanh(symbol("z")) + ops.sum(symbol("z"), axis=1)) == "tanh(z) + sum(z, axis=1)"
    assert str(symbolic.tanh(symbol("z"))) == str(ops.tanh(symbol("z")))


def test_new_rules_replace_the_old_ones():
    @tg.primitive
    def f(xp, x, /):
        return x * 1

    x = t(1)
    assert not f(x).requires_grad
    f.vjp(x=lambda g: 2 * g)
    assert tg.grad(f(x).sum(), x).tolist() == [2.0]
    f.vjp(x=lambda g, x, y: 3 * g * x / y)  # which asks for more to be saved
    for _ in range(2):  # the first call makes the plan
        assert tg.grad(f(x).sum(), x).tolist() == [3.0]


def test_names_of_the_recorders_own_are_free_for_users():
    @tg.primitive
    def shifted(xp, node, make=None, /, plan=1.0, *, mode=2.0, here=3.0, record=0.0, np=0.0, mask=0.0):
        return node * plan + mode + here + record + np + mask + (0 if make is None else make)

    shifted.vjp(node=lambda g, plan: g * plan, make=lambda g, mode: g * mode)
    x, z = t(1, 2), t(3, 4)
    y = shifted(x, z, 5.0, mode=7.0)
    assert y.tolist() == [18.0, 24.0]
    dx, dz = tg.grad(y.sum(), [x, z])
    assert dx.tolist() == [5.0, 5.0] and dz.tolist() == [7.0, 7.0]
    assert shifted(x, plan=2.0).tolist() == [7.0, 9.0]


@pytest.mark.parametrize("names", ["xp, g, /", "xp, x, /, y", "xp, _x, /", "xp, x, /, *, _node=1", "xp, *y"])
def test_names_of_rules_and_recorders_are_refused(names):
    made = {}
    exec(f"def f({names}): return 1", made)
    with pytest.raises(TypeError, match="of f with names of their own"):
        tg.primitive(made["f"])


def test_the_source_of_a_recorder_can_be_read():
    assert "def recorder(x):" in inspect.getsource(ops.tanh) and ops.tanh.__name__ == "tanh"
    assert ops.tanh.__doc__ == "Hyperbolic tangent."
