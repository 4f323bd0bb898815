"""How many sunspots next year? A network reads the last twelve years; Weigend's benchmark of 1990.

python -m examples.sunspots

Data: yearly sunspot numbers 1700–2008 (NOAA, public domain), as shipped in the PyPI package `statsmodels`
(BSD-3). Learnt from up to 1920, asked about 1921–1955, each year from the twelve true ones before it. The
measure is Weigend's average relative variance: mean squared error / 1535, the variance of the series.
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np

from examples.common import Reader
from examples.data import Array, in_package
from examples.tasks import Shape, Task, main, whole
from tinygrad_rnn.train import Batch, Batches

LAGS, LAST, ASKED = 12, 1920, (1921, 1955)
VARIANCE, LARGEST = 1535.0, 191.2
"""Both as in Weigend, Huberman & Rumelhart (1990): they divide the series by its largest value."""


@cache
def windows(first: int, last: int) -> tuple[Array, Array]:
    """Of each year from first to last: the numbers of the twelve years before, (N, 12), and its own, (N,)."""
    path = in_package("statsmodels", "datasets/sunspots/sunspots.csv")
    years, numbers = np.loadtxt(path, delimiter=",", skiprows=1).T
    rows = np.lib.stride_tricks.sliding_window_view(numbers, LAGS + 1)
    rows = rows[(years[LAGS:] >= first) & (years[LAGS:] <= last)]
    return rows[:, :LAGS], rows[:, LAGS]


def scaled(years: tuple[Array, Array]) -> tuple[Array, Array]:
    """As the network reads and says them: (N, 12, 1) and (N, 1), the largest number being 1."""
    lags, numbers = years
    return np.float32(lags[..., None] / LARGEST), np.float32(numbers[:, None] / LARGEST)


def data(seed: int) -> Batches:
    return Batches(*scaled(windows(1700, LAST)), batch_size=19, seed=seed)


def score(answers: Array, asked: Batch) -> dict[str, float]:
    wrong = (answers - asked.y.numpy()) * LARGEST
    return {"relative variance": float(np.mean(wrong**2) / VARIANCE)}


def autoregression() -> float:
    """The same measure of AR(12): twelve coefficients and a constant, by least squares."""
    with_constant = lambda lags: np.column_stack([lags[..., 0], np.ones(len(lags))])
    (lags, numbers), (asked, _) = scaled(windows(1700, LAST)), scaled(windows(*ASKED))
    coefficients = np.linalg.lstsq(with_constant(lags), numbers)[0]
    return score(with_constant(asked) @ coefficients, TASK.asked())["relative variance"]


TASK = Task(
    name="sunspots", title="Sunspots from the twelve years before", shape=Shape("LSTM"),
    network=lambda shape: Reader(shape.kind, 1, 8, 1, *shape[1:]),
    data=data, epochs=150, rate=1e-2,
    asked=lambda: whole(*scaled(windows(*ASKED))), score=score,
    sample=lambda: (whole(*scaled(windows(1928, 1928))), [f"’{year}" for year in range(16, 28)]),
    beside="0.086 (Weigend 1990), 0.10–0.14 LSTM-8 (PyTorch), 0.126 AR(12) (least squares)",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(TASK))
