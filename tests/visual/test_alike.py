"""A copied step is the step that laying out every step would have given."""

from __future__ import annotations

from dataclasses import replace

import pytest
from networks import network

import tinygrad_rnn as tg
import visual
from tinygrad_rnn import nn, ops
from tinygrad_rnn.trace import Edge, Graph, Vertex
from visual import alike, unroll
from visual.fold import folded

STEPS = 45


def step_by_step(graph, monkeypatch, **options):
    with monkeypatch.context() as patch:
        patch.setattr(alike, "LEAST", 10**9)
        return visual.draw(graph, fold=False, **options)


def assert_same(one, other):
    assert (one.width, one.height) == pytest.approx((other.width, other.height))
    boxes, arrows = ({e.id: e for e in found} for found in (other.boxes, other.arrows))
    assert {b.id for b in one.boxes} == set(boxes) and {a.id for a in one.arrows} == set(arrows)
    for b in one.boxes:
        there = boxes[b.id]
        assert replace(b, x=0, y=0) == replace(there, x=0, y=0)
        assert (b.x, b.y) == pytest.approx((there.x, there.y))
    for a in one.arrows:
        there = arrows[a.id]
        assert replace(a, curve=(), x=0, y=0) == replace(there, curve=(), x=0, y=0)
        assert [x for point in a.points for x in point] == pytest.approx(
            [x for point in there.points for x in point], abs=1e-6
        )


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("level", ["cell", "gate"])
@pytest.mark.parametrize("both", [False, True])
def test_copies_stand_where_every_step_would_stand(kind, level, both, monkeypatch):
    graph = network(kind, 2, both, STEPS, level, every=True, pre=level == "gate")
    assert alike.thinned(folded(graph, False))[2], "the test needs copies"
    drawn = visual.draw(graph, fold=False, gradients=True)
    assert_same(drawn, step_by_step(graph, monkeypatch, gradients=True))


@pytest.mark.parametrize("level", ["cell", "gate"])
def test_the_plan_holds_every_copy_in_its_place(level, monkeypatch):
    whole = folded(network("gru", 2, True, STEPS, level, every=True, pre=level == "gate"), False)
    assert alike.thinned(whole)[2], "the test needs copies"
    plan = unroll._planned(whole).plan
    with monkeypatch.context() as patch:
        patch.setattr(alike, "LEAST", 10**9)
        other = unroll._planned(whole).plan
    assert plan.home == other.home and plan.storeys == other.storeys
    assert plan.frames.keys() == other.frames.keys() and plan.place.keys() == other.place.keys()
    for found, there in ((plan.place, other.place), (plan.frames, other.frames)):
        for name, rect in found.items():
            assert tuple(rect) == pytest.approx(tuple(there[name]))


def test_each_copy_has_its_own_numbers_and_looks(monkeypatch):
    graph = network("gru", 1, True, STEPS, cut=30)
    strange = {7: 0.0, 13: float("nan"), 21: None}
    edges = tuple(
        e._replace(norm=strange[t], projection=strange[t]) if (t := k % 37) in strange else e
        for k, e in enumerate(graph.edges)
    )
    graph = graph._replace(edges=edges)
    drawn = visual.draw(graph, fold=False, gradients=True)
    plain = step_by_step(graph, monkeypatch, gradients=True)
    assert drawn.table == plain.table
    for looks in ("zero", "broken", "missing", "cut"):
        ids = [{a.id: (a.colour, a.dash) for a in p.arrows if looks in a.classes} for p in (drawn, plain)]
        assert ids[0] == ids[1] and ids[0]


@pytest.mark.parametrize("level", ["cell", "gate"])
@pytest.mark.parametrize("gradients", [False, True])
def test_copies_are_written_as_elements_of_their_own_would_be(level, gradients):
    graph = network("lstm", 2, True, STEPS, level, every=True, cut=20)
    strange = {3: 0.0, 5: float("nan"), 7: float("inf"), 11: None}
    edges = tuple(
        e._replace(norm=strange[k % 37]) if k % 37 in strange else e for k, e in enumerate(graph.edges)
    )
    drawn = visual.draw(graph._replace(edges=edges), fold=False, gradients=gradients, tokens=["<&>"] * STEPS)
    assert len(drawn.parts) < len(drawn.elements) / 2, "the test needs copies"
    assert replace(drawn, parts=drawn.elements).pipe("svg") == drawn.pipe("svg")


def test_a_step_that_is_built_differently_is_laid_out_by_itself():
    graph = network("gru", 1, False, 80)
    extra = Vertex("probe.t40", "probe", "op", time=40)
    odd = graph._replace(nodes=(*graph.nodes, extra), edges=(*graph.edges, Edge("l0.fwd.t40", "probe.t40")))
    whole = folded(odd, False)
    short, _, runs = alike.thinned(whole)
    assert len(runs) == 2 and all(40 not in run.columns for run in runs)
    assert {"l0.fwd.t39", "l0.fwd.t40", "l0.fwd.t41", "probe.t40"} <= {v.id for v in short.nodes}


def test_steps_that_climb_are_not_copied(monkeypatch):
    nodes, edges = [], []
    for t in range(STEPS):
        nodes += [
            Vertex(f"l0.fwd.t{t}", "cell", "cell", layer=0, direction="forward", time=t),
            Vertex(f"add.t{t}", "add", "op", time=t),
        ]
        edges.append(Edge(f"l0.fwd.t{t}", f"add.t{t}"))
        if t:
            edges += [Edge(f"l0.fwd.t{t - 1}", f"l0.fwd.t{t}"), Edge(f"add.t{t - 1}", f"add.t{t}")]
    graph = Graph(tuple(nodes), tuple(edges), "cell")
    assert alike.thinned(folded(graph, False))[2]
    assert_same(visual.draw(graph, fold=False), step_by_step(graph, monkeypatch))


@pytest.mark.parametrize("period", [2, 3, 7])
def test_what_comes_again_after_some_steps_is_copied_too(period, monkeypatch):
    graph = network("lstm", 2, True, 30 * period, every=True)
    losses = [
        (Vertex(f"loss.t{t}", "mean", "output", "loss", time=t), Edge(f"l1.fwd.t{t}", f"loss.t{t}", norm=0.1))
        for t in range(period - 1, 30 * period, period)
    ]
    nodes, edges = zip(*losses, strict=True)
    graph = graph._replace(nodes=(*graph.nodes, *nodes), edges=(*graph.edges, *edges))
    short, _, runs = alike.thinned(folded(graph, False))
    assert len(runs) == period and len(short.nodes) < len(graph.nodes) / 2
    drawn = visual.draw(graph, fold=False, gradients=True)
    assert_same(drawn, step_by_step(graph, monkeypatch, gradients=True))


def test_a_copy_makes_room_for_what_has_no_time(monkeypatch):
    graph = network("gru", 1, False, STEPS)
    tops = [Vertex(f"probe.t{t}", "mean", "op", time=t) for t in range(STEPS)]
    reads = [Edge(f"l0.fwd.t{t}", f"probe.t{t}") for t in range(STEPS)]
    graph = graph._replace(nodes=(*graph.nodes, *tops), edges=(*graph.edges, *reads))
    assert_same(visual.draw(graph, fold=False), step_by_step(graph, monkeypatch))


def test_a_bus_to_what_has_no_time_reaches_it_from_every_copy():
    y, _ = nn.GRU(2, 3)(tg.randn(STEPS, 1, 2))
    picture = visual.draw(ops.mean(y * y), fold=False)
    boxes = {b.id: b for b in picture.boxes}
    into = [a for a in picture.arrows if a.target.startswith("stack") and a.source.startswith("l0")]
    assert len(into) == STEPS
    for arrow in into:
        (x0, y0), (x1, y1) = arrow.points[0], arrow.points[-1]
        source, hub = boxes[arrow.source], boxes[arrow.target]
        assert abs(x0 - source.x) <= source.width / 2 and abs(y0 - source.y) <= source.height / 2 + 1e-6
        assert abs(x1 - hub.x) <= hub.width / 2 and abs(y1 - hub.y) <= hub.height / 2 + 1e-6
