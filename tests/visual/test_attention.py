"""The attention matrix shows its weights, the written words from top to bottom."""

from __future__ import annotations

import numpy as np
import pytest

import visual
from visual.picture import Strip, Text
from visual.style import style

pytestmark = pytest.mark.usefixtures("device")

SOURCE, TARGET = ["la", "luz", "."], ["the", "light"]


@pytest.fixture
def weights(rng):
    return rng.dirichlet(np.ones(3), 2)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_are_the_weights_first_word_on_top(weights, theme):
    picture = visual.attention(weights, SOURCE, TARGET, theme=theme)
    (strip,) = [e for e in picture.elements if isinstance(e, Strip) and e.id == "attention"]
    ramp = style(theme)
    expected = tuple(tuple(ramp.shade(share) for share in row) for row in weights)
    assert strip.colours == expected[::-1]


def test_words_stand_beside_their_row_and_over_their_column(weights):
    picture = visual.attention(weights, SOURCE, TARGET)
    at = {e.text: e for e in picture.elements if isinstance(e, Text)}
    (strip,) = [e for e in picture.elements if isinstance(e, Strip) and e.id == "attention"]
    assert at["la"].x < at["luz"].x < at["."].x and at["la"].y > strip.y + strip.height
    assert at["the"].y > at["light"].y > strip.y and at["the"].x < strip.x
    assert min(e.x for e in at.values()) > 0 and max(e.x for e in at.values()) < picture.width


def test_the_table_has_every_weight(weights):
    lines = visual.attention(weights, SOURCE, TARGET).table.splitlines()
    assert len(lines) == 7 and lines[0].split() == ["written", "read", "weight"]
    assert lines[-1].split() == ["light", ".", f"{weights[1, 2]:.3g}"]


@pytest.mark.parametrize("shape", [(3, 2), (2, 2), (6,), (0, 3)])
def test_weights_that_do_not_fit_the_words_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected weights \(2, 3\), got"):
        visual.attention(np.zeros(shape), SOURCE, TARGET)
