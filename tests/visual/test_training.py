"""Plots of a run show the numbers of its log."""

from __future__ import annotations

import errno
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib import pyplot

from visual.training import plot_flow, plot_learning, plot_training


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def records(epochs=4, layers=2, directions=2, steps=7):
    rng = np.random.default_rng(0)
    return [
        {
            "epoch": n + 1,
            "loss": 1 / (n + 1),
            "validation_loss": [0.5, 0.3, 0.4, 0.6][n],
            "right": 0.5,
            "flow": (10.0 ** rng.uniform(-4, 0, (layers, directions, steps))).tolist(),
        }
        for n in range(epochs)
    ]


def test_curves_are_the_logs_losses_and_the_ring_is_the_least():
    ax = plot_learning(records())
    loss, validation, ring = ax.lines
    assert loss.get_xdata().tolist() == [1, 2, 3, 4] and loss.get_ydata().tolist() == [1, 1 / 2, 1 / 3, 1 / 4]
    assert validation.get_ydata().tolist() == [0.5, 0.3, 0.4, 0.6]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 0.3)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["loss", "validation loss"]


def test_other_figures_can_be_asked_for_in_axes_of_ones_own():
    _, mine = pyplot.subplots()
    gap = [dict(record, right=None if record["epoch"] == 2 else 0.5) for record in records()]
    ax = plot_learning(gap, mine, figures=["right"])
    assert ax is mine and np.isnan(ax.lines[0].get_ydata()[1])


@pytest.mark.parametrize(("layer", "direction"), [(-1, "fwd"), (0, "rev")])
def test_the_heatmap_is_one_row_of_the_flow_by_epoch_and_time(layer, direction):
    log = records()
    (image,) = plot_flow(log, layer=layer, direction=direction).images
    expected = [np.array(record["flow"])[layer, int(direction == "rev")] for record in log]
    np.testing.assert_array_equal(image.get_array(), expected)


def test_a_log_is_read_from_its_folder_and_from_its_file(tmp_path):
    lines = [json.dumps(record) for record in records()]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    for where in (tmp_path, str(tmp_path / "log.jsonl")):
        assert len(plot_learning(where).lines[0].get_xdata()) == 4


def test_the_callback_leaves_both_plots_beside_the_run(tmp_path):
    run = SimpleNamespace(directory=tmp_path, records=records())
    plot_training(run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flow.png", "learning.png"]
    assert not pyplot.get_fignums()


def test_a_full_disk_is_said_in_one_sentence_and_leaves_the_plot_before(tmp_path, monkeypatch):
    run = SimpleNamespace(directory=tmp_path, records=records())
    plot_training(run)
    before = (tmp_path / "learning.png").read_bytes()

    def full(handle, mode):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match=r"write .*learning\.png, got: No space left on device; the run"):
        plot_training(run)
    assert (tmp_path / "learning.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flow.png", "learning.png"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: plot_learning([]), "at least one epoch"),
        (lambda: plot_flow([{"epoch": 1, "loss": 1.0}]), "the log of a run with a probe"),
        (lambda: plot_flow(records(), direction="up"), "got 'up'"),
        (lambda: plot_training(SimpleNamespace(directory=None, records=records())), "a run with a directory"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(call, said):
    with pytest.raises(ValueError, match=said):
        call()
