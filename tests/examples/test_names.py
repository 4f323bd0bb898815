"""The demo learns names, and says and draws what it saw."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip(
    "names", reason="the package names is not installed: pip install 'tinygrad-rnn[examples]'"
)
pytest.importorskip("safetensors")

import tinygrad_rnn as tg
from examples import names as demo
from examples import tasks


def test_every_name_counts_once_by_its_commoner_use():
    census = demo.read_names()
    assert len({name for name, _ in census}) == len(census) == 5163
    assert dict(census)["maria"] == "female" and dict(census)["james"] == "male"


def test_no_name_is_both_learnt_and_asked():
    learnt, held_out = demo.divided(demo.read_names(), seed=3)
    assert not {name for name, _ in learnt} & {name for name, _ in held_out}
    assert len(learnt) + len(held_out) == 5163 and len(held_out) == demo.HELD_OUT


def test_batches_hold_every_name_once_and_little_padding():
    names = [(name, "female") for name in ("ab", "abc", "abcdefghij", "xyz") for _ in range(100)]
    found = list(demo.batches(names, seed=0))
    assert sorted(name for batch in found for name in batch.x) == sorted(name for name, _ in names)
    assert max(len(set(batch.lengths.tolist())) for batch in found) <= 3


@pytest.mark.slow
def test_a_short_run_leaves_weights_pictures_and_three_lines(tmp_path, capsys):
    assert demo.main(["Ada", "--epochs", "1", "--hidden", "8", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "the 331 that are given to both count once" in said
    assert "held out" in said and "a plain RNN: " in said and "always answering the larger class" in said
    assert all(f"\n{number}. " in said for number in (1, 2, 3))
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    pictures = [
        f"ada-{what}-{when}.svg"
        for what in ("cells", "gates", "heatmap")
        for when in ("trained", "untrained")
    ]
    assert found == sorted([*pictures, "ada-kinds.svg", "ada-deciding.svg", "names.safetensors"])
    assert tg.load_network(tmp_path / "out" / "names.safetensors")("maria").shape == (1, 2)


@pytest.mark.parametrize("arguments", [["Jean-Luc"], ["ada", "--epochs", "0"]])
def test_wrong_input_ends_with_one_sentence(arguments, tmp_path, capsys):
    assert demo.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "expected" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_decides_is_known_after_each_letter_read():
    task = demo.task(hidden=8)
    matrix = demo.deciding(tasks.made(task, task.shape, 0).eval(), "ada")
    assert np.isnan(matrix[np.triu_indices(3, 1)]).all()
    assert (matrix[np.tril_indices(3)] > 0).all()
