"""What the comparison marks is what differs, no more and no less."""

from __future__ import annotations

import pytest
from networks import network

import tinygrad_rnn as tg
import visual
from visual.compare import differences
from visual.picture import Box, Strip

pytestmark = pytest.mark.usefixtures("device")


def marks(picture):
    return [e for e in picture.elements if "difference" in e.classes]


def edited(graph, k, **changes):
    edges = list(graph.edges)
    edges[k] = edges[k]._replace(**changes)
    return graph._replace(edges=tuple(edges))


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("level", ["cell", "gate"])
def test_a_graph_does_not_differ_from_itself(kind, level):
    graph = network(kind, 2, True, 4, level)
    picture = visual.compare(graph, graph)
    assert differences(graph, graph) == [] and marks(picture) == []
    assert picture.desc == "No difference." and picture.rows[1][0] == "no difference"


def test_one_edit_is_one_mark():
    graph = network("lstm", 2, False, 4)
    for k in range(0, len(graph.edges), 5):
        norm = graph.edges[k].norm
        for other in (edited(graph, k, norm=norm * 2), edited(graph, k, cut=True)):
            assert len(marks(visual.compare(graph, other))) == len(differences(graph, other)) == 1
    nodes = list(graph.nodes)
    nodes[12] = nodes[12]._replace(op="another")
    assert len(marks(visual.compare(graph, graph._replace(nodes=tuple(nodes))))) == 1


@pytest.mark.parametrize("swapped", [False, True])
def test_what_only_one_side_has_is_marked_there(swapped):
    whole = network("gru", 1, False, 4)
    less = whole._replace(edges=whole.edges[:-1])
    one, two = (less, whole) if swapped else (whole, less)
    (found,) = differences(one, two)
    assert found.side == ("b" if swapped else "a")
    picture = visual.compare(one, two)
    assert len(marks(picture)) == 1
    sides = {a.id[0] for a in picture.arrows if a.id[2:] == found.id}
    assert sides == {found.side}


def test_both_sides_stand_at_the_same_places():
    whole = network("gru", 2, True, 5)
    less = whole._replace(edges=whole.edges[3:])
    at = {box.id: box for box in visual.compare(whole, less).boxes}
    moves = {(at[f"b.{n[2:]}"].x - box.x, at[f"b.{n[2:]}"].y - box.y) for n, box in at.items() if n[0] == "a"}
    assert len({(round(x, 6), round(y, 6)) for x, y in moves}) == 1


def test_cells_of_two_kinds_keep_their_own_places_and_their_gates_are_marked_once():
    one, two = network("lstm", 1, False, 3, "gate"), network("gru", 1, False, 3, "gate")
    picture = visual.compare(one, two)
    at = {box.id: box for box in picture.boxes}
    for side, graph in (("a", one), ("b", two)):
        alone = {box.id: box for box in visual.draw(graph, gradients=True).boxes}
        step = alone["l0.fwd.t1.h"]
        for name, box in alone.items():
            if name.startswith("l0.fwd.t1."):
                here, there = at[f"{side}.{name}"], at[f"{side}.{step.id}"]
                assert (here.x - there.x, here.y - there.y) == pytest.approx((box.x - step.x, box.y - step.y))
    lonely = {v.id for v in one.nodes} ^ {v.id for v in two.nodes}
    ways = [e.title.split(":")[0].split("--")[:2] for e in marks(picture) if isinstance(e, Box)]
    assert ways and not [pair for pair in ways if lonely & {*pair}]


def test_one_colour_means_one_norm_on_both_sides():
    graph = network("gru", 1, False, 4)
    small = graph._replace(edges=tuple(e._replace(norm=e.norm * 1e-4) for e in graph.edges))
    moved = edited(small, 5, norm=graph.edges[5].norm)
    picture = visual.compare(graph, moved)
    colours = {a.id: a.colour for a in picture.arrows}
    e = graph.edges[5]
    same = [n for n in colours if n.startswith("a.") and n[2:] == f"{e.source}--{e.target}"]
    assert same and all(colours[n] == colours[f"b{n[1:]}"] for n in same)
    assert len([s for s in picture.elements if isinstance(s, Strip) and "ramp" in s.classes]) == 1


def test_scaled_weights_show_as_the_largest_differences():
    net, x = tg.nn.RNN(2, 3), tg.randn(4, 1, 2)
    before = tg.flow((net(x)[0] ** 2).sum())
    with tg.no_grad():
        net.weight_hh_l0.data[...] *= 3.0
    after = tg.flow((net(x)[0] ** 2).sum())
    picture = visual.compare(before, after, ("before", "after"), most=3)
    assert 1 <= len(marks(picture)) <= 3
    assert [row for row in picture.rows if row[3] == "yes"]


def test_long_sequences_fold_alike_on_both_sides():
    one, two = network("gru", 1, False, 250), network("gru", 1, False, 250, rate=0.9)
    ids = [{box.id[2:] for box in visual.compare(one, two).boxes if box.id[0] == s} for s in "ab"]
    assert ids[0] == ids[1] and len(ids[0]) < 120
