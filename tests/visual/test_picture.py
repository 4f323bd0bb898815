"""A picture shows its graph: every vertex and edge once, in its place, with its own look."""

from __future__ import annotations

import math
import re
import time
from collections import Counter

import pytest
from networks import Network, along, network

import tinygrad_rnn as tg
import visual
from tinygrad_rnn import nn, ops
from tinygrad_rnn.trace import Edge, Graph, Vertex
from visual.fold import Link
from visual.gradients import Look
from visual.paths import Wire, middle
from visual.picture import Arrow, Box, Picture, Strip, Text, text_width
from visual.style import THEMES, style

pytestmark = pytest.mark.usefixtures("device")

NETWORKS = [
    pytest.param(kind, layers, both, level, id=f"{kind}-{layers}-{'bi' if both else 'uni'}-{level}")
    for kind in ("rnn", "gru", "lstm")
    for layers, both in ((1, False), (2, True))
    for level in ("cell", "gate")
]


def place(picture: Picture) -> dict[str, Box]:
    return {box.id: box for box in picture.boxes}


def forward(picture: Picture) -> list[Arrow]:
    return [a for a in picture.arrows if "backward" not in a.classes]


def backward(picture: Picture) -> list[Arrow]:
    return [a for a in picture.arrows if "backward" in a.classes]


def pairs(arrows: list[Arrow] | tuple[Edge, ...]) -> Counter[tuple[str, str]]:
    return Counter((a.source, a.target) for a in arrows)


# -- no more, no fewer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "layers", "both", "level"), NETWORKS)
@pytest.mark.parametrize("pre", [False, True])
def test_boxes_and_arrows_are_the_graphs(kind, layers, both, level, pre):
    graph = network(kind, layers, both, 4, level, cut=2, every=True, pre=pre)
    picture = visual.draw(graph, gradients=True)
    assert Counter(b.id for b in picture.boxes) == Counter(v.id for v in graph.nodes)
    assert pairs(forward(picture)) == pairs(graph.edges)
    assert len({a.id for a in picture.arrows}) == len(picture.arrows)


def test_an_operation_that_reads_a_value_twice_has_two_arrows():
    nodes = (Vertex("x", "input", "input"), Vertex("y", "multiply", "op"))
    picture = visual.draw(Graph(nodes, (Edge("x", "y", slot=0), Edge("x", "y", slot=1))))
    first, second = picture.arrows
    assert pairs(picture.arrows) == {("x", "y"): 2}
    assert first.points != second.points


@pytest.mark.parametrize(("kind", "layers", "both", "level"), NETWORKS)
def test_each_backward_arrow_is_a_reversed_edge_that_has_a_gradient(kind, layers, both, level):
    graph = network(kind, layers, both, 4, level, cut=2)
    weights = {v.id for v in graph.nodes if v.kind == "parameter" and v.id != "linear.weight"}
    measured = [e for e in graph.edges if e.norm is not None and e.source not in weights]
    picture = visual.draw(graph, gradients=True)
    assert Counter((a.target, a.source) for a in backward(picture)) == Counter(
        (e.source, e.target) for e in measured
    )


def test_without_gradients_nothing_runs_back():
    assert not backward(visual.draw(network("lstm", 2, True, 3)))


def test_a_shared_weight_is_drawn_once_with_one_bar_per_step():
    picture = visual.draw(network("gru", 1, False, 6), gradients=True)
    bars = [a for a in picture.arrows if a.source == "weight_hh_l0"]
    assert {(a.classes[1], a.target) for a in bars} == {("weight", f"l0.fwd.t{t}") for t in range(6)}
    heights = [a.points[-1][1] - a.points[0][1] for a in sorted(bars, key=lambda a: a.points[0])]
    assert heights == sorted(heights) and heights[-1] > 3 * heights[0]
    assert any(isinstance(e, Box) and e.label == "Σ" for e in picture.elements)


# -- in their places -------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["cell", "gate"])
def test_x_grows_with_time_and_y_with_the_layer(level):
    graph = network("lstm", 3, True, 5, level)
    at = place(visual.draw(graph))
    vertices = [v for v in graph.nodes if v.layer is not None]
    for a in vertices:
        for b in vertices:
            same = a.layer == b.layer and a.direction == b.direction and a.gate == b.gate
            if same and a.time < b.time:
                assert at[a.id].x < at[b.id].x
            if a.layer < b.layer:
                assert at[a.id].y < at[b.id].y


@pytest.mark.parametrize("level", ["cell", "gate"])
def test_forward_rows_run_right_and_reverse_rows_run_left(level):
    graph = network("lstm", 1, True, 4, level)
    vertices = {v.id: v for v in graph.nodes}
    seen = set()
    for arrow in visual.draw(graph, gradients=True).arrows:
        a, b = vertices[arrow.source], vertices[arrow.target]
        if None not in (a.layer, b.layer) and a.time != b.time:
            right = arrow.points[-1][0] > arrow.points[0][0]
            assert right == ((a.direction == "forward") != ("backward" in arrow.classes))
            seen.add((a.direction, right))
    assert len(seen) == 4


def test_bptt_runs_beside_the_data_and_does_not_cover_it():
    picture = visual.draw(network("rnn", 1, False, 3), gradients=True)
    ahead, back = (
        next(a for a in arrows if {a.source, a.target} == {"l0.fwd.t0", "l0.fwd.t1"})
        for arrows in (forward(picture), backward(picture))
    )
    assert 4 < abs(ahead.points[0][1] - back.points[-1][1]) < 12


@pytest.mark.parametrize(("kind", "layers", "both", "level"), NETWORKS)
@pytest.mark.parametrize("pre", [False, True])
def test_no_box_overlaps_another_or_leaves_the_page(kind, layers, both, level, pre):
    picture = visual.draw(network(kind, layers, both, 4, level, every=True, pre=pre), gradients=True)
    boxes = picture.boxes
    for k, a in enumerate(boxes):
        assert a.width / 2 <= a.x <= picture.width - a.width / 2
        assert a.height / 2 <= a.y <= picture.height - a.height / 2
        for b in boxes[k + 1 :]:
            apart = abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= (a.height + b.height) / 2
            assert apart, (a.id, b.id)


@pytest.mark.parametrize(("kind", "layers", "both", "level"), NETWORKS)
def test_no_arrow_runs_through_a_box_that_it_does_not_join(kind, layers, both, level):
    picture = visual.draw(
        network(kind, layers, both, 4, level, every=True, pre=level == "gate"), gradients=True
    )
    for arrow in picture.arrows:
        for x, y in along(arrow):
            for box in picture.boxes:
                if box.id not in (arrow.source, arrow.target):
                    inside = abs(x - box.x) < box.width / 2 - 1 and abs(y - box.y) < box.height / 2 - 1
                    assert not inside, (arrow.id, box.id)


def test_the_cell_state_is_a_straight_rail():
    picture = visual.draw(network("lstm", 1, False, 4, "gate", pre=True))
    rail = [a for a in picture.arrows if a.source.endswith(".c") and a.target.endswith(".c")]
    assert len(rail) == 3
    assert len({round(y, 6) for a in rail for _, y in a.points}) == 1


def test_gates_stand_in_the_same_place_at_every_step():
    at = place(visual.draw(network("lstm", 1, False, 4, "gate", pre=True)))
    offsets = [
        [
            (round(at[f"l0.fwd.t{t}.{g}"].x - at[f"l0.fwd.t{t}.f"].x, 6), at[f"l0.fwd.t{t}.{g}"].y)
            for g in "ifgoch"
        ]
        for t in range(4)
    ]
    assert offsets.count(offsets[0]) == 4


def test_so_do_those_of_ones_own_cell_though_the_first_and_last_step_have_fewer_arrows():
    class Own(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.input_size, self.hidden_size = width, 3
            self.forget, self.candidate = nn.Linear(width + 3, 3), nn.Linear(width + 3, 3)

        def forward(self, x, h):
            f = tg.label(forget=ops.sigmoid(self.forget(ops.concatenate([x, h], axis=-1))))
            n = tg.label(n=ops.tanh(self.candidate(ops.concatenate([x, f * h], axis=-1))))
            return (1 - f) * h + f * n

    output, _ = nn.Recurrent(Own, 2)(tg.randn(4, 1, 2))
    picture = visual.draw(output.sum(), level="gate")
    at, start = place(picture), {f"t{t}": place(picture)[f"l0.fwd.t{t}.h"].x for t in range(4)}
    assert at["l0.fwd.t2.forget"].label == "forget"
    for gate in ("forget", "n"):
        boxes = {step: at[f"l0.fwd.{step}.{gate}"] for step in start}
        assert len({(round(boxes[step].x - x, 6), boxes[step].y) for step, x in start.items()}) == 1
    weights = {box.label for box in picture.boxes if "kind-parameter" in box.classes}
    assert weights == {f"{part}.{name}" for part in ("forget", "candidate") for name in ("weight", "bias")}


def test_tokens_stand_under_their_steps():
    picture = visual.draw(network("rnn", 1, False, 3), tokens=["the", "cat", "sat"])
    assert [place(picture)[f"x.t{t}"].label for t in range(3)] == ["the", "cat", "sat"]


def test_unknown_gates_get_a_layered_template():
    net = Network("rnn", 1, ["forward"], 2, "gate", False, None, False)
    for t in range(2):
        for gate in "uvh":
            net.vertex(
                f"l0.fwd.t{t}.{gate}", "gates", "gate", gate, layer=0, direction="forward", time=t, gate=gate
            )
        net.edge(f"l0.fwd.t{t}.u", f"l0.fwd.t{t}.v", t)
        net.edge(f"l0.fwd.t{t}.v", f"l0.fwd.t{t}.h", t)
    net.edge("l0.fwd.t0.h", "l0.fwd.t1.u", 0)
    at = place(visual.draw(Graph(tuple(net.nodes), tuple(net.edges), "gate")))
    assert at["l0.fwd.t0.u"].x < at["l0.fwd.t0.v"].x < at["l0.fwd.t0.h"].x < at["l0.fwd.t1.u"].x


def test_a_graph_without_time_is_drawn_upward():
    names = ("x", "a", "b", "loss")
    nodes = tuple(Vertex(n, "tanh", "op", shape=(2, 3)) for n in names)
    edges = (Edge("x", "a"), Edge("a", "b"), Edge("x", "b"), Edge("b", "loss"))
    picture = visual.draw(Graph(nodes, edges), gradients=True)
    at = place(picture)
    assert at["x"].y < at["a"].y < at["b"].y < at["loss"].y
    assert pairs(picture.arrows) == pairs(edges)


def test_a_deep_graph_without_time_is_drawn_without_recursion():
    nodes = tuple(Vertex(f"n{k}", "tanh", "op") for k in range(3000))
    edges = tuple(Edge(f"n{k}", f"n{k + 1}") for k in range(2999))
    assert len(visual.draw(Graph(nodes, edges)).boxes) == 3000


# -- with their looks ------------------------------------------------------------------------------------


def with_norm(norm: float | None, cut: bool = False) -> list[Arrow]:
    """The arrows between two cells whose edge has this norm."""
    graph = network("rnn", 1, False, 3)
    edges = tuple(
        e._replace(norm=norm, projection=norm, cut=cut)
        if (e.source, e.target) == ("l0.fwd.t0", "l0.fwd.t1")
        else e
        for e in graph.edges
    )
    arrows = visual.draw(graph._replace(edges=edges), gradients=True).arrows
    return [a for a in arrows if {a.source, a.target} == {"l0.fwd.t0", "l0.fwd.t1"}]


def test_number_zero_nan_missing_and_cut_look_different():
    cases = {
        "number": with_norm(0.3),
        "zero": with_norm(0.0),
        "nan": with_norm(math.nan),
        "inf": with_norm(math.inf),
    }
    cases |= {"missing": with_norm(None), "cut": with_norm(None, cut=True)}
    looks = {
        name: tuple((a.colour, a.dash, a.head, a.width, a.classes) for a in arrows)
        for name, arrows in cases.items()
    }
    assert looks.pop("inf") == looks["nan"]
    assert [a.head for a in cases["zero"]] == ["full", "open"]
    colours = THEMES["light"]
    assert cases["zero"][1].colour == colours["zero"] and cases["nan"][1].colour == colours["alarm"]
    assert len(set(looks.values())) == 5
    assert [len(cases[name]) for name in ("number", "zero", "nan", "missing", "cut")] == [2, 2, 2, 1, 1]


@pytest.mark.parametrize("way", [(0, 90), (0, -90), (90, 0), (-90, 0)])
def test_what_is_wrong_with_a_gradient_stands_on_the_far_side_of_its_arrow_from_the_data(way):
    x, y = way
    wire = Wire([(0.0, 0.0), (float(x), float(y))])
    link = Link(Edge("a", "b", norm=math.nan))
    ahead, word, back = (e for copies in Look(style(), True).edges([link], ["a--b"], wire) for e in copies)
    (ax, ay), (bx, by) = middle(ahead.points), middle(back.points)
    assert word.text == "NaN"
    width = text_width("NaN", word.size) * {"start": 0.5, "middle": 0.0, "end": -0.5}[word.anchor]
    centre = word.x + width, word.y + word.size * 0.35
    away = (centre[0] - bx) * (bx - ax) + (centre[1] - by) * (by - ay)
    assert away > 0 and math.dist(centre, (ax, ay)) > math.dist(centre, (bx, by)) > 5


def test_a_cut_bears_scissors():
    texts = [e.text for e in visual.draw(network("lstm", 1, False, 4, cut=2)).elements if isinstance(e, Text)]
    assert texts.count("✂") == 3, "one on each cut edge (h and c), one in the key"


def test_colour_is_the_norm_and_width_the_projection():
    arrows = {a.target: a for a in backward(visual.draw(network("rnn", 1, False, 6), gradients=True))}
    row = [arrows[f"l0.fwd.t{t}"] for t in range(5)]
    assert [a.width for a in row] == sorted(a.width for a in row)
    assert len({a.colour for a in row}) == 5


def test_the_sign_is_in_the_line_style():
    graph = network("rnn", 1, False, 3)
    back = {(a.source, a.target): a.dash for a in backward(visual.draw(graph, gradients=True))}
    for edge in graph.edges:
        if (edge.target, edge.source) in back:
            assert back[edge.target, edge.source] == ("dotted" if edge.projection < 0 else "dashed")


def test_the_key_names_ranges_and_says_when_nothing_was_computed():
    def key(picture):
        return " ".join(e.text for e in picture.elements if isinstance(e, Text))

    said = key(visual.draw(network("gru", 1, False, 3), gradients=True))
    for words in (
        "‖g_edge‖",
        "log scale",
        "0.8",
        "exactly zero",
        "NaN",
        "not computed",
        "projection",
        "‖dW_t‖",
    ):
        assert words in said
    unmeasured = visual.draw(network("gru", 1, False, 3, measured=False), gradients=True)
    assert "gradients not computed" in key(unmeasured)
    assert not backward(unmeasured)


def test_notes_of_the_graph_are_printed():
    graph = network("gru")._replace(notes=("replayed from its definition",))
    picture = visual.draw(graph)
    assert "replayed from its definition" in [e.text for e in picture.elements if isinstance(e, Text)]
    assert "replayed from its definition" in picture.desc


def test_the_table_holds_every_node_and_edge():
    graph = network("lstm", 1, True, 3)
    lines = visual.draw(graph, gradients=True).table.splitlines()
    assert len(lines) == 1 + len(graph.nodes) + len(graph.edges)


# -- long sequences --------------------------------------------------------------------------------------


def folds(picture: Picture) -> list[Box]:
    return [box for box in picture.boxes if "kind-fold" in box.classes]


def steps_shown(picture: Picture) -> set[int]:
    return {
        int(c[2:]) for b in picture.boxes if "kind-cell" in b.classes for c in b.classes if c.startswith("t-")
    }


def test_a_fold_names_its_range_steps_and_norms():
    picture = visual.draw(network("gru", 1, False, 300, rate=0.99), gradients=True)
    (cell,) = [box for box in folds(picture) if box.id.startswith("l0")]
    assert cell.id == "l0.fwd.t3-t296"
    for words in ("t = 3 … 296", "294 steps", "min", "median", "max"):
        assert words in cell.title
    assert {0, 1, 2, 297, 298, 299} == steps_shown(picture)


def test_short_sequences_stay_whole_and_thresholds_are_the_levels():
    assert not folds(visual.draw(network("gru", 1, False, 200)))
    assert folds(visual.draw(network("gru", 1, False, 201)))
    assert not folds(visual.draw(network("gru", 1, False, 40, "gate")))
    assert folds(visual.draw(network("gru", 1, False, 41, "gate")))
    assert not folds(visual.draw(network("gru", 1, False, 300), fold=False))
    assert folds(visual.draw(network("gru", 1, False, 30), fold=20))


def test_the_focus_stays_open():
    assert {150, 151, 152} <= steps_shown(visual.draw(network("gru", 1, False, 300), focus=range(150, 153)))
    assert 77 in steps_shown(visual.draw(network("gru", 1, False, 300), focus=77))


def test_a_fold_hides_no_nan_no_cut_no_loss_no_extreme():
    graph = network("gru", 1, False, 400, rate=1.0, cut=100)
    strange = {"l0.fwd.t50": math.nan, "l0.fwd.t210": 1e-9, "l0.fwd.t220": 1e9}
    nodes = tuple(v._replace(norm=strange.get(v.id, v.norm)) for v in graph.nodes)
    nodes += (Vertex("loss.t300", "sum", "output", time=300),)
    edges = (*graph.edges, Edge("l0.fwd.t300", "loss.t300"))
    picture = visual.draw(graph._replace(nodes=nodes, edges=edges), gradients=True)
    assert {50, 99, 100, 210, 220, 300} <= steps_shown(picture)
    assert "loss.t300" in place(picture)


def test_what_is_too_much_to_keep_is_counted():
    picture = visual.draw(network("gru", 1, False, 300, every=True), gradients=True)
    assert any("294 losses" in box.title for box in folds(picture))


def test_cuts_in_a_fold_are_counted_once_each():
    graph = network("lstm", 1, False, 300)
    cut = {f"l0.fwd.t{t}" for t in range(10, 300, 20)}
    edges = (e._replace(cut=e.source.startswith("l0.fwd") and e.target in cut) for e in graph.edges)
    titles = [box.title for box in folds(visual.draw(graph._replace(edges=tuple(edges)), fold=True))]
    said = [re.search(r"t = (\d+) … (\d+).*? (\d+) cuts", title) for title in titles]
    (first, last, count), *_ = (map(int, found.groups()) for found in said if found)
    assert count == len([t for t in range(10, 300, 20) if first < t <= last]) > 8


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_way_on_from_a_fold_to_a_state_is_straight(kind):
    picture = visual.draw(network(kind, 1, False, 100, "gate", pre=True), focus=50)
    state = "c" if kind == "lstm" else "h"
    ways = [a for a in picture.arrows if "-t" in a.source and a.target.endswith(f".{state}")]
    rail = [a for a in ways if all(abs(y - a.points[0][1]) < 0.5 for _, y in a.points)]
    assert len(ways) >= 2 and rail == ways


def test_folded_arrows_join_what_is_drawn():
    picture = visual.draw(network("lstm", 2, True, 500), gradients=True, focus=250)
    ids = set(place(picture))
    assert {a.source for a in picture.arrows} | {a.target for a in picture.arrows} <= ids
    assert {"l1.rev.t3-t248", "l1.rev.t252-t496"} <= ids


def test_bins_show_the_largest_not_only_the_median():
    graph = network("gru", 1, False, 400, rate=1.0)
    nodes = tuple(v._replace(norm=5.0) if v.id in ("l0.fwd.t150", "l0.fwd.t200") else v for v in graph.nodes)
    picture = visual.draw(graph._replace(nodes=nodes), gradients=True, focus=200)
    strips = [e for e in picture.elements if isinstance(e, Strip) and "bins" in e.classes]
    assert any(
        len(set(median)) == 1 and len(set(largest)) == 2 for median, largest in (s.colours for s in strips)
    )


def test_ten_thousand_steps_fold_in_a_second_and_a_megabyte():
    graph = network("gru", 2, True, 10_000, rate=0.999)
    start = time.process_time()
    content = visual.draw(graph, gradients=True).pipe("svg")
    assert time.process_time() - start < 3.0, "1 s alone on a machine; three where others share it"
    assert len(content) < 1_000_000
