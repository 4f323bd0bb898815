"""Hybrid networks draw at every level, their time from left to right."""

from __future__ import annotations

import numpy as np
import pytest
from networks import along

import tinygrad_rnn as tg
import visual
from tinygrad_rnn import nn


def transformer():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 1)


def convolved():
    return nn.ConvRecurrent(nn.Conv2d(1, 2, 3), nn.GRU(8, 4))(tg.randn(3, 1, 1, 4, 4))[0].sum()


def seen_then_read():
    return nn.TransformerRecurrent(transformer(), nn.GRU(4, 3))(tg.randn(3, 1, 4))[0].sum()


LOSSES = {
    "sequence to sequence": lambda: nn.Seq2Seq(9, 6, 3, 4).loss(np.full((3, 2), 4), np.full((2, 2), 5)),
    "recogniser": lambda: nn.CTCRecognizer(3, 4, 5).loss(tg.randn(4, 2, 3), [[1, 2], [3, 3]]),
    "convolution": convolved,
    "recurrent first": lambda: nn.RecurrentTransformer(nn.GRU(3, 4), transformer())(tg.randn(3, 1, 3)).sum(),
    "transformer first": seen_then_read,
}


@pytest.mark.parametrize("level", ["cell", "layer"])
@pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)
def test_every_vertex_has_its_box(make, level):
    picture = visual.draw(make(), level=level, gradients=True)
    assert "<svg" in picture.pipe("svg").decode() and len(picture.boxes) > 5


def test_at_layer_level_a_recursion_is_one_box_and_so_is_what_joins_the_steps_of_a_layer():
    boxes = visual.draw(LOSSES["recogniser"](), level="layer").boxes
    assert [box.id for box in boxes if box.id.startswith("ctc")] == ["ctc"]
    assert {"x × 4", "concatenate × 4"} <= {box.label.split("\n")[0] for box in boxes}


@pytest.mark.parametrize("level", ["cell", "layer", "gate"])
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "sequence to sequence"])
def test_no_arrow_runs_through_a_box_that_it_does_not_join(name, level):
    picture = visual.draw(LOSSES[name](), level=level, gradients=True)
    for arrow in picture.arrows:
        for x, y in along(arrow):
            for box in picture.boxes:
                inside = abs(x - box.x) < box.width / 2 - 1 and abs(y - box.y) < box.height / 2 - 1
                assert not inside or box.id in (arrow.source, arrow.target), (arrow.id, box.id)


def test_a_recursion_outside_the_rows_runs_level():
    at = {box.id: box for box in visual.draw(LOSSES["recogniser"](), gradients=True).boxes}
    steps = [at[f"ctc.t{t}"] for t in range(4)]
    assert len({box.y for box in steps}) == 1 and [b.x for b in steps] == sorted(b.x for b in steps)


@pytest.mark.usefixtures("device")
def test_the_decoder_stands_right_of_the_encoder_and_above_it():
    picture = visual.draw(LOSSES["sequence to sequence"](), level="cell")
    boxes = {box.id: box for box in picture.boxes}
    read = [boxes[f"encoder.l0.fwd.t{t}"] for t in range(3)]
    said = [boxes[f"decoder.l1.fwd.t{t}"] for t in (3, 4)]
    across = [box.x for box in (*read, *said)]
    assert across == sorted(across) and min(b.y for b in said) > max(b.y for b in read)
