"""Results are measured once, and the tables say what the runs said."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from examples import order, results
from examples.data import Missing
from examples.tasks import Drawn

PAGE = "# Title\n<!-- reached -->\nold\n<!-- end -->\nbetween\n<!-- shapes -->\nold\n<!-- end -->\n"


@pytest.fixture
def page(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    return tmp_path / "page.md"


def row(seed, value, shape="LSTM", library="here"):
    return {
        "task": "order", "shape": shape, "seed": seed, "library": library, "scores": {"accuracy": value},
        "parameters": 1234, "milliseconds": 2.5,
    }  # fmt: skip


def test_a_line_of_the_table_has_mean_and_range_of_both_libraries(page):
    known = [row(0, 0.5), row(1, 1.0), row(0, 0.75, library="PyTorch"), row(0, 0.9, "LSTM, 2 layers")]
    results.write(known, page)
    text = page.read_text()
    assert "old" not in text and "between" in text
    assert (
        "| `python -m examples.order` | LSTM | accuracy | 0.75 (0.5 – 1) | 0.75 | 0.25 by guessing |" in text
    )
    assert "| order | LSTM | accuracy | 0.5 | 1,234 | 2.5 ms |" in text
    assert "| order | LSTM, 2 layers | accuracy | 0.9 | 1,234 | 2.5 ms |" in text
    results.write(known, page)
    assert page.read_text() == text


@pytest.mark.slow
def test_a_run_that_was_made_is_not_made_again(page, tmp_path, monkeypatch):
    small = replace(order.TASK, data=lambda seed: Drawn(order.draw, 2, seed))
    monkeypatch.setitem(results.TASKS, "order", lambda: small)
    log = tmp_path / "log.jsonl"
    given = ["order", "--seeds", "1", "--no-torch", "--log", str(log), "--page", str(page)]
    results.main(given)
    first = log.read_text()
    assert [json.loads(line)["shape"] for line in first.splitlines()] == [str(s) for s in order.TASK.shapes]
    results.main(given)
    assert log.read_text() == first


def test_a_task_without_its_data_is_told_and_the_others_go_on(page, tmp_path, monkeypatch, capsys):
    def away(seed):
        raise Missing("this example needs the package aeon")

    small = replace(order.TASK, data=lambda seed: Drawn(order.draw, 2, seed))
    monkeypatch.setitem(results.TASKS, "order", lambda: small)
    monkeypatch.setitem(results.TASKS, "vowels", lambda: replace(small, data=away))
    given = ["vowels", "order", "--seeds", "1", "--no-torch", "--no-shapes", "--log", str(tmp_path / "log")]
    assert results.main([*given, "--page", str(page)]) == 0
    assert capsys.readouterr().err == "vowels: this example needs the package aeon\n"
    assert [row["task"] for row in results.read(tmp_path / "log")] == ["order"]


def test_an_unknown_task_is_refused(capsys):
    with pytest.raises(SystemExit):
        results.main(["nothing"])
    assert "expected tasks among names" in capsys.readouterr().err
