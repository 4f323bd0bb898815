"""Drawing takes time linear in what is drawn, and what would take too long is refused before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from networks import network

import visual
from visual import unroll
from visual.layered import pack


@pytest.mark.parametrize("timed", [True, False], ids=["unrolled", "without time"])
def test_what_would_take_forever_is_refused_before_the_work_begins(timed, monkeypatch):
    graph = network("gru", 1, False, 300)
    if not timed:
        graph = graph._replace(nodes=tuple(v._replace(layer=None) for v in graph.nodes))
    count = len(graph.nodes) + len(graph.edges)
    monkeypatch.setattr(unroll, "LARGEST", count)
    visual.draw(graph, fold=False)
    monkeypatch.setattr(unroll, "LARGEST", count - 1)
    monkeypatch.setattr(unroll, "_planned", None)
    monkeypatch.setattr(unroll, "layered_drawing", None)
    with pytest.raises(ValueError, match=f"at most {count - 1:,} vertices and edges to draw, got {count:,}"):
        visual.draw(graph, fold=False)


def test_a_fold_lets_any_length_be_drawn(monkeypatch):
    monkeypatch.setattr(unroll, "LARGEST", 1000)
    visual.draw(network("gru", 1, False, 500))


def seconds(work: Callable[[], object]) -> float:
    """The least CPU time of two runs."""
    times = []
    for _ in range(2):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def test_time_to_draw_every_step_grows_no_faster_than_the_steps():
    few, many = (network("rnn", 1, True, steps) for steps in (200, 1600))
    one, other = (
        seconds(lambda g=graph: visual.draw(g, gradients=True, fold=False).pipe("svg"))
        for graph in (few, many)
    )
    assert other < 16 * one, "eight times as many"


def test_many_neighbours_that_wish_for_one_place_are_packed_in_linear_time():
    def packed(count: int) -> None:
        row = range(count)
        pack(row, dict.fromkeys(row, 0.0), dict.fromkeys(row, 1.0), 1.0, {})

    assert seconds(lambda: packed(64_000)) < 16 * seconds(lambda: packed(8_000))
