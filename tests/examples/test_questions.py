"""Each question gets one sentence and one picture."""

from __future__ import annotations

import importlib

import pytest

pytestmark = pytest.mark.slow

ANSWERS = {
    "why_forget": "the RNN forgets most",
    "truncation": "of its norm",
    "which_step": "sum to 100%",
    "directions": "carries more",
    "before_after": "updates took the loss from",
    "own_cell": "by generated kernels",
    "find_nan": "backward of sqrt (layer 0, forward, t=1)",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_question_is_answered_and_drawn(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert importlib.import_module(f"examples.{name}").main() == 0
    *_, answer, where = capsys.readouterr().out.strip().splitlines()
    assert ANSWERS[name] in answer and where == f"Picture: out/{name}.svg"
    assert (tmp_path / "out" / f"{name}.svg").read_text("utf-8").startswith("<svg")
