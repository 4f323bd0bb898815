"""The identities hold on random networks, and each fails when the code it speaks of is broken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import visual.gradients
import visual.unroll
from benchmarks import identities
from tinygrad_rnn.flow import Flow

ROUNDING = 1e-9
NETWORKS = 6


def worst(identity, networks=NETWORKS):
    return max(identity(np.random.default_rng(seed)) for seed in range(networks))


@pytest.mark.parametrize("identity", identities.IDENTITIES, ids=lambda f: f.__name__)
def test_the_identity_holds(identity):
    assert worst(identity) < ROUNDING


def broken(monkeypatch, owner, name, change):
    """Put `change(original)` in the place of a function."""
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))


def without_links(chosen):
    """A fold that loses those links."""
    def change(folded):
        def lossy(*args):
            whole = folded(*args)
            return replace(whole, links=tuple(x for n, x in enumerate(whole.links) if not chosen(n, x.edge)))

        return lossy

    return change


@pytest.mark.parametrize("identity", [identities.svg, identities.dot])
def test_a_dropped_edge_is_seen(identity, monkeypatch):
    broken(monkeypatch, visual.unroll, "folded", without_links(lambda n, e: n == 3))
    assert worst(identity) >= 1


def test_the_lost_elbow_from_c_to_h_is_seen(monkeypatch):
    def elbow(n, e):
        return e.source.endswith(".c") and e.target == e.source[:-1] + "h"

    broken(monkeypatch, visual.unroll, "folded", without_links(elbow))
    assert worst(identities.svg, 25) >= 1


def test_a_gradient_that_runs_with_the_data_is_seen(monkeypatch):
    def swapped(copies):
        def make(of, shifts, columns):
            if any(name.endswith(".g") for name in columns.get("id", ())):
                columns = {**columns, "source": columns["target"], "target": columns["source"]}
            return copies(of, shifts, columns)

        return make

    broken(monkeypatch, visual.gradients, "Copies", swapped)
    assert worst(identities.dot) >= 1


@pytest.mark.parametrize("identity", [identities.influence, identities.across_cuts])
def test_a_time_that_is_off_by_one_is_seen(identity, monkeypatch):
    def late(row):
        def read(self, *args):
            found = row(self, *args)
            times = sorted(found)
            return {t: found[times[k - 1]] for k, t in enumerate(times)}

        return read

    broken(monkeypatch, Flow, "_row", late)
    assert worst(identity) > 1e-3


def test_norms_that_are_summed_are_seen(monkeypatch):
    def summed(graph):
        def read(self, level="op"):
            whole = graph(self, level)
            edges = tuple(e if e.norm is None else e._replace(projection=e.norm) for e in whole.edges)
            return whole._replace(edges=edges)

        return read

    broken(monkeypatch, Flow, "graph", summed)
    assert worst(identities.projections) > 1e-3


def test_a_lost_step_of_a_weights_gradient_is_seen(monkeypatch):
    def forgetful(share):
        def read(self, name):
            parts = share(self, name)
            parts[0] = 0.0
            return parts

        return read

    broken(monkeypatch, Flow, "weight_share", forgetful)
    assert worst(identities.weight_shares) > 1e-3


def test_a_wrong_norm_of_a_state_is_seen(monkeypatch):
    def doubled(table):
        def read(self, *args):
            found = table(self, *args)
            found[..., 0] *= 2
            return found

        return read

    broken(monkeypatch, Flow, "_table", doubled)
    assert worst(identities.linear) > 0.5 and worst(identities.orthogonal) > 0.5


def test_a_delay_that_is_wrong_is_seen(monkeypatch):
    broken(
        monkeypatch,
        identities,
        "loops",
        lambda loops: lambda graph: [e._replace(delay=e.delay + bool(e.delay)) for e in loops(graph)],
    )
    assert worst(identities.rolling) >= 1
