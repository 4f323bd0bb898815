"""Places in the unrolled network."""

from __future__ import annotations

import threading

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.scope import Scope, here


def test_places_nest_and_are_undone():
    with tg.at(layer=1, direction="reverse"):
        with tg.at(time=4) as scope:
            assert scope == Scope(time=4, layer=1, direction="reverse") == here.scope
        assert here.scope.time is None
        with pytest.raises(KeyError), tg.at(time=9):
            raise KeyError
        assert here.scope == Scope(layer=1, direction="reverse")
    assert here.scope == Scope()


def test_one_marker_may_be_entered_again_and_inside_itself():
    mark = tg.at(time=2)
    for _ in range(2):
        with mark, tg.at(layer=0), mark:
            assert here.scope == Scope(time=2, layer=0)
        assert here.scope == Scope()


def test_places_are_per_thread():
    seen = []
    with tg.at(time=1):
        thread = threading.Thread(target=lambda: seen.append(here.scope))
        thread.start()
        thread.join()
    assert seen == [Scope()]


def test_nodes_of_one_place_share_one_scope():
    x = tg.tensor(1.0, requires_grad=True)
    with tg.at(time=0):
        assert (x * 2).node.scope is (x * 3).node.scope


@pytest.mark.parametrize(("scope", "shown"), [
    (Scope(), "top level"),
    (Scope("rnn", 3, 0, "forward"), "rnn, layer 0, forward, t=3"),
    (Scope(gate="f", backward=True), "gate f, backward"),
])  # fmt: skip
def test_a_place_in_words(scope, shown):
    assert str(scope) == shown
