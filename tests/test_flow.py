"""What flow measures is BPTT: its shares add up, its norms have closed forms where theory has them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, ops

pytestmark = pytest.mark.usefixtures("device")


def network(kind: str, rng, **options):
    tg.manual_seed(int(rng.integers(1 << 30)))
    net = getattr(nn, kind)(3, 4, dtype="float64", **options)
    x = tg.tensor(rng.standard_normal((6, 2, 3)))
    output = net(x)[0]
    return net, (output * tg.tensor(rng.standard_normal(output.shape))).sum()


VARIANTS = [(k, n, b) for k in ("RNN", "LSTM", "GRU") for n in (1, 2) for b in (False, True)]


@pytest.mark.parametrize(("kind", "layers", "bidirectional"), VARIANTS)
@pytest.mark.parametrize("level", ["op", "gate", "cell"])
def test_the_signed_shares_of_all_edges_into_a_value_sum_to_the_norm_of_its_gradient(
    kind, layers, bidirectional, level, rng
):
    _, loss = network(kind, rng, num_layers=layers, bidirectional=bidirectional)
    flow = tg.flow(loss)
    norms = {v.id: v.norm for v in flow.graph("op").nodes}
    shares: dict[str, float] = {}
    whole = flow.graph(level)
    for edge in whole.edges:
        if edge.projection is not None:
            shares[edge.via] = shares.get(edge.via, 0.0) + edge.projection
    inside = {m: v.id for v in whole.nodes for m in v.members}
    users: dict[str, set[str]] = {}
    for edge in flow.graph("op").edges:
        users.setdefault(edge.source, set()).add(inside.get(edge.target, edge.target))
    complete = [v for v in shares if inside.get(v, v) not in users[v]]
    assert len(complete) > 6 * layers
    for value in complete:
        assert shares[value] == pytest.approx(norms[value], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("kind", "layers", "bidirectional"), VARIANTS)
def test_the_shares_of_the_steps_sum_to_the_gradient_of_the_weight(kind, layers, bidirectional, rng):
    net, loss = network(kind, rng, num_layers=layers, bidirectional=bidirectional)
    flow = tg.flow(loss)
    shares = {name: flow.weight_share(name) for name in flow.weights}
    assert all(p.grad is None for p in net.parameters())
    loss.backward()
    for name, parameter in net.named_parameters():
        np.testing.assert_allclose(shares[name].sum(axis=0), parameter.grad.numpy(), rtol=1e-9, atol=1e-12)
        norms = np.linalg.norm(shares[name].reshape(6, -1), axis=1)
        np.testing.assert_allclose(flow.weights[name], norms, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("kind", "layers", "bidirectional"), VARIANTS)
def test_state_norms_are_those_of_the_gradient_asked_for_directly(kind, layers, bidirectional, rng):
    _, loss = network(kind, rng, num_layers=layers, bidirectional=bidirectional)
    flow = tg.flow(loss)
    for label, table in (("h", flow.h), ("c", flow.c)):
        if table is None:
            assert kind != "LSTM"
            continue
        assert table.shape == (layers, 1 + bidirectional, 6)
        for d, direction in enumerate(["fwd", "rev"][: 1 + bidirectional]):
            for t, node in flow._row(label, layers - 1, direction).items():
                asked = tg.grad(flow._opened, tg.Tensor(np.zeros(node.shape), node), retain_graph=True)
                assert table[layers - 1, d, t] == pytest.approx(float(np.linalg.norm(asked.numpy())))


def recurrence(w: np.ndarray, steps: int):
    weight = tg.tensor(w, requires_grad=True)
    h = tg.ones(1, len(w), dtype="float64").requires_grad_()
    states = []
    for t in range(steps):
        with tg.at(layer=0, direction="forward", time=t):
            h = tg.label(h=ops.matmul(h, weight))
            states.append(h)
    return states


@pytest.mark.parametrize("radius", [0.5, 0.9, 1.0, 1.1])
def test_in_a_scaled_rotation_gradients_shrink_by_its_radius_at_every_step(radius, rng):
    q, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    flow = tg.flow(recurrence(radius * q, 30)[-1].sum())
    last = flow.h[0, 0, -1]
    np.testing.assert_allclose(flow.h[0, 0], last * radius ** np.arange(29, -1, -1))
    jacobians = flow.jacobians()
    np.testing.assert_allclose(jacobians.norms[1:], radius)
    np.testing.assert_allclose(jacobians.radii[1:], radius)


def sweep_to(flow, kind: str) -> np.ndarray:
    """The gradient of the state (h, or h and c) after step 1, the paths through it taken as independent."""
    from tinygrad_rnn.namespaces import namespace, to_numpy
    from tinygrad_rnn.sweep import sweep

    nodes = [flow._row(label, 0, "fwd")[1] for label in ("h", "c")[: 1 + (kind == "LSTM")]]
    seed = tg.ones_like(flow._opened).data
    found = sweep({flow._opened.node: seed}, namespace(seed), keep=True, targets=nodes, stop=nodes)
    return np.concatenate([to_numpy(found[node][1]) for node in nodes])


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_product_of_step_jacobians_is_the_gradient_of_the_last_state(kind, rng):
    net = getattr(nn, kind)(3, 4, dtype="float64")
    output, _ = net(tg.tensor(rng.standard_normal((5, 2, 3))))
    v = rng.standard_normal(4)
    flow = tg.flow((output[-1][1] * tg.tensor(v)).sum())
    jacobians = flow.jacobians(batch=1)
    size = jacobians.matrices.shape[1]
    g = np.concatenate([v, np.zeros(size - 4)])
    for t in (4, 3, 2):
        g = g @ jacobians.matrices[t]
    asked = sweep_to(flow, kind)
    np.testing.assert_allclose(asked, g, atol=1e-12)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_state_influences_no_earlier_loss_unless_the_network_reads_backward(kind, rng):
    x = tg.tensor(rng.standard_normal((5, 2, 3)))
    for bidirectional in (False, True):
        net = getattr(nn, kind)(3, 4, bidirectional=bidirectional, dtype="float64")
        output, _ = net(x)
        losses = [output[t].sum() for t in range(5)]
        flow = tg.flow(ops.sum(output))
        forward = flow.influence(losses, direction="fwd")
        assert (forward[np.triu_indices(5, 1)] == 0).all() and (forward[np.tril_indices(5)] > 0).all()
        if bidirectional:
            reverse = flow.influence(losses, direction="rev")
            assert (reverse[np.tril_indices(5, -1)] == 0).all() and (reverse[np.triu_indices(5)] > 0).all()


def test_no_gradient_passes_a_cut(rng):
    net = nn.GRU(3, 4, dtype="float64")
    x = tg.tensor(rng.standard_normal((6, 2, 3)))
    _, h = net(x[:3])
    output, _ = net(x[3:], h.detach())
    assert tg.flow(output.sum()).h.shape == (1, 1, 3)


def test_local_and_future_are_the_two_parts_of_a_states_gradient(rng):
    states = recurrence(0.5 * np.eye(3), 4)
    flow = tg.flow(sum((h * 2).sum() for h in states))
    np.testing.assert_allclose(flow.local[0, 0], 2 * np.sqrt(3))
    np.testing.assert_allclose(flow.future[0, 0][:-1], 0.5 * flow.h[0, 0][1:])
    assert flow.future[0, 0, -1] == 0


def test_a_state_that_the_loss_does_not_reach_is_not_computed_rather_than_zero():
    states = recurrence(np.eye(2), 4)
    flow = tg.flow(states[1].sum())
    assert flow.h.shape == (1, 1, 2)


def test_flow_leaves_gradients_and_tape_as_they_are(rng):
    net, loss = network("LSTM", rng)
    tg.flow(loss)
    assert all(p.grad is None for p in net.parameters())
    loss.backward()
    assert all(p.grad is not None for p in net.parameters())


def test_flow_after_backward_says_that_the_tape_is_gone(rng):
    _, loss = network("RNN", rng)
    loss.backward()
    with pytest.raises(tg.FreedTapeError, match="retain_graph"):
        tg.flow(loss)


def test_wrong_requests_are_refused_in_a_sentence(rng):
    _, loss = network("RNN", rng)
    with pytest.raises(ValueError, match=r"expected a scalar loss, got shape \(2,\)"):
        tg.flow(tg.ones(2).requires_grad_() * 2)
    flow = tg.flow(loss)
    with pytest.raises(KeyError, match="expected a parameter used by time steps"):
        flow.weight_share("weight")
    with pytest.raises(ValueError, match="expected one of 1 layers and 1 directions, got 0, 'rev'"):
        flow.influence([loss], layer=0, direction="rev")
    with pytest.raises(ValueError, match="expected a recurrent module of this tape"):
        tg.flow(loss, module="encoder")


def test_flow_travels_as_json_with_null_for_what_was_not_computed(rng):
    _, loss = network("LSTM", rng, bidirectional=True)
    flow = tg.flow(loss)
    read = json.loads(flow.to_json())
    np.testing.assert_array_equal(np.array(read["h"]), flow.h)
    assert len(read["edges"]) == len(flow.edges)


@pytest.mark.parametrize(("kind", "layers", "bidirectional"), VARIANTS)
def test_between_layers_the_norms_are_those_of_the_whole_sequences(kind, layers, bidirectional, rng):
    _, loss = network(kind, rng, num_layers=layers, bidirectional=bidirectional)
    flow = tg.flow(loss)
    graph = flow.graph("layer")
    norms = {v.id: v.norm for v in graph.nodes}
    shares: dict[str, float] = {}
    for e in graph.edges:
        if e.projection is not None:
            shares[e.source] = shares.get(e.source, 0.0) + e.projection
    group = {m: v.id for v in graph.nodes for m in v.members}
    ops_ = flow.graph("op")
    size = {v.id: v.norm for v in ops_.nodes}
    leaves = {e.source for e in ops_.edges if group.get(e.source) != group.get(e.target)}
    for e in ops_.edges:
        name = group.get(e.source)
        if name in shares and name == group.get(e.target) and e.source in leaves and e.projection is not None:
            shares[name] += e.projection * size[e.source] / norms[name]
    for name, share in shares.items():
        assert share == pytest.approx(norms[name], rel=1e-9, abs=1e-12), "from outside and from within"
    for layer in range(layers):
        for d, way in enumerate(("fwd", "rev")[: 1 + bidirectional]):
            (name,) = [n for n in shares if n.endswith(f"l{layer}.{way}")]
            assert norms[name] == pytest.approx(float(np.linalg.norm(flow.h[layer, d])), rel=1e-9)
