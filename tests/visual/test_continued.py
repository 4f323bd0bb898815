"""What goes on: a second call from the state of the first, and pictures after a backward."""

from __future__ import annotations

import itertools

import pytest

import tinygrad_rnn as tg
import visual
from tinygrad_rnn.trace import AGAIN


def twice(kind, layers, both, apart=True):
    """The loss of a network's second run, which goes on from its first."""
    net = getattr(tg.nn, kind)(3, 4, layers, bidirectional=both)
    with tg.fused(False):
        _, state = net(tg.randn(2, 1, 3))
        with tg.at(time=2 if apart else None):
            y, _ = net(tg.randn(3, 1, 3), state)
    return (y * y).mean()


@pytest.mark.parametrize("level", ["op", "gate", "cell", "layer"])
@pytest.mark.parametrize(
    ("kind", "layers", "both"), [("RNN", 1, False), ("GRU", 2, False), ("LSTM", 1, True), ("LSTM", 2, True)]
)
def test_a_state_that_is_handed_on_is_drawn_at_every_level(kind, layers, both, level):
    graph = tg.trace(twice(kind, layers, both)).quotient(level)
    picture = visual.draw(graph, level)
    assert sorted(box.id for box in picture.boxes) == sorted(v.id for v in graph.nodes)
    assert len(picture.arrows) == len(graph.edges)
    assert b"nan" not in picture.pipe("svg")


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("layers", [1, 2])
def test_what_hands_the_state_on_stands_above_the_rows_and_in_no_other_box(layers):
    picture = visual.draw(twice("LSTM", layers, False), gradients=True)
    cells = [box for box in picture.boxes if "kind-cell" in box.classes]
    joints = [box for box in picture.boxes if "kind-op" in box.classes]
    assert {box.label for box in joints} >= {"stack", "h_0", "c_0"}
    assert min(box.y for box in joints) > max(box.y for box in cells)
    for a, b in itertools.combinations(joints, 2):
        assert abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= (a.height + b.height) / 2


def test_runs_at_the_same_times_share_their_cells_and_say_so():
    together, apart = (tg.trace(twice("GRU", 1, False, apart)) for apart in (False, True))
    assert AGAIN in together.notes and AGAIN not in apart.notes
    assert {v.time for v in apart.quotient("cell").nodes if v.op == "cell"} == {0, 1, 2, 3, 4}
    assert {v.time for v in together.quotient("cell").nodes if v.op == "cell"} == {0, 1, 2}


def test_what_backward_left_behind_is_never_drawn():
    """A second backward doubles `.grad`; a picture is measured anew, and after a freed tape there is none."""
    net = tg.nn.GRU(2, 3)
    y, _ = net(tg.randn(4, 1, 2))
    loss = (y * y).mean()
    before = visual.draw(loss, gradients=True).rows
    for _ in range(2):
        loss.backward(retain_graph=True)
    assert visual.draw(loss, gradients=True).rows == before
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        visual.draw(loss, gradients=True)
