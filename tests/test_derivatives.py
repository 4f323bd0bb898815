"""Products with Jacobians and Hessians, against closed forms, PyTorch's definitions and each other."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops

pytestmark = pytest.mark.usefixtures("device")


@pytest.fixture
def x(rng):
    return tg.tensor(rng.standard_normal(3))


@pytest.fixture
def A(rng):
    return tg.tensor(rng.standard_normal((4, 3)))


def differences(f, x, v, h=1e-6):
    """(f(x + hv) - f(x - hv)) / 2h."""
    return ((f(x + h * v) - f(x - h * v)) / (2 * h)).numpy()


def test_value_and_grad_leaves_the_arguments_alone(x):
    w = tg.tensor(x.numpy(), requires_grad=True)
    value, g = tg.value_and_grad(lambda w: (w * w).sum())(w)
    assert w.grad is None and not value.requires_grad and not g.requires_grad
    np.testing.assert_allclose(g.numpy(), 2 * x.numpy())


def test_value_and_grad_by_several_arguments_with_extra_results(x):
    f = tg.value_and_grad(lambda a, b, scale: ((a * b).sum() * scale, "kept"), argnums=(0, -2))
    (value, kept), (ga, gb) = f(x, x * 2, 3.0)
    np.testing.assert_allclose(value.item(), (6 * x.numpy()**2).sum())
    np.testing.assert_allclose((ga.numpy(), gb.numpy()), (6 * x.numpy(), 3 * x.numpy()))
    assert kept == "kept"


def test_vjp_pulls_back_many_times_through_several_inputs_and_outputs(x, A):
    (y, s), pullback = tg.vjp(lambda A, x: (A @ x, (x * x).sum()), A, x)
    for u, r in ((np.ones(4), 0.0), (np.arange(4.0), 2.0)):
        gA, gx = pullback(tg.tensor(u), r)
        np.testing.assert_allclose(gA.numpy(), np.outer(u, x.numpy()))
        np.testing.assert_allclose(gx.numpy(), A.numpy().T @ u + 2 * r * x.numpy())
    np.testing.assert_allclose(y.numpy(), A.numpy() @ x.numpy())
    assert not s.requires_grad


@pytest.mark.parametrize("f", [
    ops.tanh, ops.exp, lambda x: x * x.sum(), lambda x: ops.softmax(x) * x,
    lambda x: ops.concatenate(ops.split(x, [1])),
    lambda x: x[np.array([0, 0, 2])] * x, lambda x: (x.reshape(3, 1) @ x.reshape(1, 3)).sum(axis=0),
])  # fmt: skip
def test_jvp_is_the_directional_derivative(f, x, rng):
    v = tg.tensor(rng.standard_normal(3))
    value, tangent = tg.jvp(f, x, v)
    np.testing.assert_allclose(value.numpy(), f(x).numpy())
    np.testing.assert_allclose(tangent.numpy(), differences(f, x, v), rtol=1e-6, atol=1e-8)


def test_jvp_and_vjp_are_transposes(x, A, rng):
    f = lambda A, x: ops.tanh(A @ x)
    vs = tuple(tg.tensor(rng.standard_normal(t.shape)) for t in (A, x))
    u = tg.tensor(rng.standard_normal(4))
    _, forward = tg.jvp(f, (A, x), vs)
    backward = tg.vjp(f, A, x)[1](u)
    np.testing.assert_allclose(
        (u * forward).sum().item(), sum((g * v).sum().item() for g, v in zip(backward, vs, strict=True))
    )


def test_what_does_not_depend_on_the_input_has_derivative_zero(x):
    _, tangent = tg.jvp(lambda x: (x * 2, tg.ones(2)), x, x)
    assert (tangent[1].numpy() == 0).all() and tangent[1].shape == (2,)
    assert (tg.jacobian(lambda x: tg.ones(2), x).numpy() == 0).all()
    assert (tg.hessian(lambda x: x.sum(), x).numpy() == 0).all()
    assert (tg.hvp(lambda x: (x * 3).sum(), x, x).numpy() == 0).all()


@pytest.mark.parametrize("rows", [2, 7])
def test_a_jacobian_is_the_same_by_rows_and_by_columns(rng, rows, x):
    A = rng.standard_normal((rows, 3))
    J = tg.jacobian(lambda x: ops.sin(tg.tensor(A) @ x), x)
    np.testing.assert_allclose(J.numpy(), np.cos(A @ x.numpy())[:, None] * A)


def test_jacobian_shapes(rng):
    x = tg.tensor(rng.standard_normal((2, 3)))
    assert tg.jacobian(lambda x: x.sum(axis=0), x).shape == (3, 2, 3)
    assert tg.jacobian(lambda x: ops.concatenate([x, x, x]), x).shape == (6, 3, 2, 3)
    assert tg.jacobian(lambda x: x.sum(), x).shape == (2, 3)
    ((a, b), (c, d)) = tg.jacobian(lambda x, y: (x.sum(axis=1), y * 2), (x, tg.tensor(1.0)))
    assert (a.shape, b.shape, c.shape, d.shape) == ((2, 2, 3), (2,), (2, 3), ())
    assert (b.numpy() == 0).all() and d.item() == 2.0


def test_hessian_of_a_quadratic_form(x, rng):
    M = rng.standard_normal((3, 3))
    f = lambda x: x @ tg.tensor(M) @ x
    np.testing.assert_allclose(tg.hessian(f, x).numpy(), M + M.T)
    v = rng.standard_normal(3)
    np.testing.assert_allclose(tg.hvp(f, x, tg.tensor(v)).numpy(), (M + M.T) @ v)


def test_hessian_blocks_of_several_arguments(x):
    f = lambda a, b: (a * a * b).sum()
    ((aa, ab), (ba, bb)) = tg.hessian(f, (x, x * 0.5))
    np.testing.assert_allclose(aa.numpy(), np.diag(x.numpy()))
    np.testing.assert_allclose(ab.numpy(), np.diag(2 * x.numpy()))
    np.testing.assert_allclose(ba.numpy(), ab.numpy().T)
    assert (bb.numpy() == 0).all()
    va, vb = tg.hvp(f, (x, x * 0.5), (x, x))
    np.testing.assert_allclose(va.numpy(), (aa.numpy() + ab.numpy()) @ x.numpy())
    np.testing.assert_allclose(vb.numpy(), ba.numpy() @ x.numpy())


def test_create_graph_lets_a_loss_contain_a_derivative(x, rng):
    """A physics-informed loss: the gradient with respect to the weights of a J v."""
    w = tg.tensor(rng.standard_normal((3, 3)), requires_grad=True)
    f = lambda x: ops.tanh(w @ x)

    def loss(w_data):
        y = np.tanh(w_data @ x.numpy())
        return (((1 - y * y) * (w_data @ x.numpy())) ** 2).sum()

    _, jv = tg.jvp(f, x, x, create_graph=True)
    np.testing.assert_allclose((jv * jv).sum().item(), loss(w.numpy()))
    (g,) = tg.grad((jv * jv).sum(), [w])
    e = np.zeros((3, 3))
    e[1, 2] = 1e-6
    np.testing.assert_allclose(g.numpy()[1, 2], (loss(w.numpy() + e) - loss(w.numpy() - e)) / 2e-6, rtol=1e-5)


def test_derivatives_nest(x):
    third = tg.jacobian(lambda x: tg.hessian(lambda x: (x**4).sum(), x, create_graph=True).sum(axis=0), x)
    np.testing.assert_allclose(third.numpy(), np.diag(24 * x.numpy()))


def test_derivatives_work_under_no_grad(x):
    with tg.no_grad():
        assert tg.value_and_grad(ops.sum)(x)[1].tolist() == [1.0, 1.0, 1.0]
        np.testing.assert_allclose(tg.jvp(ops.square, x, x)[1].numpy(), 2 * x.numpy()**2)
        assert not tg.is_grad_enabled()


def test_as_pytorch_has_them(x, A):
    torch = pytest.importorskip("torch")
    from torch.autograd import functional as F

    B = torch.tensor(A.numpy())
    theirs = lambda x: torch.softmax(torch.tanh(B @ x), 0)
    ours = lambda x: ops.softmax(ops.tanh(A @ x))
    z = torch.tensor(x.numpy())
    np.testing.assert_allclose(tg.jacobian(ours, x).numpy(), F.jacobian(theirs, z).numpy(), atol=1e-12)
    np.testing.assert_allclose(
        tg.hessian(lambda x: ours(x)[0], x).numpy(), F.hessian(lambda x: theirs(x)[0], z).numpy(), atol=1e-12
    )
    np.testing.assert_allclose(tg.jvp(ours, x, x)[1].numpy(), F.jvp(theirs, z, z)[1].numpy(), atol=1e-12)
