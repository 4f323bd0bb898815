"""The command line writes one picture, or one sentence and nothing else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tinygrad_rnn as tg
from visual.cli import main


def refused(capsys, *arguments: str) -> str:
    """What the command says when it refuses; it must be one line, with exit code 2."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("tinygrad-rnn: ")
    return err


@pytest.mark.parametrize("network", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("level", ["layer", "cell", "gate", "op"])
def test_every_network_is_drawn_at_every_level(network, level, tmp_path, capsys):
    path = tmp_path / "net.svg"
    options = ["--layers", "2", "--bidirectional", "--steps", "3", "--hidden", "3", "--gradients"]
    assert main([network, *options, "--level", level, "-o", str(path)]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    ET.parse(path)
    assert [p.name for p in tmp_path.iterdir()] == ["net.svg"]


def test_a_text_gives_one_step_per_letter_and_shows_the_letters(tmp_path):
    path = tmp_path / "text.svg"
    assert main(["rnn", "--text", "zebra", "-o", str(path)]) == 0
    words = [t.strip() for t in ET.parse(path).getroot().itertext() if t.strip()]
    assert all(letter in words for letter in "zebra")


def test_a_series_gives_one_step_per_line(tmp_path):
    data, path = tmp_path / "series.csv", tmp_path / "series.svg"
    data.write_text("1.0, 2\n2.5, 3\n\n-1, 7\n")
    assert main(["gru", "--series", str(data), "-o", str(path)]) == 0
    ids = {g.get("id", "") for g in ET.parse(path).getroot().iter("{http://www.w3.org/2000/svg}g")}
    steps = {t for t in range(9) if any(i.endswith(f"l0.fwd.t{t}") for i in ids)}
    assert steps == {0, 1, 2}
    data.write_text("112\n118.5\n132\n")
    assert main(["gru", "--series", str(data), "-o", str(path)]) == 0
    assert {">112<", ">118.5<", ">132<"} <= set(re.findall(r">[\d.]+<", path.read_text(encoding="utf-8")))


def test_steps_without_tokens_are_not_numbered_twice(tmp_path):
    path = tmp_path / "plain.svg"
    assert main(["rnn", "--steps", "3", "-o", str(path)]) == 0
    texts = re.findall(r">([^<>\n]+)</text>", path.read_text(encoding="utf-8"))
    assert [texts.count(t) for t in "012"] == [1, 1, 1] and texts.count("x") == 3


def test_a_saved_network_reads_a_text_of_the_users(tmp_path, capsys):
    weights, path = tmp_path / "net.safetensors", tmp_path / "net.svg"
    tg.save_network(tg.nn.SequenceClassifier("abc", ["short", "long"], hidden_size=3), weights)
    assert main([str(weights), "--text", "cab", "--gradients", "-o", str(path)]) == 0
    assert "net.safetensors reads “cab”" in path.read_text(encoding="utf-8")
    capsys.readouterr()
    assert "got 'dog' with 'd', 'g', 'o'" in refused(capsys, str(weights), "--text", "dog", "-o", str(path))
    assert "expected --text" in refused(capsys, str(weights), "-o", str(path))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnn", "--steps", "0", "-o", "x.svg"], "expected --steps of at least 1, got 0"),
        (["rnn", "--layers", "-1", "-o", "x.svg"], "expected --layers of at least 1, got -1"),
        (["rnn", "-o", "x.bmp"], "expected an output that ends in one of svg, png, pdf, dot, got 'x.bmp'"),
        (["rnn", "-o", "nowhere/x.svg"], "expected an existing folder to write into, got 'nowhere'"),
        (["transformer", "-o", "x.svg"], "got 'transformer', which does not exist"),
        (["lost.safetensors", "--text", "a", "-o", "x.svg"], "got 'lost.safetensors', which does not exist"),
        (["rnn", "--series", "lost.csv", "-o", "x.svg"], "got 'lost.csv', which does not exist"),
        (["rnn", "--text", "", "-o", "x.svg"], "expected a --text of at least one character"),
        (["rnn", "--text", "a", "--steps", "3", "-o", "x.svg"], "got --text and --steps"),
        (["rnn", "--focus", "99", "--steps", "3", "-o", "x.svg"], "a step from 0 to 2, got 99"),
        (["rnn", "--view", "compare", "-o", "x.svg"], "expected --view compare and --with together"),
        (["rnn", "--with", "gru", "-o", "x.svg"], "expected --view compare and --with together"),
        (["rnn", "--lengths", "3,x", "-o", "x.svg"], "numbers between commas, got '3,x'"),
        (["rnn", "--lengths", "3,9", "--steps", "4", "-o", "x.svg"], "from 1 to 4, the longest, got [3, 9]"),
        (["rnn", "--truncate", "2", "--bidirectional", "-o", "x.svg"], "without --bidirectional"),
        (["rnn", "--truncate", "0", "-o", "x.svg"], "expected --truncate of at least 1, got 0"),
        (["feedforward", "--view", "heatmap", "-o", "x.svg"], "reaches no state h"),
        (["feedforward", "--view", "influence", "-o", "x.svg"], "an output at every step, got feedforward"),
        (["feedforward", "--view", "rolled", "-o", "x.svg"], "expected a recurrent network to roll up"),
        (["rnn", "--level", "atom", "-o", "x.svg"], "invalid choice: 'atom'"),
        (["rnn", "--nonsense", "-o", "x.svg"], "unrecognized arguments: --nonsense"),
        (["rnn"], "the following arguments are required: -o/--output"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_file(arguments, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def drawn(tmp_path, *arguments: str) -> ET.Element:
    """The root of the SVG that the command writes."""
    path = tmp_path / "drawn.svg"
    assert main([*arguments, "-o", str(path)]) == 0
    return ET.parse(path).getroot()


def marked(root: ET.Element, name: str) -> list[str]:
    """The ids of all groups of a class."""
    groups = root.iter("{http://www.w3.org/2000/svg}g")
    return [g.get("id", "") for g in groups if name in g.get("class", "").split()]


def test_every_view_is_drawn(tmp_path):
    steps = ["--steps", "4", "--hidden", "3"]
    rolled = drawn(tmp_path, "gru", "--view", "rolled", *steps)
    assert len(marked(rolled, "loop")) == 1 and len(marked(rolled, "kind-cell")) == 5
    heat = drawn(tmp_path, "lstm", "--view", "heatmap", *steps)
    assert {i.strip("_")[-1] for i in marked(heat, "heat")} == {"h", "c"}
    assert len(marked(drawn(tmp_path, "rnn", "--view", "influence", *steps), "heat")) == 1
    both = drawn(tmp_path, "rnn", "--view", "compare", "--with", "lstm", *steps)
    cells = marked(both, "kind-cell")
    assert {i[:4] for i in cells} == {"p-a.", "p-b."} and len(cells) == 8 and marked(both, "difference")


def test_truncation_cuts_and_lengths_make_a_batch(tmp_path):
    cut = drawn(tmp_path, "gru", "--steps", "6", "--truncate", "2", "--loss", "every", "--gradients")
    assert marked(cut, "cut") == ["p-l0.fwd.t1--l0.fwd.t2", "p-l0.fwd.t3--l0.fwd.t4"]
    ragged = drawn(tmp_path, "lstm", "--lengths", "3,5,2", "--gradients", "--loss", "every")
    assert len(marked(ragged, "kind-cell")) == 5 and any("where" in i for i in marked(ragged, "node"))


def test_without_time_the_operations_are_drawn(tmp_path):
    root = drawn(tmp_path, "feedforward", "--layers", "2", "--gradients")
    assert not marked(root, "kind-cell") and len(marked(root, "kind-parameter")) == 4


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_the_size_of_a_network_is_read_off_its_saved_weights(kind, tmp_path):
    net = tg.nn.Sequential(getattr(tg.nn, kind)(5, 3, 2, bidirectional=True))
    weights = tmp_path / "net.safetensors"
    tg.save(net.state_dict(), weights)
    root = drawn(tmp_path, str(weights), "--steps", "4")
    assert len(marked(root, "kind-cell")) == 2 * 2 * 4 and len(marked(root, "kind-parameter")) == 16
    assert f"{kind}, 2 layers, bidirectional, 3 features" in "".join(root.itertext())


def test_saved_weights_are_those_that_run(tmp_path):
    weights, net = tmp_path / "net.safetensors", tg.nn.RNN(4, 3)
    tables = []
    for scale in (1.0, 1.0, 0.0):
        net.weight_hh_l0.data[...] *= scale
        tg.save(net.state_dict(), weights)
        root = drawn(tmp_path, str(weights), "--gradients")
        tables.append([t.text for t in root.iter("{http://www.w3.org/2000/svg}title")])
    assert tables[0] == tables[1] != tables[2]


def test_numbers_that_are_none_are_named_with_their_line(tmp_path, capsys):
    data = tmp_path / "series.csv"
    data.write_text("1\ntwo\n")
    assert "line 2" in refused(capsys, "rnn", "--series", str(data), "-o", str(tmp_path / "x.svg"))
    data.write_text("1 2\n3\n")
    assert "got [1, 2]" in refused(capsys, "rnn", "--series", str(data), "-o", str(tmp_path / "x.svg"))


def test_a_foreign_weights_file_is_refused(tmp_path, capsys):
    weights = tmp_path / "net.safetensors"
    tg.save({"w": np.ones(3)}, weights)
    assert "expected" in refused(capsys, str(weights), "--text", "a", "-o", str(tmp_path / "x.svg"))
    weights.write_bytes(b"no safetensors")
    said = refused(capsys, str(weights), "--text", "a", "-o", str(tmp_path / "x.svg"))
    assert "expected a safetensors file" in said


def test_without_dot_a_png_is_refused_and_an_svg_is_not(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "dot" in refused(capsys, "rnn", "-o", str(tmp_path / "x.png"))
    assert list(tmp_path.iterdir()) == []
    assert main(["rnn", "-o", str(tmp_path / "x.svg")]) == 0


def test_the_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "python -m visual lstm --layers 2 --bidirectional" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_picture(tmp_path):
    a, b, c = (tmp_path / f"{name}.svg" for name in "abc")
    for path, seed in ((a, "1"), (b, "1"), (c, "2")):
        assert main(["lstm", "--gradients", "--seed", seed, "-o", str(path)]) == 0
    assert a.read_bytes() == b.read_bytes() != c.read_bytes()
