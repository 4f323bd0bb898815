"""Where BPTT was cut: the forward pass goes through, the gradient stops."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
import visual
from visual.picture import Group


def truncated(kind, steps, cuts):
    """Two losses, and the states, of a cell that is detached before the steps in `cuts`."""
    cell = getattr(tg.nn, kind)(2, 3)
    lstm = kind == "LSTMCell"
    state = (tg.zeros(1, 3), tg.zeros(1, 3)) if lstm else tg.zeros(1, 3)
    losses = []
    for t in range(steps):
        if t in cuts:
            state = tuple(s.detach() for s in state) if lstm else state.detach()
        with tg.at(layer=0, direction="forward", time=t):
            state = cell(tg.randn(1, 2), state)
            state = tg.label(h=state[0], c=state[1]) if lstm else tg.label(h=state)
        h = state[0] if lstm else state
        losses.append((h * h).sum())
    return losses


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cuts_are_the_detach_calls_and_no_gradient_crosses(kind, rng):
    for _ in range(4):
        steps = int(rng.integers(3, 9))
        cuts = {int(t) for t in rng.integers(1, steps, 2)}
        losses = truncated(kind, steps, cuts)
        total = losses[0]
        for loss in losses[1:]:
            total = total + loss
        flow = tg.flow(total)
        picture = visual.draw(flow, gradients=True)
        crossing = {(f"l0.fwd.t{t - 1}", f"l0.fwd.t{t}") for t in cuts}
        assert {(a.source, a.target) for a in picture.arrows if "cut" in a.classes} == crossing
        back = {(a.target, a.source) for a in picture.arrows if "backward" in a.classes}
        assert not back & crossing
        reach = flow.influence(losses)
        for t in cuts:
            assert np.all(reach[t:, :t] == 0) and np.all(np.diag(reach) > 0)


def test_two_losses_are_drawn_with_the_scissors_between_them():
    first, *_, last = truncated("GRUCell", 6, {3})[2:]
    picture = visual.draw(tg.trace(first, last))
    cells = {box.id for box in picture.boxes if "kind-cell" in box.classes}
    assert cells == {f"l0.fwd.t{t}" for t in range(6)}
    cuts = [(a.source, a.target) for a in picture.arrows if "cut" in a.classes]
    assert cuts == [("l0.fwd.t2", "l0.fwd.t3")]


@pytest.mark.parametrize("kind", ["GRUCell", "LSTMCell"])
def test_a_state_that_was_cut_off_is_a_cell_like_its_neighbours(kind):
    picture = visual.draw(truncated(kind, 6, {3})[-1], gradients=True)
    boxes = {box.id: box for box in picture.boxes}
    cut, cell = boxes["l0.fwd.t2"], boxes["l0.fwd.t3"]
    assert "kind-cut" in cut.classes and cut.label == "h₂"
    assert (cut.y, cut.width, cut.height, cut.size) == (cell.y, cell.width, cell.height, cell.size)
    assert not any(e.id.endswith(".frame") for e in picture.elements if isinstance(e, Group))


@pytest.mark.parametrize(("kind", "states"), [("GRUCell", "h"), ("LSTMCell", "hc")])
def test_at_gate_level_the_way_on_from_a_state_is_cut(kind, states):
    losses = truncated(kind, 4, {2})
    picture = visual.draw(losses[1] + losses[-1], level="gate", gradients=True)
    assert not [box.id for box in picture.boxes if "kind-cut" in box.classes]
    cuts = {a.source for a in picture.arrows if "cut" in a.classes}
    assert cuts == {f"l0.fwd.t1.{state}" for state in states}


def test_at_gate_level_a_cut_state_stands_at_the_heights_of_the_next_steps():
    boxes = {box.id: box for box in visual.draw(truncated("LSTMCell", 6, {3})[-1], level="gate").boxes}
    for state in "ch":
        assert boxes[f"l0.fwd.t2.{state}.cut"].y == boxes[f"l0.fwd.t3.{state}"].y
