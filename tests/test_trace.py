"""A trace is the tape: every node and edge of it, no more, under names that do not change."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, ops

pytestmark = pytest.mark.usefixtures("device")


def chain(steps: int):
    h = tg.tensor([0.5], requires_grad=True)
    for t in range(steps):
        with tg.at(layer=0, direction="forward", time=t):
            h = tg.label(h=ops.tanh(h))
    return h


def test_every_use_of_a_value_is_an_edge_also_the_second_one():
    x = tg.tensor([3.0], requires_grad=True)
    x.name = "x"
    graph = tg.trace(x * x)
    assert [(e.source, e.slot) for e in graph.edges] == [("x", 0), ("x", 1)]


def test_names_are_logical_and_the_same_every_time():
    ids = [v.id for v in tg.trace(chain(3)).nodes]
    assert ids == ["leaf", "l0.fwd.t0.h", "l0.fwd.t1.h", "l0.fwd.t2.h"]
    assert ids == [v.id for v in tg.trace(chain(3)).nodes]


def test_operations_of_one_name_in_one_place_are_numbered():
    x = tg.tensor([1.0], requires_grad=True)
    graph = tg.trace(ops.tanh(ops.tanh(x)).sum())
    assert [v.id for v in graph.nodes] == ["leaf", "tanh", "tanh.2", "loss"]


def test_formulas_come_from_the_operation_and_its_rules():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    vertex = tg.trace(ops.tanh(x)).nodes[-1]
    assert vertex.formula == "tanh(x)"
    assert vertex.rules == ("∂x = g·(1 - y²)",)
    assert tg.trace(ops.sum(ops.exp(x), axis=0)).nodes[-1].formula == "sum(x, axis=0)"


def test_an_operation_with_several_outputs_is_one_vertex_with_an_edge_per_use():
    x = tg.randn(2, 6, requires_grad=True)
    first, _, third = ops.split(x, 3, axis=1)
    graph = tg.trace((first * third).sum())
    assert [v.op for v in graph.nodes] == ["parameter", "split", "multiply", "sum"]
    assert [(e.source, e.slot) for e in graph.edges if e.target == "multiply"] == [("split", 0), ("split", 1)]


def test_a_detached_value_shows_as_a_cut_that_carries_no_gradient():
    h = chain(2)
    with tg.at(layer=0, direction="forward", time=2):
        w = tg.tensor([2.0], requires_grad=True)
        after = tg.label(h=w * h.detach())
    graph = tg.trace(after)
    cuts = [e for e in graph.edges if e.cut]
    assert [e.source for e in cuts] == ["l0.fwd.t1.h.cut"]
    assert [v.kind for v in graph.nodes if v.id == cuts[0].source] == ["cut"]
    assert all(e.norm is None for e in tg.flow(after.sum()).graph("op").edges if e.cut)


def test_a_graph_travels_as_json():
    graph = tg.trace(chain(2), values=True)
    assert tg.Graph.from_json(graph.to_json()) == graph


def test_values_are_summaries_of_what_the_tape_still_holds():
    x = tg.tensor([1.0, -2.0], requires_grad=True)
    y = tg.trace(ops.tanh(x).sum(), values=True).nodes[1]
    expected = np.tanh([1.0, -2.0])
    assert y.value is not None
    assert np.isclose(y.value["min"], expected.min())
    assert np.isclose(y.value["norm"], np.linalg.norm(expected))


def test_second_order_nodes_are_marked_as_backward():
    x = tg.tensor([0.3], requires_grad=True)
    dy = tg.grad(ops.tanh(x).sum(), x, create_graph=True)
    made = tg.trace(dy).nodes
    assert {v.op for v in made if v.backward} >= {"multiply", "subtract"}
    assert not next(v for v in made if v.op == "tanh").backward


def test_tracing_needs_a_recorded_tensor():
    with pytest.raises(ValueError, match=r"expected a recorded Tensor.*got a tensor of shape \(2,\)"):
        tg.trace(tg.zeros(2))
    with pytest.raises(ValueError, match="got int"):
        tg.trace(3)


@pytest.mark.parametrize("device", ["cpu"], indirect=True)
def test_ten_thousand_steps_are_traced_without_recursion():
    graph = tg.trace(chain(10_000))
    assert len(graph.nodes) == 10_001
    assert len(graph.quotient("cell").nodes) == 10_001


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_cell_level_is_the_grid_of_layers_directions_and_steps(kind, bidirectional):
    net = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=bidirectional)
    graph = tg.trace(net(tg.randn(5, 2, 3))[0].sum()).quotient("cell")
    cells = {(v.layer, v.direction, v.time) for v in graph.nodes if v.kind == "cell"}
    directions = ["forward", "reverse"][: 1 + bidirectional]
    assert cells == {(layer, d, t) for layer in range(2) for d in directions for t in range(5)}
    steps = {"forward": 1, "reverse": -1}
    by_id = {v.id: v for v in graph.nodes}
    for edge in graph.edges:
        a, b = by_id[edge.source], by_id[edge.target]
        if a.kind == b.kind == "cell" and (a.layer, a.direction) == (b.layer, b.direction):
            assert b.time - a.time == steps[a.direction]
    ends = [(by_id[e.source], by_id[e.target]) for e in graph.edges]
    recurrent = {(a.id, b.id) for a, b in ends if a.kind == b.kind == "cell" and a.layer == b.layer}
    assert len(recurrent) == 2 * len(directions) * 4


GATES = {
    "RNN": {"h": {"x", "h", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"}},
    "LSTM": {
        "a": {"x", "h", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"},
        "i": {"a"}, "f": {"a"}, "g": {"a"}, "o": {"a"}, "c": {"f", "c", "i", "g"}, "h": {"o", "c"},
    },
    "GRU": {
        "a": {"x", "weight_ih_l0", "bias_ih_l0"}, "a2": {"h", "weight_hh_l0", "bias_hh_l0"},
        "r": {"a", "a2"}, "z": {"a", "a2"}, "n": {"a", "a2", "r"}, "h": {"z", "n", "h"},
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", GATES)
def test_the_gate_level_has_the_topology_of_the_definition(kind):
    net = getattr(nn, kind)(3, 4)
    graph = tg.trace(net(tg.randn(3, 2, 3))[0].sum()).quotient("gate")
    found: dict[str, set[str]] = {}
    for edge in graph.edges:
        if edge.target.startswith("l0.fwd.t1."):
            source = edge.source.removeprefix("l0.fwd.t1.").removeprefix("l0.fwd.t0.").split(".t")[0]
            found.setdefault(edge.target.rpartition(".")[2], set()).add(source)
    assert found == GATES[kind]


def test_a_quotient_loses_no_operation_but_unnamed_constants():
    net = nn.GRU(3, 4, num_layers=2, bidirectional=True)
    graph = tg.trace(net(tg.randn(3, 2, 3))[0].sum())
    expected = {v.id for v in graph.nodes if v.kind != "constant"}
    for level in ("gate", "cell", "layer"):
        members = [m for v in graph.quotient(level).nodes for m in v.members]
        assert len(members) == len(set(members)) and set(members) == expected


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="expected level 'op', 'gate', 'cell' or 'layer', got 'box'"):
        tg.trace(chain(1)).quotient("box")


def test_a_window_is_some_steps_alone_and_says_so():
    net = nn.GRU(3, 4, bidirectional=True)
    graph = tg.trace(net(tg.randn(5, 2, 3))[0].sum()).quotient("gate")
    window = graph.window(2, 3)
    shown = {v.id for v in window.nodes}
    assert {v.time for v in window.nodes if v.kind != "parameter"} == {2, 3}
    assert {v.id for v in graph.nodes if v.time in (2, 3)} <= shown
    assert set(window.edges) == {e for e in graph.edges if e.source in shown and e.target in shown}
    assert "steps 2 to 3 alone" in window.notes[-1]
    with pytest.raises(ValueError, match="expected steps of this graph, got 7 to 9"):
        graph.window(7, 9)


def losses_of(steps: int):
    net, total = nn.GRUCell(2, 3), None
    h = tg.zeros(1, 3)
    for t in range(steps):
        with tg.at(layer=0, direction="forward", time=t):
            h = tg.label(h=net(tg.randn(1, 2), h))
        total = h.sum() if total is None else total + h.sum()
    return total


def test_a_loss_summed_step_by_step_is_one_vertex_and_the_loss():
    graph = tg.trace(losses_of(9))
    cells = graph.quotient("cell")
    sums = [v for v in cells.nodes if v.op in ("add", "module")]
    assert [(v.label, len(v.members)) for v in sums if v.kind == "op"] == [("add × 7", 7)]
    assert len([v for v in graph.nodes if v.op == "add" and v.layer is None]) == 8


def test_a_module_called_twice_makes_no_cycle():
    shared, other = nn.Linear(3, 3), nn.Linear(3, 3)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.other = shared, other

        def forward(self, x):
            return self.shared(ops.tanh(self.other(self.shared(x))))

    graph = tg.trace(Twice()(tg.randn(2, 3)).sum()).quotient("cell")
    place = {v.id: k for k, v in enumerate(graph.nodes)}
    assert all(place[e.source] < place[e.target] for e in graph.edges)
    assert [v.op for v in graph.nodes if v.kind == "op"] == ["linear", "linear", "tanh", "linear"]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_at_layer_level_a_sequence_is_one_vertex(bidirectional):
    net = nn.LSTM(3, 4, num_layers=2, bidirectional=bidirectional)
    graph = tg.trace(net(tg.randn(5, 2, 3))[0].sum()).quotient("layer")
    layers = [v for v in graph.nodes if v.op == "layer"]
    assert len(layers) == 2 * (1 + bidirectional) and all(v.time is None for v in graph.nodes)
    assert [v.label for v in graph.nodes if v.kind == "input"] == ["x × 5"]
    pairs = [(e.source, e.target) for e in graph.edges]
    assert len(pairs) == len(set(pairs))
