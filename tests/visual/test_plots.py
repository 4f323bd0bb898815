"""A heatmap's colours are its numbers."""

from __future__ import annotations

import math
import re
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from networks import network

import tinygrad_rnn as tg
import visual
from visual.picture import Strip, Text
from visual.plots import MOST, plot_heatmap, plot_influence, plot_weight_gradients
from visual.style import Style, style

pytestmark = pytest.mark.usefixtures("device")

SVG = "{http://www.w3.org/2000/svg}"
DENSE = 20_000


def decoded(colours: list[str], table: Style, low: float, high: float) -> np.ndarray:
    """The norms that colours stand for: the nearest colour of the legend's ramp, read off its log scale."""
    shares = np.linspace(0, 1, DENSE)
    ramp = np.array([list(bytes.fromhex(table.shade(s)[1:])) for s in shares], dtype=float)
    wanted = np.array([list(bytes.fromhex(c[1:])) for c in colours], dtype=float)
    nearest = [
        np.flatnonzero((d := np.square(ramp - w).sum(1)) == d.min()).mean() / (DENSE - 1) for w in wanted
    ]
    return low * (high / low) ** np.array(nearest)


def flow_of(rng, layers=2, directions=2, steps=9, c=True):
    h = 10.0 ** rng.uniform(-6, 1, (layers, directions, steps))
    return SimpleNamespace(h=h, c=h * 3 if c else None)


def strips(picture):
    return {e.id: e for e in picture.elements if isinstance(e, Strip) and e.id.startswith("strip")}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_decode_to_the_norms(theme, rng):
    flow = flow_of(rng)
    picture = visual.heatmap(flow, theme=theme)
    low, high = flow.h.min(), flow.c.max()
    for name, values in (("‖∂L/∂h‖", flow.h), ("‖∂L/∂c‖", flow.c)):
        colours = [c for row in strips(picture)[f"strip.{name}"].colours for c in row]
        found = decoded(colours, style(theme), low, high)
        assert np.abs(np.log(found / values.ravel())).max() < 0.01 * math.log(high / low)


def test_pixels_of_the_svg_are_the_norms_in_place(rng):
    flow = flow_of(rng, layers=3, directions=1, steps=7, c=False)
    root = ElementTree.fromstring(visual.heatmap(flow).pipe("svg"))
    (group,) = [g for g in root.iter(f"{SVG}g") if g.get("class") == "heat"]
    cells = [r for r in group.iter(f"{SVG}rect")]
    xs = sorted({float(r.get("x")) for r in cells})
    ys = sorted({float(r.get("y")) for r in cells}, reverse=True)
    assert (len(xs), len(ys)) == (7, 3)
    seen = np.full((3, 7), np.nan)
    values = decoded([r.get("fill") for r in cells], style(), flow.h.min(), flow.h.max())
    for rect, value in zip(cells, values, strict=True):
        seen[ys.index(float(rect.get("y"))), xs.index(float(rect.get("x")))] = value
    assert np.abs(np.log(seen / flow.h[:, 0])).max() < 0.01 * math.log(flow.h.max() / flow.h.min())


def test_missing_zero_and_infinite_each_look_their_own(rng):
    flow = flow_of(rng, c=False)
    flow.h[0, 0, :3] = math.nan, 0.0, math.inf
    picture = visual.heatmap(flow)
    (strip,) = strips(picture).values()
    missing, zero, infinite, *_ = strip.colours[0]
    others = {c for row in strip.colours for c in row} - {missing, zero, infinite}
    assert missing == "none" and len({missing, zero, infinite}) == 3 and len(others) > 20
    assert {"0", "∞"} <= {e.text for e in picture.elements if isinstance(e, Text)}


def test_rows_run_from_the_lowest_layer_up_and_are_named(rng):
    texts = [e for e in visual.heatmap(flow_of(rng, c=False)).elements if isinstance(e, Text)]
    names = {e.text: e.y for e in texts if e.text.startswith("layer")}
    assert sorted(names, key=names.get) == ["layer 0 →", "layer 0 ←", "layer 1 →", "layer 1 ←"]


def test_nothing_computed_is_empty_not_small():
    picture = visual.heatmap(SimpleNamespace(h=np.full((1, 1, 4), math.nan), c=None))
    (strip,) = strips(picture).values()
    assert set(strip.colours[0]) == {"none"}
    assert "not computed" in picture.table


def test_bins_show_the_largest_over_the_median():
    h = np.full((1, 1, 4 * MOST), 1e-3)
    h[0, 0, 777] = 1.0
    (strip,) = strips(visual.heatmap(SimpleNamespace(h=h, c=None))).values()
    median, largest = strip.colours
    assert len(set(median)) == 1 and len(set(largest)) == 2


def test_tokens_stand_under_the_columns(rng):
    picture = visual.heatmap(flow_of(rng, steps=3), tokens=["a", "b", "c"])
    at = {e.text: e.x for e in picture.elements if isinstance(e, Text)}
    assert at["a"] < at["b"] < at["c"]


def test_influence_puts_losses_in_rows_and_steps_in_columns():
    matrix = np.array([[1.0, 0.0, 0.0], [0.1, 1.0, 0.0]])
    picture = visual.influence(matrix)
    (strip,) = strips(picture).values()
    assert strip.colours[0][0] == strip.colours[1][1] != strip.colours[1][0]
    assert strip.colours[0][1] == strip.colours[1][2] == style()["faint"]


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((2, 2))])
def test_wrong_shapes_are_named(wrong):
    with pytest.raises(ValueError, match=re.escape(str(wrong.shape))):
        visual.heatmap(SimpleNamespace(h=wrong, c=None))


@pytest.mark.parametrize("view", [visual.heatmap, visual.influence, plot_heatmap, plot_weight_gradients])
def test_a_graph_has_no_norms_over_time_and_is_refused_in_one_sentence(view):
    with pytest.raises(TypeError, match="expected a scalar loss or its Flow, got a Graph: give "):
        view(network())


def test_more_losses_than_rows_share_them_and_the_row_has_the_largest():
    matrix = np.tril(np.full((450, 450), 1e-3))
    matrix[7, 0] = 1.0
    picture = visual.influence(matrix)
    ((name, strip),) = strips(picture).items()
    assert "the largest of 3 losses" in name and len(strip.colours) == 300 and strip.height <= 600
    assert {k for k, row in enumerate(strip.colours) if style().shade(1.0) in row} == {4, 5}
    assert len(picture.rows) == 1 + 150 * 450


def test_matplotlib_tells_zero_and_infinite_from_what_was_not_computed():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    values = np.array([[0.1, 0.0, math.inf, math.nan]])
    for page, theme in (("default", "light"), ("dark_background", "dark")):
        with pyplot.style.context(page):
            ax = plot_influence(values)
            shown = pixels(ax)[0]
            assert ax.get_xlabel() == "time t; grey: exactly zero; orange: infinite"
            for place, name in ((1, "faint"), (2, "alarm")):
                assert "#" + bytes(shown[place].astype(int).tolist()).hex() == style(theme)[name]
            assert len({tuple(c) for c in shown}) == 4
            norms = plot_influence(np.array([[1e-3, 1.0]]))
            small, large = (c.sum() for c in pixels(norms)[0])
            assert (large > small) == (theme == "dark")
    pyplot.close("all")


def test_many_weights_are_named_beside_the_lines_and_each_line_looks_its_own():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    net = tg.nn.LSTM(2, 3, 2, bidirectional=True)
    ax = plot_weight_gradients(net(tg.randn(4, 1, 2))[0].sum())
    ax.figure.canvas.draw()
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == len(ax.lines) == 16
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
    pyplot.close("all")


def test_matplotlib_draws_into_the_given_axes(rng):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    axes = pyplot.subplots(4)[1]
    flow = flow_of(rng, c=False)
    flow.weights = {"w": rng.random(9), "never": np.zeros(9)}
    assert plot_heatmap(flow, axes[0]) is axes[0]
    assert plot_influence(np.eye(3), axes[1]) is axes[1]
    assert axes[0].images[0].get_array().shape == (4, 9)
    assert plot_heatmap(flow_of(rng), axes[2]) is axes[2]
    assert axes[2].images[0].get_array().shape == (8, 9)
    assert plot_weight_gradients(flow, axes[3]) is axes[3]
    assert np.array_equal(axes[3].lines[0].get_ydata(), flow.weights["w"])
    pyplot.close("all")


def test_without_matplotlib_the_extra_is_named(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'tinygrad-rnn\[plots\]'"):
        plot_heatmap(flow_of(rng))


def test_several_flows_share_one_scale_and_are_named(rng):
    flows = [flow_of(rng, steps=5), flow_of(rng, layers=1, directions=1, steps=5, c=False)]
    flows[1].h *= 1e-3
    picture = visual.heatmap(flows, names=["LSTM", "RNN"])
    found = strips(picture)
    assert set(found) == {"strip.LSTM, ‖∂L/∂h‖", "strip.LSTM, ‖∂L/∂c‖", "strip.RNN, ‖∂L/∂h‖"}
    low = min(f.h.min() for f in flows)
    colours = list(found["strip.RNN, ‖∂L/∂h‖"].colours[0])
    seen = decoded(colours, style(), low, flows[0].c.max())
    assert np.abs(np.log(seen / flows[1].h.ravel())).max() < 0.01 * math.log(flows[0].c.max() / low)


def test_flows_of_different_lengths_are_refused(rng):
    with pytest.raises(ValueError, match=r"\[4, 5\]"):
        visual.heatmap([flow_of(rng, steps=4), flow_of(rng, steps=5)])
    with pytest.raises(ValueError, match="2 names"):
        visual.heatmap([flow_of(rng), flow_of(rng)], names=["one"])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_loss_reaches_later_steps_only_where_the_network_looks_ahead(bidirectional):
    net = tg.nn.GRU(2, 3, bidirectional=bidirectional)
    y, _ = net(tg.randn(5, 1, 2))
    losses = [(y[t] * y[t]).sum() for t in range(5)]
    whole = losses[0]
    for loss in losses[1:]:
        whole = whole + loss
    flow = tg.flow(whole)
    later = np.triu_indices(5, 1)
    assert np.all(flow.influence(losses)[later] == 0)
    if bidirectional:
        assert np.all(flow.influence(losses, direction="rev")[later] > 0)
    (strip,) = strips(visual.influence(flow, losses)).values()
    assert strip.colours[0][1] == style()["faint"] != strip.colours[1][0]


# -- under the grid --------------------------------------------------------------------------------------


def heat(picture):
    return [e for e in picture.elements if isinstance(e, Strip) and "heat" in e.classes]


@pytest.mark.parametrize("both", [False, True])
def test_the_strip_under_the_grid_has_each_steps_norms_under_its_column(both):
    graph = network("gru", 2, both, 7)
    grown = {("forward", 0): 1.0, ("forward", 1): 3.0, ("reverse", 0): 0.2, ("reverse", 1): 0.5}
    cells = {v.id: grown[v.direction, v.layer] for v in graph.nodes if v.layer is not None}
    nodes = (v._replace(norm=v.norm * cells[v.id]) if v.id in cells else v for v in graph.nodes)
    graph = graph._replace(nodes=tuple(nodes))
    picture = visual.draw(graph, gradients=True)
    columns = {e.x for e in picture.elements if "column" in e.classes}
    strips_ = heat(picture)
    assert {round(s.x + s.width / 2, 6) for s in strips_[::2]} == {round(x, 6) for x in columns}
    norms = {v.id: v.norm for v in graph.nodes if v.kind == "cell"}
    known = [n for e in graph.edges if (n := e.norm)] + list(norms.values())
    rows = [(layer, way) for layer in (0, 1) for way in ("fwd", "rev")[: 1 + both]]
    for t, strip in enumerate(strips_):
        wanted = np.array([norms[f"l{layer}.{way}.t{t}"] for layer, way in rows])
        seen = decoded([row[0] for row in strip.colours], style(), min(known), max(known))
        assert np.abs(np.log(seen / wanted)).max() < 0.02 * math.log(max(known) / min(known))


def test_under_a_fold_the_strip_keeps_the_largest_of_each_bin():
    graph = network("gru", 1, False, 400, rate=1.0)
    nodes = tuple(v._replace(norm=5.0) if v.id == "l0.fwd.t150" else v for v in graph.nodes)
    edges = tuple(e._replace(norm=0.5) for e in graph.edges)
    picture = visual.draw(graph._replace(nodes=nodes, edges=edges), gradients=True, focus=20)
    at = {s.id: s for s in heat(picture)}
    assert len(set(at["heat.t3"].colours[0])) == 1 and len(at["heat.t22"].colours[0]) > 10
    assert at["heat.t150"].colours[0][0] == style().shade(1.0)


def test_without_gradients_or_gates_there_is_no_strip():
    assert not heat(visual.draw(network()))
    assert not heat(visual.draw(network("lstm", level="gate"), gradients=True))


# -- the right way up ------------------------------------------------------------------------------------


def pixels(ax):
    """The matrix of colours as the axes show it: rows from the bottom up, as data coordinates count."""
    figure = ax.figure
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    rows, columns = ax.images[0].get_array().shape
    found = np.zeros((rows, columns, 3))
    for r in range(rows):
        for c in range(columns):
            x, y = ax.transData.transform((c, r))
            found[r, c] = image[image.shape[0] - 1 - round(y), round(x)]
    return found


def test_matplotlib_shows_losses_upward_and_steps_to_the_right():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    matrix = np.array([[1.0, 1e-3, 1e-3], [1e-3, 1e-3, 1e-3]])
    figure, (ax, bx) = pyplot.subplots(2)
    plot_influence(matrix, ax)
    plot_heatmap(SimpleNamespace(h=matrix[:, None], c=None), bx)
    for axes in (ax, bx):
        (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
        assert low < high and left < right
        seen = pixels(axes)
        darkest = np.unravel_index(seen.sum(-1).argmin(), seen.shape[:2])
        assert darkest == (0, 0)
    pyplot.close(figure)
