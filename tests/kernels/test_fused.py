"""A kernel is its definition: values, gradients, gradients of gradients; and it keeps nothing it need not."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.kernels.cases import CASES, INPUT, ODD, MinimalGated, Run, emitters
from tinygrad_rnn import nn
from tinygrad_rnn.kernels import numpy_loops
from tinygrad_rnn.kernels.fused import NotCompilable
from tinygrad_rnn.kernels.passes import emitter
from tinygrad_rnn.unfuse import unfused

SHAPES = {
    "batch": {},
    "one step": {"steps": 1},
    "one row": {"rows": 1},
    "ragged": {"lengths": [2, 5, 1, 4]},
    "padded throughout": {"lengths": [2, 3, 1, 2]},
}


def worst(found, expected):
    """The largest difference, relative to the largest value."""
    return max(
        float(abs(a.numpy() - b.numpy()).max() / max(1.0, abs(b.numpy()).max()))
        for a, b in zip(found, expected, strict=True)
    )


@emitters
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES | ODD)
def test_a_kernel_is_its_definition_in_values_and_all_gradients(name, dtype, emitted_by, rng):
    limit = 1e-12 if dtype == "float64" else 1e-5
    with emitter(emitted_by):
        for reverse in (False, True):
            for shape, options in SHAPES.items():
                run = Run((CASES | ODD)[name], rng, dtype, reverse, **options)
                outs, expected = run.fused(), run.defined()
                assert worst(outs, expected) < limit, shape
                with tg.no_grad():
                    assert worst(run.fused(), expected) < limit, shape
                cotangents = [tg.tensor(rng.standard_normal(o.shape).astype(dtype)) for o in outs]
                found = tg.grad(outs, run.inputs, cotangents)
                assert worst(found, tg.grad(expected, run.inputs, cotangents)) < limit, shape


@pytest.mark.parametrize("memory", [1, 2000])
@pytest.mark.parametrize("name", CASES | ODD)
def test_results_do_not_depend_on_how_many_steps_are_computed_ahead(name, memory, monkeypatch, rng):
    usual = numpy_loops._CACHE
    with emitter("numpy"):
        for reverse in (False, True):
            for shape, options in SHAPES.items():
                run = Run((CASES | ODD)[name], rng, "float64", reverse, **options)
                found, cotangents = [], [tg.tensor(rng.standard_normal(o.shape)) for o in run.defined()]
                for cache in (usual, memory):
                    monkeypatch.setattr(numpy_loops, "_CACHE", cache)
                    outs = run.fused()
                    with tg.no_grad():
                        inferred = run.fused()
                    found.append([*outs, *inferred, *tg.grad(outs, run.inputs, cotangents)])
                assert worst(*found) < 1e-13, shape


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["lstm", "gru", "invented"])
def test_the_gradient_of_a_gradient_goes_through_the_definition(name, dtype, rng):
    run = Run(CASES[name], rng, dtype, lengths=[3, 5, 2, 5])
    both = []
    for outs in (run.fused(), run.defined()):
        loss = sum(((o * o).sum() for o in outs[1:]), (outs[0] * outs[0]).sum())
        first = tg.grad(loss, run.inputs, create_graph=True)
        both.append(tg.grad(sum((g * g).sum() for g in first), run.inputs))
    assert worst(*both) < (1e-11 if dtype == "float64" else 1e-4)


def test_a_layer_is_one_node_that_can_be_swept_twice(rng):
    run = Run(CASES["lstm"], rng, "float64")
    y, h, c = run.fused()
    assert {out.node.parents[0].plan.name for out in (y, h, c)} == {"Cell"}
    once = tg.grad(y.sum(), run.inputs, retain_graph=True)
    assert worst(tg.grad(y.sum(), run.inputs), once) == 0
    with pytest.raises(tg.FreedTapeError):
        tg.grad(c.sum(), run.inputs)


def test_only_what_asks_for_a_gradient_gets_one(rng):
    net = nn.LSTM(3, 4)
    net.weight_hh_l0.requires_grad_(False)
    x = tg.tensor(rng.standard_normal((5, 2, 3)).astype("float32"))
    net(x)[0].sum().backward()
    assert x.grad is None and net.weight_hh_l0.grad is None and net.bias_hh_l0.grad is not None


def test_gradients_are_new_arrays_each_time(rng):
    net = nn.LSTM(40, 200)
    x = tg.tensor(rng.standard_normal((5, 2, 40)).astype("float32"), requires_grad=True)
    kept = []
    for _ in range(3):
        net.zero_grad()
        x.grad = None
        output, _ = net(x)
        output.sum().backward()
        kept.append([output.numpy(), x.grad.numpy(), *(p.grad.numpy() for p in net.parameters())])
    for later in kept[1:]:
        for a, b in zip(kept[0], later, strict=True):
            assert not np.shares_memory(a, b)
            np.testing.assert_array_equal(a, b)


def test_a_write_to_what_the_backward_loop_needs_is_caught(rng):
    net = nn.LSTM(3, 4)
    x = tg.tensor(rng.standard_normal((5, 2, 3)).astype("float32"))
    for change in (
        lambda y: net.weight_hh_l0.copy_(np.zeros((16, 4))),
        lambda y: y.detach().copy_(np.zeros(y.shape)),
    ):
        output, _ = net(x)
        change(output)
        with pytest.raises(tg.InPlaceError):
            output.sum().backward()


def test_inference_keeps_nothing_and_training_does_not_grow(rng):
    net = nn.GRU(16, 64)
    x = tg.tensor(rng.standard_normal((20, 8, 16)).astype("float32"))
    with tg.no_grad():
        output, _ = net(x)
    assert output.node is None
    gc.collect()
    gc.disable()
    try:
        sizes = []
        for _ in range(8):
            net.zero_grad()
            net(x)[0].sum().backward()
            sizes.append(len(gc.get_objects()))
    finally:
        gc.enable()
    assert sizes[-1] - sizes[3] < 20


@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_a_user_holds_is_not_written_again(bidirectional, rng):
    net = nn.GRU(3, 32, bidirectional=bidirectional)
    inputs = rng.standard_normal((3, 40, 20, 3)).astype("float32")
    with tg.no_grad():
        held = [net(x)[0][5:] for x in map(tg.tensor, inputs)]
        expected = [net(tg.tensor(x))[0][5:].numpy().copy() for x in inputs]
    for part, values in zip(held, expected, strict=True):
        np.testing.assert_array_equal(part.numpy(), values)


def test_operations_are_used_where_kernels_do_not_reach(rng):
    x = tg.tensor(rng.standard_normal((5, 2, 3)).astype("float32"))
    assert nn.LSTM(3, 4)(x)[0].node.plan.name == "LSTM"
    assert nn.LSTM(3, 4, layer_norm=True)(x)[0].node.plan.name == "stack"
    with tg.fused(False):
        assert nn.LSTM(3, 4)(x)[0].node.plan.name == "stack"
    with tg.detect_anomaly():
        assert nn.LSTM(3, 4)(x)[0].node.plan.name == "stack"
    run = Run(CASES["lstm"], rng, "float64")
    run.x = run.x.detach().to("float32")
    with pytest.raises(NotCompilable, match="got float32, float64"):
        run.fused()


def test_nan_in_is_nan_out(rng):
    x = rng.standard_normal((5, 2, 3)).astype("float32")
    x[1, 0, 0] = np.nan
    for kind in (nn.RNN, nn.LSTM, nn.GRU):
        output = kind(3, 4)(tg.tensor(x))[0].numpy()
        assert np.isnan(output[1:, 0]).all() and not np.isnan(output[:, 1]).any()


def test_a_users_cell_of_modules_runs_on_kernels(rng):
    net = nn.Recurrent(lambda width: MinimalGated(width, 4), 2, bidirectional=True, input_size=INPUT)
    x = tg.tensor(rng.standard_normal((5, 3, INPUT)), requires_grad=True)
    both = []
    for on in (True, False):
        with tg.fused(on):
            output, state = net(x, lengths=[5, 2, 4])
        names = {n.plan.name for n in _tape(output) if n.plan is not None}
        assert ("Recurrent" in names) is on
        loss = (output * output).sum() + (state * state).sum()
        both.append([output, *tg.grad(loss, [x, *net.parameters()])])
    assert worst(*both) < 1e-12


@pytest.mark.parametrize("options", [{}, {"bias": False}])
def test_a_built_in_cell_runs_on_its_kernel(options, rng):
    net = nn.Recurrent(nn.LSTMCell(3, 4, **options))
    assert net(tg.randn(5, 2, 3))[0].node.plan.name == "Recurrent"


def _tape(output):
    from tinygrad_rnn.sweep import ancestors

    return ancestors([output.node])


@pytest.mark.parametrize("options", [{}, {"lengths": [5, 2]}])
def test_taken_apart_a_fused_network_is_the_network_operation_by_operation(options, rng):
    net = nn.LSTM(3, 4, 2, bidirectional=True, dtype="float64")
    x = tg.tensor(rng.standard_normal((5, 2, 3)), requires_grad=True)
    x.name = "x"
    tapes = []
    for on in (True, False):
        with tg.fused(on):
            output, (_, c) = net(x, **options)
        tapes.append([(output * output).sum(), c.sum()])
    made, moved, notes = unfused(tapes[0])
    assert "replayed from the definition" in notes[0] and moved[tapes[0][0].node] is made[0].node
    whole = [
        [(v.id, v.op, v.label) for v in tg.trace(*outs).nodes if v.kind != "constant"]
        for outs in (made, tapes[1])
    ]
    assert sorted(whole[0]) == sorted(whole[1])
    assert unfused(tapes[1]) == (tapes[1], {}, ())
    inputs = [x, *net.parameters()]
    assert worst(*(tg.grad(outs, inputs) for outs in (made, tapes[1]))) < 1e-12
