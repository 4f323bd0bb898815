"""SVG and DOT hold the graph and nothing else, whatever labels say; files are written whole or not at all."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from networks import network

import tinygrad_rnn as tg
import visual
from tinygrad_rnn.trace import Edge, Graph, Vertex
from visual import dot as dot_writer
from visual.picture import Box, Picture, text_width

SVG = "{http://www.w3.org/2000/svg}"

HOSTILE = [
    "<script>alert(1)</script>",
    '" onload="alert(1)',
    "' onmouseover='alert(1)",
    "</title></svg><script/>",
    "]]><!--",
    "&lt;b&gt; &amp;",
    "\\N \\L \\G",
    "trailing backslash \\",
    "<<b>bold</b>>",
    "a\x00b\x07c\x1b[31md\x0b",
    "\ud800 lone surrogate \uffff",
    "javascript:alert(1)",
    "a:b:c",
    "{a|b}",
    "漢字 🙂",
    "x" * 500,
]


def hostile_graph(text: str) -> Graph:
    """Every free text of a graph says `text`."""
    nodes = (
        Vertex("x.t0", "input", "input", text, formula=text, rules=(text,), time=0),
        Vertex("l0.fwd.t0", "cell", "cell", text, module=text, layer=0, direction="forward", time=0),
        Vertex(f"{text}.weight", "parameter", "parameter", text),
        Vertex(f"{text}", text, "output", text),
    )
    edges = (
        Edge("x.t0", "l0.fwd.t0", via=text, norm=1.0, projection=1.0),
        Edge(f"{text}.weight", "l0.fwd.t0", norm=1.0),
        Edge("l0.fwd.t0", f"{text}", norm=1.0, projection=-1.0),
    )
    return Graph(nodes, edges, "cell", (text,))


def tree(picture: Picture) -> ElementTree.Element:
    return ElementTree.fromstring(picture.pipe("svg"))


def classes(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [g for g in root.iter(f"{SVG}g") if name in g.get("class", "").split()]


def parsed_dot(source: str, dot: str) -> str:
    """The source as Graphviz itself reads it and writes it again: a statement a line."""
    canon = [dot, "-Kneato", "-n2", "-Tcanon"]
    run = subprocess.run(canon, input=source, capture_output=True, text=True, check=True)
    assert "syntax error" not in run.stderr
    return re.sub(r",\n\s*", ", ", run.stdout.replace("\\\n", ""))


# -- SVG -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["cell", "gate"])
def test_svg_has_a_group_for_each_vertex_and_edge(level):
    graph = network("lstm", 2, True, 3, level, cut=1)
    root = tree(visual.draw(graph, gradients=True))
    assert Counter(g.get("id") for g in classes(root, "node")) == Counter(f"p-{v.id}" for v in graph.nodes)
    edges = classes(root, "edge")
    assert len(edges) - len([g for g in edges if "backward" in g.get("class")]) == len(graph.edges)
    ids = [g.get("id") for g in root.iter(f"{SVG}g") if g.get("id")]
    assert len(ids) == len(set(ids))


def test_svg_classes_say_where_a_node_stands():
    root = tree(visual.draw(network("lstm", 2, True, 3, "gate")))
    (node,) = [g for g in classes(root, "node") if g.get("id") == "p-l1.rev.t2.f"]
    assert node.get("class").split() == ["node", "kind-gate", "layer-1", "dir-rev", "t-2", "gate-f"]


def test_svg_is_named_for_those_who_cannot_see_it():
    root = tree(visual.draw(network(), title="A network"))
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "A network"
    assert "edges" in root.find(f"{SVG}desc").text
    named = root.get("aria-labelledby").split()
    assert named == [root.find(f"{SVG}title").get("id"), root.find(f"{SVG}desc").get("id")]


def test_in_svg_x_grows_with_time_and_higher_layers_stand_higher():
    root = tree(visual.draw(network("gru", 2, False, 3)))
    at = {}
    for node in classes(root, "node"):
        rect = node.find(f"{SVG}rect")
        at[node.get("id")] = float(rect.get("x")), float(rect.get("y"))
    assert at["p-l0.fwd.t0"][0] < at["p-l0.fwd.t1"][0] < at["p-l0.fwd.t2"][0]
    assert at["p-l1.fwd.t0"][1] < at["p-l0.fwd.t0"][1] < at["p-x.t0"][1]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_labels_are_inert_in_svg(text):
    picture = visual.draw(
        hostile_graph(text), gradients=True, tokens=[text], title=text, style={"font": text}
    )
    root = tree(picture)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "g", "rect", "circle", "path", "polygon", "text"}
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on") and "href" not in name
            assert name in ("font-family", "class") or "script:" not in value
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", picture.pipe("svg").decode())
    assert len(classes(root, "node")) == 4


VIEWS = {
    "heatmap": lambda text: visual.heatmap(FLOW, title=text, tokens=[text] * 3, names=None),
    "heatmaps": lambda text: visual.heatmap([FLOW, FLOW], title=text, names=[text, text]),
    "influence": lambda text: visual.influence([[1.0, 0.5], [0.0, 1.0]], title=text),
    "attention": lambda text: visual.attention([[1.0]], [text], [text], title=text),
    "compare": lambda text: visual.compare(hostile_graph(text), network(), (text, text), title=text),
    "rolled": lambda text: visual.rolled(hostile_graph(text), title=text),
    "upward": lambda text: visual.draw(upward(text), title=text, gradients=True),
    "fold": lambda text: visual.draw(network(steps=300), tokens=[text] * 300, title=text, focus=150),
}
FLOW = SimpleNamespace(h=[[[1.0, 0.0, math.nan]]], c=[[[1.0, 0.0, math.inf]]])


def upward(text: str) -> Graph:
    """The hostile graph without time."""
    graph = hostile_graph(text)
    return graph._replace(nodes=tuple(v._replace(time=None, layer=None) for v in graph.nodes))


@pytest.mark.parametrize("view", VIEWS)
def test_no_text_of_a_user_gets_out_of_its_place_in_any_view(view, dot):
    for text in HOSTILE:
        picture = VIEWS[view](text)
        content = picture.pipe("svg").decode()
        root = ElementTree.fromstring(content)
        assert {e.tag.removeprefix(SVG) for e in root.iter()} <= {
            "svg", "title", "desc", "g", "rect", "circle", "path", "text",
        }  # fmt: skip
        names = {name for e in root.iter() for name in e.attrib}
        assert not {n for n in names if n.startswith("on") or "href" in n or n == "style"}
        ids = [e.get("id") for e in root.iter() if e.get("id")]
        assert len(ids) == len(set(ids)) and not any(":" in name for name in ids)
        assert content.count("://") == content.count("http://www.w3.org/2000/svg") == 1
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", content)
        for box in picture.boxes:
            assert all(text_width(line, box.size) <= box.width + 1 for line in box.label.split("\n")), box.id
        parsed_dot(picture.source, dot)


def test_names_that_are_written_alike_stay_apart(dot):
    names = ["a:b", "a_b", "mark.7", "a b", "A_b", "title"]
    nodes = tuple(Vertex(name, "input", "input", name) for name in names)
    edges = tuple(Edge(name, "sum", slot=k) for k, name in enumerate(names))
    picture = visual.draw(Graph((*nodes, Vertex("sum", "sum", "output")), edges))
    written = {g.get("id") for g in classes(tree(picture), "node")}
    ids = [e.get("id") for e in tree(picture).iter() if e.get("id")]
    assert len(written) == 7 and {"p-a_b", "p-mark.7"} <= written and len(ids) == len(set(ids))
    assert len({a.id for a in picture.arrows}) == 6 and {b.label for b in picture.boxes} >= {*names}
    lines = parsed_dot(picture.source, dot).splitlines()
    assert len([line for line in lines if 'class="node' in line]) == 7
    assert all(line.split("[")[0].strip().startswith('"mark ') for line in lines if "class=mark" in line)


@pytest.mark.parametrize("value", ["<b>", '#fff" onload="x', "url(http://x)", "", "#12345", "red;x"])
def test_a_style_that_is_no_colour_is_refused(value):
    with pytest.raises(ValueError, match=r"expected 'cell\.fill' as '#rrggbb' or a colour's name, got"):
        visual.draw(network(), style={"cell.fill": value})


@pytest.mark.parametrize("name", ["-Tpng.svg", "a; touch b.svg", "$(id).svg", "<b>&.svg", "漢字 🙂.svg"])
def test_a_hostile_file_name_is_only_a_name(name, tmp_path):
    path = visual.draw(network()).render(tmp_path / name)
    assert list(tmp_path.iterdir()) == [path] and path.name == name


# -- DOT -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["cell", "gate"])
def test_dot_has_the_graphs_nodes_and_edges_and_nothing_else(level, dot):
    graph = network("lstm", 2, True, 3, level, cut=1)
    picture = visual.draw(graph, gradients=True)
    lines = parsed_dot(picture.source, dot).splitlines()
    drawn = [re.search(r"class=\"?(edge[\w ]*)", line)[1].split() for line in lines if "->" in line]
    assert len([c for c in drawn if "backward" not in c]) == len(graph.edges)
    assert len([c for c in drawn if "backward" in c]) == len(
        [a for a in picture.arrows if "backward" in a.classes]
    )
    assert len([line for line in lines if 'class="node' in line]) == len(graph.nodes)


def test_dot_and_svg_put_everything_in_the_same_place():
    picture = visual.draw(network("gru", 2, True, 3))
    pinned = {}
    for line in picture.source.splitlines():
        found = re.search(r'^\t"?([\w.]+)"? \[.*pos="([-\d.]+),([-\d.]+)!"', line)
        if found and not found[1].startswith("mark."):
            pinned[found[1]] = float(found[2]), float(found[3])
    assert pinned == {
        b.id: (pytest.approx(b.x, abs=0.06), pytest.approx(b.y, abs=0.06)) for b in picture.boxes
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_labels_are_inert_in_dot(text, dot):
    source = visual.draw(hostile_graph(text), gradients=True, tokens=[text], title=text).source
    read = parsed_dot(source, dot)
    assert "label=<" not in read and "URL" not in read and "href" not in read and "shape=record" not in read
    assert len([line for line in read.splitlines() if 'class="node' in line]) == 4
    run = subprocess.run(
        [dot, "-Kneato", "-n2", "-Tsvg"], input=source, capture_output=True, text=True, check=True
    )
    shown = ElementTree.fromstring(run.stdout)
    assert {e.tag.removeprefix(SVG) for e in shown.iter()} <= {
        "svg", "g", "title", "polygon", "path", "text", "ellipse", "a", "polyline",
    }  # fmt: skip
    assert not [e for e in shown.iter() if any(name.startswith("on") for name in e.attrib)]


def test_backslash_letters_are_shown_as_written(dot):
    source = Picture(90, 40, (Box("n", 45, 20, 80, 30, r"\N and \L", classes=("node",)),)).source
    run = subprocess.run(
        [dot, "-Kneato", "-n2", "-Tsvg"], input=source, capture_output=True, text=True, check=True
    )
    assert [e.text for e in ElementTree.fromstring(run.stdout).iter(f"{SVG}text")] == [r"\N and \L"]


# -- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<svg"), ("dot", b"digraph")]
)
def test_the_suffix_names_the_format(suffix, magic, tmp_path, dot):
    path = visual.draw(network("lstm", 2, True, 40), gradients=True).render(tmp_path / f"picture.{suffix}")
    assert path.read_bytes().startswith(magic)
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_format_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="expected a format among svg, png, pdf, dot, got 'jpeg'"):
        visual.draw(network()).render(tmp_path / "picture.jpeg")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "picture.svg"
    path.write_text("before")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        visual.draw(network()).render(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_without_graphviz_svg_and_dot_are_written_and_png_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    picture = visual.draw(network())
    assert picture.render(tmp_path / "a.svg").exists()
    assert picture.render(tmp_path / "a.dot").exists()
    for suffix in ("png", "pdf"):
        with pytest.raises(
            RuntimeError, match=r"needs Graphviz, which is not installed: apt install graphviz"
        ):
            picture.render(tmp_path / f"a.{suffix}")
    assert {path.name for path in tmp_path.iterdir()} == {"a.svg", "a.dot"}


def test_a_png_too_large_is_refused():
    with pytest.raises(ValueError, match="40000 × 100 pixels is past the limit of 32767"):
        Picture(40_000, 100, ()).pipe("png")


def test_a_pdf_page_is_never_larger_than_readers_open(dot):
    content = Picture(40_000, 100, (Box("n", 20_000, 50, 80, 30, "n", classes=("node",)),)).pipe("pdf")
    (box,) = re.findall(rb"/MediaBox \[\s*0 0 ([\d.]+) ([\d.]+)", content)
    assert max(map(float, box)) <= 14_401


def test_nothing_ever_goes_through_a_shell():
    for path in Path(visual.__file__).parent.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"shell\s*=\s*True|os\.system|os\.popen", source), path
        assert path.name == "dot.py" or "subprocess" not in source, path


@pytest.mark.parametrize("level", ["cell", "gate"])
def test_labels_fit_their_boxes_in_the_widest_of_common_fonts(level):
    for box in visual.draw(network("lstm", 2, True, 3, level, every=True)).boxes:
        for line in box.label.split("\n"):
            assert text_width(line, box.size) <= box.width


def test_graphviz_gets_no_more_than_its_time(monkeypatch, dot):
    monkeypatch.setattr(dot_writer, "TIME_LIMIT", 1e-4)
    with pytest.raises(RuntimeError, match="Graphviz took more than"):
        visual.draw(network()).pipe("png")


def test_a_picture_shows_itself_in_a_notebook_and_saves_its_source(tmp_path):
    picture = visual.draw(network())
    assert picture._repr_mimebundle_()["image/svg+xml"].startswith("<svg")
    assert picture.save(tmp_path / "a.gv").read_text(encoding="utf-8") == picture.source
    with pytest.raises(ValueError, match=r"ends in \.dot or \.gv"):
        picture.save(tmp_path / "a.png")


def test_two_pictures_of_one_notebook_have_no_id_in_common_and_one_has_the_same_at_every_run():
    light, dark, again = (visual.draw(network(), theme=theme) for theme in ("light", "dark", "light"))
    shown = [p._repr_mimebundle_()["image/svg+xml"] for p in (light, dark, again)]
    one, two = (set(re.findall(r' id="([^"]+)"', svg)) for svg in shown[:2])
    assert len(one) == len(two) > 20 and not one & two and shown[0] == shown[2]


def test_neither_picture_nor_graph_nor_flow_floods_a_terminal():
    loss = tg.nn.RNN(2, 3)(tg.randn(20, 1, 2))[0].sum()
    flow = tg.flow(loss)
    for shown in (visual.draw(flow), flow, flow.graph("cell")):
        assert len(repr(shown)) < 200


# -- style -----------------------------------------------------------------------------------------------


def test_themes_differ_and_names_can_be_overridden():
    light, dark = visual.draw(network()), visual.draw(network(), theme="dark")
    assert light.page == "#ffffff" and dark.page != light.page
    mine = visual.draw(network(), style={"cell.line": "#123456"})
    assert {b.line for b in mine.boxes if "kind-cell" in b.classes} == {"#123456"}
    assert "#123456" in mine.pipe("svg").decode() and "#123456" in mine.source


def test_a_wrong_theme_style_level_or_fold_gets_one_sentence():
    graph = network()
    for wrong, said in (
        ({"theme": "sepia"}, "expected theme 'light' or 'dark', got 'sepia'"),
        ({"style": {"cel.line": "#000000"}}, "did you mean 'cell.line'?"),
        ({"level": "atom"}, "expected a level among cell, gate, op, layer, got 'atom'"),
        ({"level": "op"}, "a Graph at level 'cell' cannot be drawn at 'op'"),
        ({"fold": 0}, "got 0"),
    ):
        with pytest.raises(ValueError) as error:
            visual.draw(graph, **wrong)
        assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("projection", [math.nan, math.inf, -math.inf])
def test_an_edge_whose_share_is_no_number_is_drawn_all_the_same(projection):
    nodes = [Vertex(f"l0.fwd.t{t}", "cell", "cell", layer=0, direction="forward", time=t) for t in (0, 1)]
    edges = (Edge("l0.fwd.t0", "l0.fwd.t1", norm=0.5, projection=projection),)
    text = visual.draw(Graph(tuple(nodes), edges, "cell"), gradients=True).pipe("svg").decode()
    (back,) = classes(ElementTree.fromstring(text), "backward")
    numbers = "".join(value for path in back.iter(f"{SVG}path") for value in path.attrib.values())
    assert "nan" not in numbers and "inf" not in numbers


def test_names_and_words_beside_clean_ones_are_escaped():
    """Whether anything must be escaped is asked once for many elements: one of them is enough."""
    boxes = [Box(f"b{k}", 5.0 * k, 5, 4, 4, "b", classes=("node",), title="x → h · 2") for k in range(2000)]
    for k, bad in ((3, "a<b"), (700, "a\x00b"), (1400, "\ud800"), (1999, "\x9f\ufffe&")):
        boxes[k].id, boxes[k].title, boxes[k].label = f"{bad} {k}", bad, bad
    root = ElementTree.fromstring(Picture(9, 9, tuple(boxes)).pipe("svg"))
    titles = [g.find(f"{SVG}title").text for g in classes(root, "node")]
    assert [titles[k] for k in (3, 700, 1400, 1999, 5)] == ["a<b", "ab", None, "&", "x → h · 2"]
    assert all(re.fullmatch(r"p-[\w.\-]+", g.get("id")) for g in classes(root, "node"))
