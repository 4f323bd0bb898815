"""A wrong call gets one sentence that names what came, at the place of the call, and changes nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import strict
from tinygrad_rnn import namespaces, ops
from tinygrad_rnn.scope import here
from tinygrad_rnn.tape import mode


def world() -> SimpleNamespace:
    """Some tensors, and a recorded value that must still be good for a backward afterwards."""
    s = SimpleNamespace()
    s.w = tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    s.v = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    s.k = tg.tensor([1, 2, 0])
    s.x = tg.tensor([[0.5, 0.25, 0.125]])
    s.y = (s.w * s.v).sum()
    s.m = s.w * 2
    s.freed = (s.v * s.v).sum()
    tg.grad(s.freed, s.v)
    return s


def state(s: SimpleNamespace) -> Any:
    tensors = [s.w, s.v, s.k, s.x, s.y, s.m]
    return (
        [t.data.tobytes() for t in tensors], [str(t.dtype) for t in tensors],
        [t.grad for t in tensors], [t.requires_grad for t in tensors],
        [t.node.hooks if t.node else None for t in tensors],
        [t.node.retains if t.node else None for t in tensors],
        mode.get(), here.scope, tg.get_default_device(), tg.get_default_dtype(),
        dict(namespaces._written), namespaces._seed,
    )  # fmt: skip


def declare(**rules: Any) -> Any:
    @tg.primitive
    def twice(xp, x, /, n=2):
        return n * x

    twice.vjp(**rules)


def bad_primitive(source: str) -> Any:
    names: dict[str, Any] = {}
    exec(source, names)
    return tg.primitive(names["f"])


def hooked(s: Any, returned: Any) -> Any:
    y = (s.w * 3).sum()
    handle = s.w.register_hook(lambda g: returned)
    try:
        y.backward()
    finally:
        handle.remove()
        s.w.node.hooks.clear()


CASES: list[tuple[str, Any, type[Exception], list[str]]] = [
    # shapes and dtypes of operations
    ("add shapes", lambda s: s.w + tg.ones(2), ValueError, ["add", "[2, 3]", "[2]"]),
    ("subtract shapes", lambda s: s.w - tg.ones(4), ValueError, ["subtract", "[2, 3]", "[4]"]),
    ("multiply shapes", lambda s: s.w * tg.ones(2, 2), ValueError, ["multiply", "[2, 3]", "[2, 2]"]),
    ("divide shapes", lambda s: s.w / tg.ones(5), ValueError, ["divide", "[5]"]),
    ("power shapes", lambda s: s.w ** tg.ones(2), ValueError, ["power", "[2]"]),
    ("maximum shapes", lambda s: ops.maximum(s.w, tg.ones(2)), ValueError, ["maximum", "[2]"]),
    ("where shapes", lambda s: ops.where(s.w > 0, s.w, tg.ones(2)), ValueError, ["where", "[2]"]),
    ("matmul shapes", lambda s: s.w @ s.w, ValueError, ["matmul", "[2, 3]"]),
    ("matmul vector", lambda s: s.w @ tg.ones(2), ValueError, ["matmul", "[2]"]),
    ("matmul number", lambda s: s.w @ 2.0, ValueError, ["matmul", "2.0"]),
    ("linear width", lambda s: ops.linear(s.w, tg.ones(4, 2)), ValueError, ["linear", "[4, 2]"]),
    ("linear bias", lambda s: ops.linear(s.w, tg.ones(4, 3), tg.ones(3)), ValueError, ["linear", "[3]"]),
    ("reshape size", lambda s: s.w.reshape(4, 2), ValueError, ["reshape", "[2, 3]"]),
    ("sum axis", lambda s: s.w.sum(axis=2), ValueError, ["sum", "2"]),
    ("mean axis", lambda s: s.w.mean(axis=-3), ValueError, ["mean", "-3"]),
    ("max of nothing", lambda s: tg.zeros(0, requires_grad=True).max(), ValueError, ["max", "[0]"]),
    ("squeeze axis", lambda s: s.w.squeeze(axis=0), ValueError, ["squeeze", "[2, 3]"]),
    ("broadcast", lambda s: s.w.broadcast_to((2, 4)), ValueError, ["broadcast_to", "[2, 3]"]),
    ("swapaxes", lambda s: s.w.swapaxes(0, 5), ValueError, ["swapaxes", "5"]),
    ("transpose axes", lambda s: s.w.transpose(0, 0), ValueError, ["[2, 3]"]),
    ("concatenate", lambda s: ops.concatenate([s.w, tg.ones(2, 2)]), ValueError, ["concatenate", "[2, 2]"]),
    ("stack", lambda s: ops.stack([s.w, s.v]), ValueError, ["stack", "[3]"]),
    ("split", lambda s: ops.split(s.w, 2, axis=1), ValueError, ["split", "2", "3"]),
    ("softmax axis", lambda s: s.w.softmax(axis=4), ValueError, ["softmax", "4"]),
    ("cumsum axis", lambda s: s.w.cumsum(3), ValueError, ["cumsum", "3"]),
    ("flip axis", lambda s: s.w.flip(3), ValueError, ["flip", "3"]),
    ("index range", lambda s: s.w[5], IndexError, ["5", "[2, 3]"]),
    ("index too many", lambda s: s.w[0, 0, 0], IndexError, ["[2, 3]", "3"]),
    ("index float", lambda s: s.w[0.5], IndexError, ["[2, 3]"]),
    ("index mask", lambda s: s.w[tg.tensor([True, False, True])], IndexError, ["[2, 3]", "3"]),
    ("take range", lambda s: ops.take(s.w, tg.tensor([7]), axis=0), IndexError, ["take", "7"]),
    ("dropout p", lambda s: ops.dropout(s.w, 1.5), ValueError, ["1.5"]),
    ("operand string", lambda s: s.w + "a", TypeError, ["str"]),
    ("operand object", lambda s: s.w * object(), TypeError, ["object"]),
    ("operand None", lambda s: s.w + None, TypeError, ["add", "None"]),
    ("operand complex", lambda s: s.w * 1j, TypeError, ["complex"]),
    ("list of tensors", lambda s: ops.add(s.v, [s.v, s.v]), TypeError, ["list", "require grad"]),
    ("nothing at all", lambda s: ops.tanh(None), TypeError, ["tanh"]),
    ("no argument", lambda s: ops.tanh(), TypeError, ["tanh", "x"]),
    ("unknown keyword", lambda s: ops.tanh(s.w, axis=0), TypeError, ["tanh", "axis"]),
    # where the gradient comes from
    ("backward of vector", lambda s: s.m.backward(), ValueError, ["scalar", "(2, 3)"]),
    ("backward of constant", lambda s: s.x.sum().backward(), ValueError, ["requires grad"]),
    ("gradient shape", lambda s: s.m.backward(tg.ones(3)), ValueError, ["(2, 3)", "(3,)"]),
    ("gradient shape, array", lambda s: s.m.backward(np.ones((3, 2))), ValueError, ["(2, 3)", "(3, 2)"]),
    ("gradient dtype", lambda s: s.m.backward(tg.ones(2, 3, dtype="int64")), TypeError, ["float32", "int64"]),
    ("gradient string", lambda s: s.m.backward("one"), TypeError, ["str"]),
    ("backward twice", lambda s: s.freed.backward(), tg.FreedTapeError, ["freed", "retain_graph"]),
    ("through a freed tape", lambda s: (s.freed * s.y).backward(), tg.FreedTapeError, ["retain_graph"]),
    ("grad of freed", lambda s: tg.grad(s.freed, s.v), tg.FreedTapeError, ["sum"]),
    ("grad of vector", lambda s: tg.grad(s.m, s.w), ValueError, ["scalar", "(2, 3)"]),
    ("grad of array", lambda s: tg.grad(np.ones(2), s.w), TypeError, ["ndarray"]),
    ("grad of list of arrays", lambda s: tg.grad([np.ones(2)], s.w), TypeError, ["ndarray"]),
    ("grad by array", lambda s: tg.grad(s.y, np.ones(2)), TypeError, ["ndarray"]),
    ("grad by name", lambda s: tg.grad(s.y, ["w"]), TypeError, ["str"]),
    ("grad by constant", lambda s: tg.grad(s.y, s.x), ValueError, ["input 0"]),
    ("grad by second constant", lambda s: tg.grad(s.y, [s.w, s.x]), ValueError, ["input 1"]),
    ("grad of nothing", lambda s: tg.grad([], s.w), ValueError, ["0"]),
    ("grad by nothing", lambda s: tg.grad(s.y, []), ValueError, ["0"]),
    ("grad unused", lambda s: tg.grad(s.y, s.m), ValueError, ["input 0", "allow_unused"]),
    ("grad cotangents", lambda s: tg.grad([s.y, s.y], s.w, [1.0]), ValueError, ["2", "1"]),
    ("grad cotangent shape", lambda s: tg.grad(s.y, s.w, tg.ones(2)), ValueError, ["()", "(2,)"]),
    ("grad constant output", lambda s: tg.grad(s.x.sum(), s.w), ValueError, ["requires grad"]),
    # a tensor by itself
    ("item", lambda s: s.w.item(), ValueError, ["(2, 3)"]),
    ("float", lambda s: float(s.w), ValueError, ["(2, 3)"]),
    ("int", lambda s: int(s.v), ValueError, ["(3,)"]),
    ("truth", lambda s: bool(s.w > 0), ValueError, ["(2, 3)", "any()"]),
    ("len of scalar", lambda s: len(s.y), TypeError, ["0-d"]),
    ("iterate scalar", lambda s: list(s.y), TypeError, ["0-d"]),
    ("index with float", lambda s: [1, 2][tg.tensor(1.0)], TypeError, ["float32"]),
    ("index with two", lambda s: [1, 2][tg.tensor([0, 1])], TypeError, ["(2,)"]),
    ("requires_grad of ints", lambda s: s.k.requires_grad_(), TypeError, ["int64"]),
    ("requires_grad off", lambda s: s.m.requires_grad_(False), ValueError, ["detach"]),
    ("retain constant", lambda s: s.x.retain_grad(), ValueError, ["requires grad"]),
    ("hook constant", lambda s: s.x.register_hook(print), ValueError, ["requires grad"]),
    ("hook nothing", lambda s: s.w.register_hook(3), TypeError, ["int"]),
    ("hook returns number", lambda s: hooked(s, 1.0), TypeError, ["(2, 3)", "float"]),
    ("hook returns shape", lambda s: hooked(s, tg.ones(3)), TypeError, ["(2, 3)", "(3,)"]),
    ("hook returns dtype", lambda s: hooked(s, s.w.detach().to("float64")), TypeError, ["float64"]),
    ("grad of constant set", lambda s: setattr(s.x, "grad", tg.ones(1, 3)), ValueError, ["requires grad"]),
    ("grad set shape", lambda s: setattr(s.w, "grad", tg.ones(3)), ValueError, ["(2, 3)", "(3,)"]),
    ("grad set dtype", lambda s: setattr(s.w, "grad", s.w.detach().to("float64")), ValueError, ["float64"]),
    ("grad set array", lambda s: setattr(s.w, "grad", np.ones((2, 3))), ValueError, ["ndarray"]),
    ("pickle recorded", lambda s: s.m.__reduce__(), TypeError, ["leaf", "detach"]),
    ("to nonsense", lambda s: s.w.to("nonsense"), TypeError, ["nonsense"]),
    ("to cuda 99", lambda s: s.w.to("cuda:99"), tg.DeviceError, ["cuda"]),
    # in-place writes
    ("write to leaf", lambda s: s.w.__setitem__(0, 1.0), RuntimeError, ["requires grad", "no_grad"]),
    ("write to recorded", lambda s: s.m.__setitem__(0, 1.0), RuntimeError, ["requires grad"]),
    ("write of recorded", lambda s: s.x.__setitem__(0, s.v), RuntimeError, ["a value that requires grad"]),
    ("write shape", lambda s: s.x.__setitem__(0, tg.ones(2)), ValueError, ["(2,)"]),
    ("write range", lambda s: s.x.__setitem__(9, 1.0), IndexError, ["9"]),
    ("copy_ shape", lambda s: s.x.copy_(tg.ones(2)), ValueError, ["(1, 3)", "(2,)"]),
    ("copy_ dtype", lambda s: s.k.copy_(tg.ones(3)), TypeError, ["int64", "float32"]),
    ("copy_ to recorded", lambda s: s.m.copy_(0.0), RuntimeError, ["requires grad"]),
    ("leaf +=", lambda s: s.w.__iadd__(1.0), RuntimeError, ["add=", "leaf"]),
    ("leaf *=", lambda s: s.w.__imul__(1.0), RuntimeError, ["mul=", "leaf"]),
    ("+= shape", lambda s: s.x.__iadd__(np.ones((2, 3), np.float32)), ValueError, ["(2,3)"]),
    ("int += float", lambda s: s.k.__iadd__(0.5), TypeError, ["float64", "int64"]),
    # making tensors
    ("tensor of string", lambda s: tg.tensor("abc"), TypeError, ["str"]),
    ("tensor of dict", lambda s: tg.tensor({}), TypeError, ["dict"]),
    ("tensor of None", lambda s: tg.tensor(None), TypeError, ["None"]),
    ("tensor of complex", lambda s: tg.tensor(1j), TypeError, ["complex"]),
    ("tensor ragged", lambda s: tg.tensor([[1.0], [1.0, 2.0]]), ValueError, ["inhomogeneous"]),
    ("tensor of ints with grad", lambda s: tg.tensor([1], requires_grad=True), TypeError, ["int64"]),
    ("tensor dtype", lambda s: tg.tensor(1.0, dtype="float7"), TypeError, ["float7"]),
    ("tensor device", lambda s: tg.tensor(1.0, device="tpu"), tg.DeviceError, ["tpu"]),
    ("zeros negative", lambda s: tg.zeros(2, -1), ValueError, ["-1"]),
    ("ones of float", lambda s: tg.ones(2.5), ValueError, ["2.5"]),
    ("zeros with int grad", lambda s: tg.zeros(2, dtype="int64", requires_grad=True), TypeError, ["int64"]),
    ("rand shape", lambda s: tg.rand(-3), ValueError, ["-3"]),
    ("from_numpy of list", lambda s: tg.from_numpy([1.0]), TypeError, ["list"]),
    ("from_dlpack of list", lambda s: tg.from_dlpack([1.0]), TypeError, ["list"]),
    ("default dtype", lambda s: tg.set_default_dtype("int32"), TypeError, ["int32"]),
    ("default device", lambda s: tg.set_default_device("gpu"), tg.DeviceError, ["gpu"]),
    ("device number", lambda s: tg.zeros(1, device="cuda:x"), tg.DeviceError, ["cuda:x"]),
    ("device type", lambda s: tg.zeros(1, device=3), tg.DeviceError, ["3"]),
    ("device block", lambda s: tg.device("moon").__enter__(), tg.DeviceError, ["moon"]),
    ("seed", lambda s: tg.manual_seed(-1), TypeError, ["-1"]),
    ("seed float", lambda s: tg.manual_seed(1.5), TypeError, ["1.5"]),
    # scope
    ("at unknown", lambda s: tg.at(row=3), TypeError, ["row"]),
    ("at direction", lambda s: tg.at(direction="up"), ValueError, ["up"]),
    # derivatives
    ("value_and_grad vector", lambda s: tg.value_and_grad(ops.tanh)(s.v), ValueError, ["scalar", "(3,)"]),
    ("value_and_grad argnums", lambda s: tg.value_and_grad(ops.sum, 3)(s.v), ValueError, ["3"]),
    ("value_and_grad ints", lambda s: tg.value_and_grad(ops.sum)(s.k), TypeError, ["int64"]),
    ("value_and_grad number", lambda s: tg.value_and_grad(lambda x: 1.0)(s.v), TypeError, ["float"]),
    ("vjp cotangents", lambda s: tg.vjp(ops.tanh, s.v)[1](tg.ones(3), tg.ones(3)), ValueError, ["1", "2"]),
    ("vjp cotangent shape", lambda s: tg.vjp(ops.tanh, s.v)[1](tg.ones(2)), ValueError, ["(3,)", "(2,)"]),
    ("vjp of nothing", lambda s: tg.vjp(lambda: s.v), ValueError, ["none"]),
    ("jvp tangents", lambda s: tg.jvp(ops.tanh, s.v, (s.v, s.v)), ValueError, ["1", "2"]),
    ("jvp tangent shape", lambda s: tg.jvp(ops.tanh, s.v, tg.ones(2)), ValueError, ["(3,)", "(2,)"]),
    ("jacobian of ints", lambda s: tg.jacobian(ops.tanh, s.k), TypeError, ["int64"]),
    ("hessian of vector", lambda s: tg.hessian(ops.tanh, s.v), ValueError, ["(3,)"]),
    ("hvp vector shape", lambda s: tg.hvp(ops.sum, s.v, tg.ones(2)), ValueError, ["(3,)", "(2,)"]),
    ("checkpoint_sequence empty", lambda s: tg.checkpoint_sequence(None, s.v, []), ValueError, ["none"]),
    ("checkpoint chunk", lambda s: tg.checkpoint_sequence(None, s.v, [1], chunk=0), ValueError, ["0"]),
    # making operations
    ("rule for no input", lambda s: declare(z=lambda g: g), TypeError, ["twice", "'z'"]),
    ("rule asks nonsense", lambda s: declare(x=lambda g, q: g), TypeError, ["twice", "'q'"]),
    ("primitive without xp", lambda s: bad_primitive("def f(x, /): return x"), TypeError, ["xp", "f"]),
    ("primitive without inputs", lambda s: bad_primitive("def f(xp, a): return a"), TypeError, ["slash"]),
]  # fmt: skip


def test_there_are_at_least_a_hundred():
    assert len({name for name, *_ in CASES}) == len(CASES) >= 100


@pytest.mark.parametrize(("call", "error", "named"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_wrong_call_says_what_came_and_changes_nothing(call, error, named):
    s = world()
    before = state(s)
    with pytest.raises(error) as caught:
        call(s)
    said = str(caught.value)
    for word in named:
        assert word in said, f"expected the message to name {word!r}: {said}"
    assert type(caught.value) is not AssertionError and "\n" not in said.strip()
    assert state(s) == before
    s.y.backward()
    np.testing.assert_array_equal(s.w.grad.data, np.broadcast_to(s.v.data, (2, 3)))


@pytest.fixture
def elsewhere():
    with strict.installed():
        yield tg.tensor([1.0, 2.0, 3.0], device="cuda")


@pytest.mark.parametrize("call", [
    lambda t, there: t + there,
    lambda t, there: there * t,
    lambda t, there: t * there.data,
    lambda t, there: ops.where(t > 0, t, there),
    lambda t, there: ops.concatenate([t, there]),
    lambda t, there: t.__setitem__(0, there),
    lambda t, there: t.backward(there),
])  # fmt: skip
def test_two_devices_in_one_operation_are_both_named(elsewhere, call):
    t = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises(tg.DeviceError, match=r"cpu.*cuda:0|cuda:0.*cpu"), tg.no_grad():
        call(t, elsewhere)
