"""The sweep, `.grad`, hooks, modes, in-place writes, anomalies."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.autodiff import _stretched, sweep
from tinygrad_rnn.scope import here


@pytest.fixture
def x():
    return tg.tensor([1.0, 2.0, 3.0], requires_grad=True)


# -- .grad ---------------------------------------------------------------------------------------------


def test_gradients_add_up_over_backwards_until_they_are_cleared(x):
    (x * x).sum().backward()
    (x * x).sum().backward()
    assert x.grad.tolist() == [4.0, 8.0, 12.0]
    x.grad = None
    assert x.grad is None


def test_a_gradient_seen_once_is_not_changed_by_the_next_backward(x):
    x.sum().backward()
    seen = x.grad
    x.sum().backward()
    assert seen.tolist() == [1.0, 1.0, 1.0]


def test_grad_touches_no_grad_slot(x):
    w = tg.tensor([2.0, 2.0, 2.0], requires_grad=True)
    assert tg.grad((x * w).sum(), x).tolist() == [2.0, 2.0, 2.0]
    assert x.grad is None and w.grad is None


@pytest.mark.parametrize("create_graph", [False, True])
def test_no_gradient_shares_memory_with_anything_else(create_graph):
    a, b, c = (tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(3))
    y = a + b + c.reshape(2)
    z = y + 0.0
    y.retain_grad()
    z.retain_grad()
    seed = tg.tensor([1.0, 1.0])
    z.backward(seed, create_graph=create_graph)
    arrays = [t.grad.data for t in (a, b, c, y, z)] + [seed.data]
    for i, p in enumerate(arrays):
        assert not any(np.shares_memory(p, q) for q in arrays[i + 1 :])


def test_a_cotangent_of_the_user_is_not_written_to(x):
    seed = np.ones(3, "f")
    y = x * 1.0
    (y + y).backward(seed)
    y = x
    (y + y + y).backward(seed)
    assert (seed == 1).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_gradient_has_its_leafs_dtype_and_shape(dtype):
    w = tg.tensor(np.ones((1, 3)), dtype=dtype, requires_grad=True)
    other = tg.tensor(np.ones((4, 2, 3)), requires_grad=True)
    (w * other).sum().backward()
    assert (w.grad.dtype, w.grad.shape) == (np.dtype(dtype), (1, 3))
    assert (w.grad.data == 8).all()
    assert other.grad.dtype == np.float64


def test_integers_carry_no_gradient(x):
    y = x.astype("int64")
    assert not y.requires_grad
    assert not (x > 1).requires_grad and not x.argmax().requires_grad


def test_zero_d_gradients_are_arrays():
    x = tg.tensor(2.0, requires_grad=True)
    for _ in range(2):
        (x * x).backward()
    assert type(x.grad.data) is np.ndarray and x.grad.item() == 8.0


def test_one_value_used_often_gets_the_sum(x):
    y = x * 2
    (y * y + y + ops.tanh(y) * 0 + y).sum().backward()
    np.testing.assert_allclose(x.grad.data, 8 * x.data + 4)


def test_an_exponential_number_of_paths_is_swept_once_per_node(x):
    y = x
    for _ in range(60):
        y = y + y
    y.sum().backward()
    assert (x.grad.data == 2.0**60).all()


def test_a_half_used_split_gets_zeros_for_the_other_half():
    x = tg.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    first, _ = ops.split(x, 2)
    (first * first).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0, 0.0, 0.0]


def test_several_outputs_are_added_up(x):
    y, z = (x * x).sum(), x.sum()
    assert tg.grad([y, z, y], x, [1.0, 2.0, 3.0]).tolist() == [10.0, 18.0, 26.0]


def test_grad_by_an_intermediate_value_and_by_the_output_itself(x):
    m = x * 3
    y = (m * m).sum()
    gm, gx, gy = tg.grad(y, [m, x, y])
    assert (gm.tolist(), gx.tolist(), gy.item()) == ([6.0, 12.0, 18.0], [18.0, 36.0, 54.0], 1.0)


def test_allow_unused_gives_none(x):
    other = tg.tensor(1.0, requires_grad=True)
    gx, none = tg.grad(x.sum(), [x, other], allow_unused=True)
    assert none is None and gx.tolist() == [1.0, 1.0, 1.0]


@given(st.lists(st.sampled_from([1, 2, 3]), max_size=4), st.data())
def test_unbroadcasting_undoes_broadcasting(shape, data):
    small = tuple(1 if data.draw(st.booleans()) else n for n in shape)[
        data.draw(st.integers(0, len(shape))) :
    ]
    w = tg.tensor(np.ones(small), requires_grad=True)
    y = w + np.zeros(tuple(shape))
    g = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(g)
    assert w.grad.shape == small
    np.testing.assert_allclose(w.grad.data.sum(), g.sum(), atol=1e-12)
    one = np.zeros(small)
    if one.size:
        one.flat[0] = 1
        np.testing.assert_allclose(
            w.grad.data.flat[0], (g * (one + np.zeros(tuple(shape)))).sum(), atol=1e-12
        )


def test_a_rule_may_give_less_than_the_inputs_shape():
    assert _stretched((3,), (2, 3)) == ((), (1, 3))
    assert _stretched((2, 1), (4, 1, 3)) == ((0,), (1, 1, 1))


# -- the tape ------------------------------------------------------------------------------------------


def test_retain_graph_allows_another_backward_and_create_graph_implies_it(x):
    y = (x * x).sum()
    y.backward(retain_graph=True)
    tg.grad(y, x, create_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0, 12.0]
    with pytest.raises(tg.FreedTapeError):
        y.backward()


def test_an_error_before_the_sweep_leaves_the_other_half_of_the_tape_alone(x):
    shared = x * x
    tg.grad(shared.sum(), x)
    upper = ops.tanh(shared)
    with pytest.raises(tg.FreedTapeError, match=r"multiply .*retain_graph=True"):
        upper.sum().backward()
    assert upper.node.saved is not None and x.grad is None


def test_third_order(x):
    y = (x**4).sum()
    for expected in (4 * x.data**3, 12 * x.data**2, 24 * x.data):
        y = tg.grad(y, x, create_graph=True)
        np.testing.assert_allclose(y.data, expected, rtol=1e-6)
        y = y.sum()


def test_second_order_through_several_outputs_whose_rule_uses_them():
    """Two nodes may stand for one output of a Bundle: their cotangents add, neither replaces the other."""

    @tg.primitive
    def sincos(xp, x, /):
        return xp.sin(x), xp.cos(x)

    sincos.vjp(x=lambda g, y: g[0] * y[1] - g[1] * y[0])
    x = tg.tensor(np.array([0.3, 0.7]), requires_grad=True)

    def first_and_second(s, c):
        g = tg.grad((s * s * c + s).sum(), x, create_graph=True)
        return g.data, tg.grad((g * g * s).sum(), x).data

    ours, theirs = first_and_second(*sincos(x)), first_and_second(ops.sin(x), ops.cos(x))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_backward_nodes_stand_where_their_forward_stood(x):
    with tg.at(time=3, layer=1, direction="reverse"):
        y = ops.tanh(x)
    with tg.at(time=9):
        g = tg.grad(y.sum(), x, create_graph=True)
    assert (g.node.scope.time, g.node.scope.layer, g.node.scope.backward) == (3, 1, True)
    assert here.scope.time is None


def test_watch_sees_every_node_in_the_order_of_bptt_and_what_it_sends(x):
    y = (ops.tanh(x) * x).sum()
    seen = []
    sweep({y.node: np.ones((), "f")}, np, keep=True, watch=lambda n, g, sent: seen.append((n, g, list(sent))))
    assert [n.plan and n.plan.name for n, *_ in seen] == ["sum", "multiply", "tanh", None]
    total = seen[-1][1]
    np.testing.assert_allclose(total, seen[1][2][1] + seen[2][2][0])


# -- hooks ---------------------------------------------------------------------------------------------


def test_a_hook_sees_the_whole_gradient_and_may_replace_it(x):
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    (y + y).sum().backward()
    assert seen == [[2.0, 2.0, 2.0]]
    assert x.grad.tolist() == [40.0, 40.0, 40.0]


def test_a_hook_can_be_removed_even_twice_and_by_itself(x):
    handle = x.register_hook(lambda g: g * 5)
    other = x.register_hook(lambda g: other.remove())
    x.sum().backward()
    handle.remove()
    handle.remove()
    x.sum().backward()
    assert x.grad.tolist() == [6.0, 6.0, 6.0]
    assert not x.node.hooks


def test_a_hook_that_keeps_the_gradient_shares_no_memory_with_it(x):
    kept = []
    x.register_hook(kept.append)
    (x + x).sum().backward()
    kept[0].data[:] = 99
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_hooks_run_on_the_tape_with_create_graph(x):
    y = x * x
    handle = y.register_hook(lambda g: g * y)
    g = tg.grad(y.sum(), x, create_graph=True)  # 2x · x²
    handle.remove()
    np.testing.assert_allclose(tg.grad(g.sum(), x).data, 6 * x.data**2)


def test_retain_grad_keeps_an_intermediate_gradient(x):
    y = x * 2
    assert not y.is_leaf and y.grad is None
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [4.0, 8.0, 12.0]


# -- modes ---------------------------------------------------------------------------------------------


def test_modes_nest_and_are_undone_by_an_error(x):
    with tg.no_grad():
        assert not tg.is_grad_enabled() and not (x * 2).requires_grad
        with tg.enable_grad():
            assert (x * 2).requires_grad
        with pytest.raises(KeyError), tg.enable_grad():
            raise KeyError
        assert not tg.is_grad_enabled()
    assert tg.is_grad_enabled()


@pytest.mark.parametrize("decorator", [tg.no_grad, tg.no_grad()])
def test_modes_decorate_with_and_without_parentheses(decorator, x):
    @decorator
    def double(t):
        """Twice t."""
        return t * 2

    assert not double(x).requires_grad and double.__doc__ == "Twice t."
    assert (x * 2).requires_grad


def test_one_decorated_function_in_two_threads():
    inside, leave = threading.Barrier(2, timeout=10), threading.Barrier(2, timeout=10)
    after = []

    @tg.no_grad
    def wait():
        inside.wait()
        leave.wait()

    def run():
        wait()
        after.append(tg.is_grad_enabled())

    def run_in_no_grad():
        with tg.no_grad():
            wait()
            after.append(not tg.is_grad_enabled())

    threads = [threading.Thread(target=run), threading.Thread(target=run_in_no_grad)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert after == [True, True]


def test_modes_are_per_thread(x):
    found = []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: found.append(tg.is_grad_enabled()))
        thread.start()
        thread.join()
    assert found == [True]


def test_a_gradient_is_recorded_under_no_grad_if_asked_for(x):
    y = (x * x).sum()
    with tg.no_grad():
        g = tg.grad(y, x, create_graph=True)
    assert g.requires_grad


# -- in-place writes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [
    lambda t: t.__setitem__(0, 7.0),
    lambda t: t.copy_(7.0),
    lambda t: t.__iadd__(1.0),
    lambda t: t.__imul__(2.0),
])  # fmt: skip
@pytest.mark.parametrize("order", [1, 2])
def test_a_write_to_an_array_that_a_rule_needs_is_caught(x, write, order):
    c = tg.tensor([1.0, 1.0, 1.0])
    y = (x * c).sum()
    with tg.no_grad():
        write(c)
    with pytest.raises(tg.InPlaceError, match=r"multiply .*\(3,\)"):
        tg.grad(y, x, create_graph=order == 2)
    assert x.grad is None


def test_a_write_through_a_view_is_caught(x):
    c = tg.tensor(np.ones((2, 3), "f"))
    y = (x * c[0]).sum()
    c[1][:] = 5.0
    with pytest.raises(tg.InPlaceError):
        y.backward()


def test_a_write_to_the_output_that_a_rule_needs_is_caught(x):
    y = ops.exp(x)
    loss = y.sum()
    with tg.no_grad():
        y += 1
    with pytest.raises(tg.InPlaceError, match="exp"):
        loss.backward()


def test_a_write_that_no_rule_cares_for_passes(x):
    c = tg.tensor([1.0, 1.0, 1.0])
    y = (x + c).sum()
    c[0] = 9.0
    d = tg.tensor([1.0, 1.0, 1.0])
    d[0] = 2.0
    (y + (x * d).sum()).backward()
    assert x.grad.tolist() == [3.0, 2.0, 2.0]


def test_an_optimiser_step_between_forward_and_backward_is_caught():
    w = tg.tensor([1.0], requires_grad=True)
    y = (w * w).sum()
    z = (w * w).sum()
    y.backward()
    optimiser = tg.optim.SGD([w], lr=0.1)
    optimiser.step()
    with pytest.raises(tg.InPlaceError):
        z.backward()


def test_augmented_assignment_is_in_place_outside_the_tape_and_a_new_value_on_it(x):
    c = tg.tensor([1.0, 1.0, 1.0])
    data = c.data
    c += 1
    c *= 2
    c -= 1
    c /= 3
    assert c.data is data and c.tolist() == [1.0, 1.0, 1.0]
    h = before = x * 1
    h += c
    h *= x
    assert h is not before and before.tolist() == [1.0, 2.0, 3.0]
    assert tg.grad(h.sum(), x).tolist() == [3.0, 5.0, 7.0]
    p = x
    with tg.no_grad():
        p -= 1.0
    assert p is x and x.tolist() == [0.0, 1.0, 2.0]


def test_a_dead_arrays_write_is_forgotten():
    from tinygrad_rnn import namespaces

    c = tg.tensor([1.0])
    c[0] = 2.0
    written = len(namespaces._written)
    del c
    assert len(namespaces._written) == written - 1


# -- anomalies -----------------------------------------------------------------------------------------


@pytest.fixture
def quiet():
    with np.errstate(all="ignore"), warnings.catch_warnings():
        yield


def test_an_anomaly_names_operation_place_and_line(quiet):
    x = tg.tensor([-1.0], requires_grad=True)
    with (
        pytest.raises(tg.AnomalyError) as caught,
        tg.detect_anomaly(),
        tg.at(time=4, layer=0, direction="forward"),
    ):
        ops.sqrt(x)
    line = caught.traceback[0].lineno + 1
    assert (
        f"NaN first appeared in the forward of sqrt (layer 0, forward, t=4), recorded at {__file__}:{line}"
        in str(caught.value)
    )


def test_an_anomaly_in_the_backward_names_the_forward_line(quiet):
    x = tg.tensor([0.0], requires_grad=True)
    with tg.detect_anomaly():
        y = ops.sqrt(x)
        with pytest.raises(
            tg.AnomalyError, match=r"Inf .* backward of sqrt \(top level\), recorded at .*test_autodiff"
        ):
            y.sum().backward()


def test_an_anomaly_in_what_is_not_recorded_is_found_where_it_arose(quiet):
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match=r"NaN .* log"):
        ops.log(tg.tensor([-1.0])) * tg.tensor([1.0], requires_grad=True)


def test_anomaly_detection_respects_and_outlives_no_grad(quiet):
    x = tg.tensor([-1.0], requires_grad=True)
    with tg.no_grad(), tg.detect_anomaly():
        assert not (x * 2).requires_grad
        with tg.enable_grad(), pytest.raises(tg.AnomalyError):
            ops.log(x)
    with tg.detect_anomaly():
        (x * 2).sum().backward()
    assert not ops.log(x).isfinite().all()


def test_two_outputs_are_watched(quiet):
    x = tg.tensor([1.0, np.inf], requires_grad=True)
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match=r"Inf .* split"):
        ops.split(x, 2)
