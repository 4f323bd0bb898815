"""Training, looked back on: learning curves, and how BPTT's reach changed from epoch to epoch.

Both plots read a run's log: its folder, its file, or the records themselves. `plot_training` is a callback
for `train.fit` that leaves them beside the run.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visual.picture import write_whole
from visual.plots import _axes, _image

Log = str | os.PathLike[str] | Sequence[Mapping[str, Any]]


def plot_training(run: Any) -> None:
    """Write learning.png into the run's folder and, where a probe is measured, flow.png; a callback.

    Raises ValueError for a run without a folder, OSError where there is no room for them; a plot that was
    there before is then still whole.
    """
    if run.directory is None:
        raise ValueError("expected a run with a directory to leave its plots in, got one without")
    from matplotlib import pyplot

    plots: dict[str, Any] = {"learning": plot_learning}
    if "flow" in run.records[-1]:
        plots["flow"] = plot_flow
    for name, plot in plots.items():
        ax, page, path = plot(run.records), io.BytesIO(), run.directory / f"{name}.png"
        ax.figure.savefig(page, dpi=150)
        pyplot.close(ax.figure)
        try:
            write_whole(path, page.getvalue())
        except OSError as error:
            raise OSError(
                error.errno, f"expected to write {path}, got: {error.strerror}; the run itself is saved"
            ) from error


def plot_learning(log: Log, ax: Any = None, figures: Sequence[str] | None = None) -> Any:
    """Learning curves into `ax` (or new axes), which is returned: every loss of the log, or the `figures`.

    A ring marks the least of each validation loss.
    """
    records, ax = _records(log), _axes(ax)
    names = figures or [name for name in records[0] if name.endswith("loss")]
    epochs = [record["epoch"] for record in records]
    for name in names:
        values = np.array([record.get(name) for record in records], dtype=float)
        (line,) = ax.plot(epochs, values, marker=".", label=name.replace("_", " "))
        if name.startswith("validation") and np.isfinite(values).any():
            best = int(np.nanargmin(values))
            ax.plot(epochs[best], values[best], "o", ms=10, mfc="none", color=line.get_color())
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("epoch")
    ax.set_title("Learning curves")
    ax.legend(fontsize="small")
    return ax


def plot_flow(log: Log, ax: Any = None, layer: int = -1, direction: str = "fwd") -> Any:
    """‖∂L/∂h_t‖ of the probe, epochs upward and time to the right, into `ax` (or new axes); returns it.

    Read from the records' "flow", one layer and direction of it; ValueError for a log without.
    """
    records = [record for record in _records(log) if record.get("flow") is not None]
    if not records:
        raise ValueError("expected the log of a run with a probe, train.fit(…, probe=batch), got none")
    if direction not in ("fwd", "rev"):
        raise ValueError(f"expected direction 'fwd' or 'rev', got {direction!r}")
    rows = [np.array(record["flow"], dtype=float)[layer, int(direction == "rev")] for record in records]
    ax = _image(np.stack(rows), ax, "‖∂L/∂h_t‖")
    shown = np.unique(np.linspace(0, len(records) - 1, min(len(records), 11)).astype(int))
    ax.set_yticks(shown, [str(records[k]["epoch"]) for k in shown])
    ax.set_ylabel("epoch")
    ax.set_title("How far BPTT reached, from epoch to epoch")
    return ax


def _records(log: Log) -> Sequence[Mapping[str, Any]]:
    """The records of a folder's log.jsonl, of a file, or as they are given."""
    if not isinstance(log, str | os.PathLike):
        records = list(log)
    else:
        path = Path(log) / "log.jsonl" if Path(log).is_dir() else Path(log)
        records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if not records:
        raise ValueError("expected a log of at least one epoch, got none")
    return records
