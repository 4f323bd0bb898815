"""The rolled picture is the tape, rolled up: unrolling it loses nothing and adds nothing."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
import visual
from visual.picture import Text
from visual.rolled import Loop, loops, row_of, unroll

KINDS = {"rnn": tg.nn.RNN, "lstm": tg.nn.LSTM, "gru": tg.nn.GRU}


def quotient(kind, layers, bidirectional, steps):
    net = KINDS[kind](2, 3, layers, bidirectional=bidirectional)
    return tg.trace(net(tg.randn(steps, 1, 2))[0]).quotient("cell")


def reached(graph):
    """Pairs of cells joined by an edge, or through concatenations: written apart from what is tested."""
    cells = {v.id for v in graph.nodes if v.kind == "cell"}
    joins = {v.id for v in graph.nodes if v.op == "concatenate"}
    direct = {(e.source, e.target) for e in graph.edges}
    through = {(a, c) for a, j in direct for k, c in direct if j == k and j in joins}
    return {(a, b) for a, b in direct | through if a in cells and b in cells}


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_unrolling_the_rolled_network_gives_the_tape(kind, bidirectional, rng):
    for layers in (1, 2, 3):
        steps = int(rng.integers(1, 7))
        graph = quotient(kind, layers, bidirectional, steps)
        times = {row_of(v): range(steps) for v in graph.nodes if v.kind == "cell"}
        assert unroll(loops(graph), times) == reached(graph)


def test_a_wrong_delay_or_a_dropped_loop_is_noticed():
    graph = quotient("gru", 2, True, 4)
    times = {row_of(v): range(4) for v in graph.nodes if v.kind == "cell"}
    right = loops(graph)
    for k, loop in enumerate(right):
        for wrong in ([], [loop._replace(delay=loop.delay + 1)], [loop._replace(delay=loop.delay - 2)]):
            assert unroll([*right[:k], *wrong, *right[k + 1 :]], times) != reached(graph)


def test_rows_loop_forward_and_reverse():
    found = loops(quotient("lstm", 1, True, 3))
    assert set(found) == {Loop("l0.fwd", "l0.fwd", 1), Loop("l0.rev", "l0.rev", -1)}


def test_each_loop_stands_beside_its_row_with_its_delay():
    picture = visual.rolled(tg.nn.LSTM(2, 3, 2, bidirectional=True))
    at = {box.id: box for box in picture.boxes}
    for row in ("l0.fwd", "l0.rev", "l1.fwd", "l1.rev"):
        assert at[row].y == at[f"{row}.t0"].y and at[row].x < at[f"{row}.t0"].x
    rolled = {"l0.fwd", "l0.rev", "l1.fwd", "l1.rev"}
    drawn = {(a.source, a.target) for a in picture.arrows if {a.source, a.target} <= rolled}
    assert drawn == {(e.source, e.target) for e in loops(quotient("lstm", 2, True, 3))}
    delays = sorted(e.label for e in picture.elements if "delay" in e.classes)
    assert delays == ["z", "z", "z⁻¹", "z⁻¹"]


def test_a_detached_step_is_a_loop_with_scissors():
    graph = truncated(6, 3)
    assert set(loops(graph)) == {Loop("l0.fwd", "l0.fwd", 1), Loop("l0.fwd", "l0.fwd", 1, cut=True)}


def truncated(steps, every):
    """A GRU cell over `steps`, detached after each `every`."""
    cell, h, total = tg.nn.GRUCell(2, 3), tg.zeros(1, 3), None
    for t in range(steps):
        if t and t % every == 0:
            h = h.detach()
        with tg.at(layer=0, direction="forward", time=t):
            h = tg.label(h=cell(tg.randn(1, 2), h))
        total = h.sum() if total is None else total + h.sum()
    return tg.trace(total).quotient("cell")


def test_what_does_not_recur_is_refused():
    w = tg.tensor(np.ones((2, 2)), requires_grad=True)
    with pytest.raises(ValueError, match="recurrent"):
        visual.rolled(tg.trace((w @ w).sum()))


class Tagger(tg.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = tg.nn.Embedding(5, 3)
        self.rnn = tg.nn.GRU(3, 4)

    def forward(self, x):
        return self.rnn(self.embedding(x))[0]


@pytest.mark.parametrize(
    "module",
    [tg.nn.LSTMCell(2, 3), tg.nn.Sequential(tg.nn.Linear(6, 2), tg.nn.RNN(2, 3)), Tagger(),
     tg.nn.GRU(2, 3, batch_first=True)],
)  # fmt: skip
def test_a_cell_or_a_network_around_one_is_run_on_what_its_parts_read(module):
    picture = visual.rolled(module, steps=4)
    assert {"l0.fwd", "l0.fwd.t3"} <= {box.id for box in picture.boxes}
    assert "l0.fwd.t4" not in {box.id for box in picture.boxes}


def test_a_module_that_cannot_be_run_unasked_says_what_to_give_instead():
    class Needs(tg.nn.Module):
        input_size = 3

        def forward(self, x, mask):
            return x * mask

    with pytest.raises(TypeError, match=r"expected Needs to read x of shape \(3, 1, 3\).*give its Graph"):
        visual.rolled(Needs())
    with pytest.raises(TypeError, match="expected a module that says its input_size, got Tanh"):
        visual.rolled(tg.nn.Tanh())


@pytest.mark.parametrize("both", [False, True])
def test_every_row_that_reads_the_input_is_drawn_reading_it(both):
    picture = visual.rolled(tg.nn.GRU(2, 3, 2, bidirectional=both))
    marks = [e for e in picture.elements if "input" in e.classes]
    assert len(marks) == 1 + both


def test_a_long_sequence_is_folded_beside_its_loop():
    picture = visual.rolled(tg.nn.GRU(2, 3)(tg.randn(40, 1, 2))[0].sum())
    assert len([box for box in picture.boxes if "kind-cell" in box.classes]) < 12 and picture.width < 1600
    assert {"rolled", "unrolled"} <= {e.text for e in picture.elements if isinstance(e, Text)}
