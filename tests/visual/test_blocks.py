"""Networks with more in them than a loop: their blocks are frames beside the grid, time still runs right."""

from __future__ import annotations

import pytest

import tinygrad_rnn as tg
import visual
from tinygrad_rnn import nn
from visual.picture import Group

pytestmark = pytest.mark.usefixtures("device")


class Hybrid(nn.Module):
    """Convolution over time, a recurrent layer in both directions, attention on top."""

    def __init__(self):
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.ReLU())
        self.rnn = nn.GRU(4, 4, bidirectional=True)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
        self.readout = nn.Linear(8, 2)

    def forward(self, x):
        x = tg.ops.permute_dims(self.front(tg.ops.permute_dims(x, (1, 2, 0))), (2, 0, 1))
        return self.readout(self.encoder(self.rnn(x)[0])).sum()


@pytest.fixture(scope="module")
def picture():
    return visual.draw(Hybrid()(tg.randn(4, 1, 3)), gradients=True)


def test_the_blocks_before_and_after_the_loop_are_framed(picture):
    frames = {e.id: e for e in picture.elements if isinstance(e, Group) and "block" in e.classes}
    assert set(frames) == {"block.front", "block.encoder"}
    assert {"encoder.self_attn", "encoder.linear1", "front.0"} <= {b.id for b in picture.boxes}
    cells = [b for b in picture.boxes if "kind-cell" in b.classes]
    for name, frame in frames.items():
        boxes = [b for b in picture.boxes if "kind-parameter" not in b.classes]
        near = [b for b in boxes if abs(b.x - frame.x) < frame.width / 2]
        inside = [b for b in near if abs(b.y - frame.y) < frame.height / 2]
        assert len(inside) > 1 and all(name.removeprefix("block.") in b.id for b in inside)
    assert frames["block.front"].y < min(b.y for b in cells) < max(b.y for b in cells)
    assert max(b.y for b in cells) < frames["block.encoder"].y


def test_the_loop_beside_them_still_runs_left_to_right(picture):
    at = {b.id: b for b in picture.boxes}
    for way in ("fwd", "rev"):
        names = sorted(n for n in at if f".{way}.t" in n or n.startswith(f"l0.{way}.t"))
        xs = [at[n].x for n in names]
        assert len(xs) == 4 and xs == sorted(xs)


def test_parameters_stand_beside_their_operation_and_on_nothing(picture):
    boxes = picture.boxes
    for k, a in enumerate(boxes):
        for b in boxes[k + 1 :]:
            apart = abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= (a.height + b.height) / 2
            assert apart, (a.id, b.id)


def test_every_layer_of_a_stack_has_its_frame_and_names_in_it_do_not_repeat_its_path():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2)
    net = nn.TransformerRecurrent(encoder, nn.GRU(4, 3))
    picture = visual.draw(net(tg.randn(3, 1, 4))[0].sum(), gradients=True)
    frames = {e.id: e for e in picture.elements if isinstance(e, Group) and "block" in e.classes}
    assert set(frames) == {"block.encoder.layers.0", "block.encoder.layers.1"}
    at = {b.id: b for b in picture.boxes}
    for name, frame in frames.items():
        path = name.removeprefix("block.")
        assert {at[f"{path}.{part}"].label for part in ("self_attn", "norm2")} == {"self_attn", "norm2"}
        inside = {name for name, box in at.items() if name.startswith(path) and "kind-op" in box.classes}
        for arrow in picture.arrows:
            if {arrow.source, arrow.target} <= inside:
                assert max(abs(x - frame.x) for x, _ in arrow.points) < frame.width / 2
    test_parameters_stand_beside_their_operation_and_on_nothing(picture)


@pytest.mark.parametrize("level", ["cell", "layer"])
def test_a_network_without_a_loop_is_drawn_with_its_weights_beside_it(level):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    picture = visual.draw(net(tg.randn(2, 3)).sum(), level=level, gradients=True)
    at = {b.id: b for b in picture.boxes}
    assert at["0"].y < at["1"].y < at["2"].y < at["loss"].y
    for k in "02":
        weight = at[f"{k}.weight"]
        assert weight.x != at[k].x and abs(weight.y - at[k].y) < 20 and weight.label == f"{k}.weight"
    assert [at[n].label.split("\n")[0] for n in "012"] == ["0 linear", "1 tanh", "2 linear"]
