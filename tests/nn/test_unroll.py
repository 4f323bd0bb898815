"""Where the steps of a layer stand: at the times it was told, cut where it was detached, fused or not."""

from __future__ import annotations

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

BOTH_WAYS = pytest.mark.parametrize("fused", [True, False])


def cells(*outputs):
    return {v.id: v.kind for v in tg.trace(*outputs).quotient("cell").nodes if v.time is not None}


@BOTH_WAYS
@pytest.mark.parametrize("lengths", [None, [2, 3]])
def test_a_sequence_read_at_a_time_begins_there(fused, lengths):
    net = nn.GRU(2, 3, 2, bidirectional=True)
    with tg.fused(fused), tg.at(time=5):
        output, _ = net(tg.randn(3, 2, 2, requires_grad=True), lengths=lengths)
    rows = [f"l{layer}.{way}" for layer in (0, 1) for way in ("fwd", "rev")]
    expected = {f"{row}.t{t}" for row in rows for t in (5, 6, 7)}
    found = cells(output.sum())
    assert {name for name, kind in found.items() if kind == "cell"} == expected
    times = {v.time for v in tg.trace(output.sum()).nodes if v.op == "concatenate" or v.label == "x"}
    assert times == {5, 6, 7}
    assert not any("t0" in name for name in found)


def test_one_step_at_a_time_is_one_network_along_time():
    net, x, state = nn.LSTM(2, 3, device="cpu"), tg.randn(4, 1, 2, device="cpu"), None  # on kernels
    for t in range(4):
        with tg.at(time=t):
            output, state = net(x[t : t + 1], state)
    graph = tg.trace(output.sum()).quotient("cell")
    assert {v.id for v in graph.nodes if v.kind == "cell"} == {f"l0.fwd.t{t}" for t in range(4)}
    steps = {(e.source, e.target) for e in graph.edges if e.via.endswith(".c")}
    assert steps == {(f"l0.fwd.t{t}", f"l0.fwd.t{t + 1}") for t in range(3)}


@BOTH_WAYS
@pytest.mark.parametrize("batched", [True, False])
def test_a_detached_state_is_cut_from_the_step_before_in_every_layer(fused, batched):
    net, x = nn.LSTM(2, 3, 2), tg.randn(*((3, 1, 2) if batched else (3, 2)))
    with tg.fused(fused):
        _, state = net(x)
        with tg.at(time=3):
            output, _ = net(x, tuple(s.detach() for s in state))
    graph = tg.trace(output.sum())
    cuts = {(e.source, e.target[: len("l0.fwd.t3")]) for e in graph.edges if e.cut}
    assert cuts == {(f"l{k}.fwd.t2.{s}.cut", f"l{k}.fwd.t3") for k in (0, 1) for s in "hc"}
    assert not {name for name in cells(output.sum()) if name.endswith((".t0", ".t1"))}


def test_a_state_that_was_given_is_called_so_and_is_no_cut():
    output, _ = nn.GRU(2, 3)(tg.randn(3, 1, 2), tg.zeros(1, 1, 3))
    graph = tg.trace(output.sum())
    assert "h_0" in {v.id for v in graph.nodes} and not any(e.cut for e in graph.edges)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_between_layers_is_seen_at_every_step(bidirectional):
    net = nn.LSTM(2, 3, 3, dropout=0.5, bidirectional=bidirectional)
    x = tg.randn(4, 2, 2, requires_grad=True)
    found = []
    for fused in (True, False):
        tg.manual_seed(1)
        with tg.fused(fused):
            output, _ = net(x)
        graph = tg.trace(output.sum())
        found.append([(v.id, v.op, v.time) for v in graph.nodes if v.kind != "constant"])
        assert [v.op for v in graph.nodes].count("stack") == 1
        assert sorted(v.time for v in graph.nodes if v.op == "multiply" and v.layer is None) == sorted(
            2 * [0, 1, 2, 3]
        )
    assert sorted(found[0], key=str) == sorted(found[1], key=str)
