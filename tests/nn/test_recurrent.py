"""Recurrent layers: the traps others fell into, gradients of gradients, and wrong calls."""

from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, ops

KINDS = ("RNN", "LSTM", "GRU")
VARIANTS = [
    ("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("LSTM", {"proj_size": 2}),
    ("LSTM", {"peephole": True}), ("LSTM", {"coupled": True}), ("LSTM", {"layer_norm": True}),
    ("LSTM", {"peephole": True, "coupled": True, "layer_norm": True, "proj_size": 2}),
    ("LSTM", {"peephole": True, "bias": False}), ("GRU", {}), ("GRU", {"reset_after": False}),
    ("GRU", {"reset_after": False, "bias": False}),
]  # fmt: skip


def make(kind, rng, *sizes, **options):
    net = getattr(nn, kind)(*(sizes or (3, 4)), dtype="float64", **options)
    for p in net.parameters():
        p.copy_(rng.standard_normal(p.shape) * 0.7)
    return net


def parts(state):
    return state if isinstance(state, tuple) else (state,)


# -- the definition ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_gradients_are_those_of_finite_differences(kind, options, rng):
    net = make(kind, rng, 2, 3, bidirectional=True, **options)
    x = rng.standard_normal((3, 2, 2))
    weigh = rng.standard_normal((3, 2, 2 * (options.get("proj_size") or 3)))

    def loss():
        output, state = net(tg.tensor(x), lengths=[3, 2])
        return (output * tg.tensor(weigh)).sum() + sum((s * s).sum() for s in parts(state))

    loss().backward()
    for name, p in net.named_parameters():
        direction = rng.standard_normal(p.shape)
        slope, start = float((p.grad.numpy() * direction).sum()), p.numpy().copy()
        ahead, behind = (float(p.copy_(start + e * direction) is p and loss().item()) for e in (1e-5, -1e-5))
        p.copy_(start)
        assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-6, abs=1e-8), name


def test_lstm_variants_are_the_equations_they_cite(rng):
    net = make("LSTM", rng, peephole=True, coupled=True, layer_norm=True)
    x, h, c = rng.standard_normal((1, 2, 3)), rng.standard_normal((1, 2, 4)), rng.standard_normal((1, 2, 4))
    w = {name.removesuffix("_l0"): p.numpy() for name, p in net.named_parameters()}

    def normed(a):
        return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)

    def sigma(a):
        return 1 / (1 + np.exp(-a))

    a = normed(x[0] @ w["weight_ih"].T) * w["gain_ih"] + normed(h[0] @ w["weight_hh"].T) * w["gain_hh"]
    f, g, o = np.split(a + w["bias_ih"] + w["bias_hh"], 3, axis=-1)
    f = sigma(f + w["weight_cf"] * c[0])
    new = f * c[0] + (1 - f) * np.tanh(g)
    out = sigma(o + w["weight_co"] * new) * np.tanh(normed(new) * w["gain_c"] + w["shift_c"])
    output, (_, c_n) = net(tg.tensor(x), (tg.tensor(h), tg.tensor(c)))
    np.testing.assert_allclose(output.numpy()[0], out, rtol=1e-12)
    np.testing.assert_allclose(c_n.numpy()[0], new, rtol=1e-12)


def test_reset_before_the_product_is_cho_2014_and_differs_from_reset_after(rng):
    net = make("GRU", rng, reset_after=False)
    x, h = rng.standard_normal((2, 3)), rng.standard_normal((2, 4))
    w = {name.removesuffix("_l0"): p.numpy() for name, p in net.named_parameters()}
    (wr, wz, wn), (ur, uz, un) = np.split(w["weight_ih"], 3), np.split(w["weight_hh"], 3)
    (br, bz, bn), (cr, cz, cn) = np.split(w["bias_ih"], 3), np.split(w["bias_hh"], 3)
    r = 1 / (1 + np.exp(-(x @ wr.T + br + h @ ur.T + cr)))
    z = 1 / (1 + np.exp(-(x @ wz.T + bz + h @ uz.T + cz)))
    n = np.tanh(x @ wn.T + bn + (r * h) @ un.T + cn)
    output, _ = net(tg.tensor(x[None]), tg.tensor(h[None]))
    np.testing.assert_allclose(output.numpy()[0], (1 - z) * n + z * h, rtol=1e-12)
    other = nn.GRU(3, 4, dtype="float64")
    other.load_state_dict(net.state_dict())
    assert abs(other(tg.tensor(x[None]), tg.tensor(h[None]))[0].numpy() - output.numpy()).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_its_cell_step_by_step(kind, rng):
    net, cell = make(kind, rng), getattr(nn, kind + "Cell")(3, 4, dtype="float64")
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in net.state_dict().items()})
    x = tg.tensor(rng.standard_normal((5, 2, 3)))
    state, steps = None, []
    for t in range(5):
        state = cell(x[t], state)
        steps.append(parts(state)[0].numpy())
    np.testing.assert_allclose(net(x)[0].numpy(), np.stack(steps), rtol=1e-11)


# -- traps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_padded_batch_is_each_sequence_by_itself_whatever_stands_in_the_padding(
    kind, options, batch_first, rng
):
    net = make(kind, rng, num_layers=2, bidirectional=True, batch_first=batch_first, **options)
    lengths = [1, 5, 2, 1, 3]
    x = rng.standard_normal((5, 5, 3))
    for n, length in enumerate(lengths):
        x[length:, n] = np.nan
    given = tg.tensor(x.swapaxes(0, 1).copy() if batch_first else x, requires_grad=True)
    output, state = net(given, lengths=lengths)
    output_rows = output.numpy() if batch_first else output.numpy().swapaxes(0, 1)
    (sum((s * s).sum() for s in parts(state)) + (output * output).sum()).backward()
    together = {name: p.grad.numpy().copy() for name, p in net.named_parameters()}
    dx = given.grad.numpy() if batch_first else given.grad.numpy().swapaxes(0, 1)
    net.zero_grad()
    for n, length in enumerate(lengths):
        alone = tg.tensor(x[:length, n], requires_grad=True)
        out, end = net(alone)
        np.testing.assert_allclose(output_rows[n, :length], out.numpy(), rtol=1e-10)
        assert (output_rows[n, length:] == 0).all() and (dx[n, length:] == 0).all()
        for whole, own in zip(parts(state), parts(end), strict=True):
            np.testing.assert_allclose(whole.numpy()[:, n], own.numpy(), rtol=1e-10)
        (sum((s * s).sum() for s in parts(end)) + (out * out).sum()).backward()
        np.testing.assert_allclose(dx[n, :length], alone.grad.numpy(), rtol=1e-8, atol=1e-12)
    for name, p in net.named_parameters():
        np.testing.assert_allclose(together[name], p.grad.numpy(), rtol=1e-8, atol=1e-12)


def test_the_reverse_direction_reverses_each_sequence_not_the_padding(rng):
    net = make("GRU", rng, bidirectional=True)
    forward = nn.GRU(3, 4, dtype="float64")
    forward.load_state_dict(
        {n.removesuffix("_reverse"): p for n, p in net.state_dict().items() if "reverse" in n}
    )
    x, lengths = rng.standard_normal((4, 3, 3)), [2, 4, 1]
    output, _ = net(tg.tensor(x), lengths=lengths)
    for n, length in enumerate(lengths):
        own, _ = forward(tg.tensor(x[:length, n][::-1].copy()))
        np.testing.assert_allclose(output.numpy()[:length, n, 4:], own.numpy()[::-1], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_state_of_the_reverse_direction_is_its_output_at_the_first_step(kind, rng):
    net = make(kind, rng, num_layers=2, bidirectional=True)
    output, state = net(tg.tensor(rng.standard_normal((5, 2, 3))))
    h_n = parts(state)[0].numpy()
    np.testing.assert_array_equal(h_n[-2], output.numpy()[-1, :, :4])
    np.testing.assert_array_equal(h_n[-1], output.numpy()[0, :, 4:])
    assert not np.array_equal(h_n[-1], output.numpy()[-1, :, 4:])


@pytest.mark.parametrize("kind", KINDS)
def test_any_one_result_may_be_all_that_is_used(kind, rng):
    x = tg.tensor(rng.standard_normal((4, 2, 3)))
    net = make(kind, rng, num_layers=2, bidirectional=True)
    output, state = net(x)
    for use in (output[2, 0, 0], *(s[-1].sum() for s in parts(state))):
        net.zero_grad()
        use.backward(retain_graph=True)
        assert net.weight_ih_l0.grad is not None
    net.zero_grad()
    parts(state)[0][0].sum().backward()
    assert (net.weight_hh_l0.grad.numpy() != 0).any() and (net.weight_hh_l1.grad.numpy() == 0).all()


def test_the_state_of_one_batch_may_start_the_next_and_nothing_grows_once_it_is_cut(rng):
    net = make("LSTM", rng)
    state, sizes = None, []
    gc.collect()
    gc.disable()
    try:
        for _ in range(6):
            output, state = net(tg.tensor(rng.standard_normal((5, 2, 3))), state)
            net.zero_grad()
            output.sum().backward()
            state = tuple(s.detach() for s in state)
            sizes.append(len(gc.get_objects()))
    finally:
        gc.enable()
    assert sizes[-1] - sizes[2] < 100


@pytest.mark.parametrize("kind", KINDS)
def test_double_backward_through_a_layer_is_the_derivative_of_its_gradient(kind, rng):
    net = make(kind, rng, 2, 3, num_layers=2, bidirectional=True)
    x = rng.standard_normal((3, 2, 2))
    v = rng.standard_normal(x.shape)

    def gradient(at):
        given = tg.tensor(at, requires_grad=True)
        loss = (net(given)[0] ** 2).sum()
        return given, tg.grad(loss, given, create_graph=True)

    given, g = gradient(x)
    second = tg.grad((g * tg.tensor(v)).sum(), given).numpy()
    e = 1e-6
    expected = (gradient(x + e * v)[1].numpy() - gradient(x - e * v)[1].numpy()) / (2 * e)
    np.testing.assert_allclose(second, expected, rtol=1e-6, atol=1e-8)


def test_dropout_stands_between_layers_only(rng):
    x = tg.tensor(rng.standard_normal((4, 50, 3)))
    net = make("RNN", rng, num_layers=2, dropout=1.0)
    plain = make("RNN", rng, num_layers=2)
    plain.load_state_dict(net.state_dict())
    zero_input = ops.zeros_like(x[:, :, :1])
    second = nn.RNN(4, 4, dtype="float64")
    second.load_state_dict({n.replace("l1", "l0"): p for n, p in net.state_dict().items() if "l1" in n})
    expected = second(ops.concatenate([zero_input] * 4, axis=-1))[0].numpy()
    np.testing.assert_allclose(net(x)[0].numpy(), expected)
    np.testing.assert_array_equal(net.eval()(x)[0].numpy(), plain(x)[0].numpy())
    last = make("RNN", rng, num_layers=2, dropout=0.9)
    assert (last(x)[0].numpy() != 0).all()


def test_recurrent_dropout_has_one_mask_for_all_steps_and_none_in_evaluation(rng):
    for kind, options in (("RNN", {}), ("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False})):
        net = make(kind, rng, 1, 50, recurrent_dropout=0.5, **options)
        plain = getattr(nn, kind)(1, 50, dtype="float64", **options)
        plain.load_state_dict(net.state_dict())
        x = tg.tensor(rng.standard_normal((3, 1, 1)))
        np.testing.assert_allclose(net.eval()(x)[0].numpy(), plain(x)[0].numpy(), rtol=1e-12)
        output, _ = net.train()(x)
        assert not np.allclose(output.numpy(), plain(x)[0].numpy())
        grads = []
        for t in (1, 2):
            net.zero_grad()
            output[t].sum().backward(retain_graph=True)
            grads.append((net.weight_hh_l0.grad.numpy() == 0).all(axis=0))
        np.testing.assert_array_equal(grads[0], grads[1])
        assert 5 < grads[0].sum() < 45


# -- what is asked for ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "names"), [("LSTM", "ifgoch"), ("GRU", "rznh"), ("RNN", "h")])
def test_gates_are_given_on_request_at_every_step(kind, names, rng):
    net = make(kind, rng, num_layers=2, bidirectional=True, return_gates=True)
    x = tg.tensor(rng.standard_normal((5, 2, 3)))
    output, _, gates = net(x, lengths=[5, 3])
    assert set(gates) == set(names) and {g.shape for g in gates.values()} == {(4, 5, 2, 4)}
    np.testing.assert_array_equal(gates["h"].numpy()[2], output.numpy()[:, :, :4])
    if kind == "LSTM":
        g = {name: value.numpy() for name, value in gates.items()}
        np.testing.assert_allclose(g["h"], g["o"] * np.tanh(g["c"]))
        np.testing.assert_allclose(
            g["c"][0, 1:, 0], (g["f"][0, 1:] * g["c"][0, :-1] + g["i"][0, 1:] * g["g"][0, 1:])[:, 0]
        )
    assert len(net(x, return_gates=False)) == 2


def test_starts_are_those_announced():
    net = nn.LSTM(3, 5, forget_bias=1.0)
    np.testing.assert_array_equal((net.bias_ih_l0 + net.bias_hh_l0).numpy()[5:10], 1)
    assert (abs(net.weight_hh_l0.numpy()) <= 5**-0.5).all()
    coupled = nn.LSTM(3, 5, forget_bias=1.0, coupled=True)
    np.testing.assert_array_equal(coupled.bias_ih_l0.numpy()[:5], 1)
    identity = nn.RNN(3, 5, nonlinearity="relu", init="identity")
    np.testing.assert_array_equal(identity.weight_hh_l0.numpy(), np.eye(5))
    assert (identity.bias_ih_l0.numpy() == 0).all()
    w = nn.RNN(3, 5, init="orthogonal").weight_hh_l0.numpy()
    np.testing.assert_allclose(w @ w.T, np.eye(5), atol=1e-6)


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_a_stream_is_the_whole_sequence(kind, options, rng):
    for batch_first, single in itertools.product((False, True), repeat=2):
        net = make(kind, rng, num_layers=2, batch_first=batch_first, **options)
        x = rng.standard_normal((5, 3) if single else (5, 2, 3))
        whole, end = net(tg.tensor(x.swapaxes(0, 1).copy() if batch_first and not single else x))
        stream = net.stream()
        steps = np.stack([stream.step(tg.tensor(x[t])).numpy() for t in range(5)])
        expected = whole.numpy().swapaxes(0, 1) if batch_first and not single else whole.numpy()
        np.testing.assert_allclose(steps, expected, rtol=1e-12)
        for a, b in zip(parts(stream.state), parts(end), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)
        again = net.stream(stream.state)
        again.step(tg.tensor(x[0]))
        assert stream.time == 5 and again.time == 1


def test_a_bidirectional_network_does_not_stream():
    with pytest.raises(ValueError, match="needs the future"):
        nn.GRU(3, 4, bidirectional=True).stream()


@pytest.mark.parametrize(("kind", "labels"), [("RNN", "h"), ("LSTM", "ifgoch"), ("GRU", "rznh")])
def test_states_and_gates_are_named_at_the_inputs_time_in_both_directions(kind, labels, rng):
    net = make(kind, rng, num_layers=2, bidirectional=True)
    output, state = net(tg.tensor(rng.standard_normal((3, 2, 3))), lengths=[3, 1])
    graph = tg.trace(output, *parts(state))
    named = [v for v in graph.nodes if v.direction and v.label in set(labels)]
    places = {(v.label, v.layer, v.direction, v.time) for v in named}
    assert len(places) == len(named) == len(labels) * 2 * 2 * 3
    assert {v.id for v in graph.nodes if v.label == "x"} == {"x.t0", "x.t1", "x.t2"}


# -- wrong calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda n, x: n(x[:, :, :2]), ValueError, r"input \(T, N, 3\) or \(T, 3\), got \(5, 2, 2\)"),
        (lambda n, x: n(x[None]), ValueError, r"got \(1, 5, 2, 3\)"),
        (lambda n, x: n(x[:0]), ValueError, "at least one time step"),
        (lambda n, x: n(x.to("float64")), TypeError, "input of float32, like the weights, got float64"),
        (lambda n, x: n(tg.ones(5, 2, 3, dtype="int64")), TypeError, "got int64"),
        (lambda n, x: n(x, lengths=[5, 0]), ValueError, "expected lengths between 1 and 5 .*got 0"),
        (lambda n, x: n(x, lengths=[6, 1]), ValueError, "got 6"),
        (lambda n, x: n(x, lengths=[5]), ValueError, "one integer length for each of 2 sequences, got 1"),
        (lambda n, x: n(x, lengths=[5.0, 1.0]), ValueError, r"got float64 \(2,\)"),
        (lambda n, x: n(x, tg.zeros(2, 2, 4)), TypeError, r"states \(h, c\) as Tensors, got \(Tensor\)"),
        (lambda n, x: n(x, (tg.zeros(1, 2, 4), tg.zeros(2, 2, 4))), ValueError, r"got \(1, 2, 4\)"),
        (lambda n, x: n(x, (tg.zeros(2, 2, 4), tg.zeros(2, 3, 4))), ValueError, "initial c"),
        (lambda n, x: n(x, (tg.zeros(2, 2, 4, dtype="float64"),) * 2), TypeError, "h of float32"),
        (lambda n, x: nn.LSTM(3, 4, proj_size=4), ValueError, "hidden_size - 1 = 3"),
        (lambda n, x: nn.LSTM(3, 0), ValueError, "hidden_size=0"),
        (lambda n, x: nn.LSTM(3, 4, dropout=2), ValueError, "dropout probability"),
        (lambda n, x: nn.RNN(3, 4, nonlinearity="sin"), ValueError, "'tanh' or 'relu', got 'sin'"),
        (lambda n, x: nn.RNN(3, 4, init="ones"), ValueError, "'orthogonal', got 'ones'"),
        (lambda n, x: nn.LSTM(3, 4, dtype="int64"), TypeError, "floating dtype for parameters, got int64"),
        (lambda n, x: nn.GRUCell(3, 4)(x), ValueError, r"expected input \(N, 3\) or \(3,\), got \(5, 2, 3\)"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_refused_in_one_sentence(call, kind, said):
    net, x = nn.LSTM(3, 4, 2), tg.zeros(5, 2, 3)
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    with pytest.raises(kind, match=said):
        call(net, x)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_nan_input_is_named_under_anomaly_detection():
    x = tg.tensor(np.full((3, 1, 2), np.nan, dtype=np.float32))
    with pytest.raises(tg.AnomalyError, match="layer 0, forward, t=0"), tg.detect_anomaly():
        nn.GRU(2, 3)(x)


@pytest.mark.slow
def test_ten_thousand_steps_run_back_and_are_freed():
    net = nn.RNN(2, 3)
    output, _ = net(tg.randn(10_000, 1, 2))
    output[-1].sum().backward()
    assert np.isfinite(net.weight_hh_l0.grad.numpy()).all()
