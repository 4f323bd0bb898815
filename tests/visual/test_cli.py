"""The command line writes one picture, or one sentence and nothing else."""

from __future__ import annotations

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
        (["rnn", "--focus", "99", "--steps", "3", "-o", "x.svg"], "99"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_file(arguments, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


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
