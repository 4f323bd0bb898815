"""Handwritten digits, read as sequences: eight rows behind a convolution, or 64 pixels one by one.

python -m examples.digits
python -m examples.digits pixels

Data: Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998; UCI, CC BY 4.0), 1797 images of 8 × 8
pixels from 0 to 16, as shipped in the PyPI package `scikit-learn` (BSD-3). 1297 are learnt from, 500 asked.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np

from examples.common import Reader
from examples.data import Array, in_package
from examples.tasks import Shape, Task, accuracy, main, whole
from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.train import Batches

LEARNT = 1297


@cache
def images() -> tuple[Array, Array]:
    """All images in an order drawn once, (1797, 8, 8) from 0 to 1, and what they show."""
    path = in_package("scikit-learn", "datasets/data/digits.csv.gz")
    rows = np.loadtxt(path, delimiter=",", dtype=np.int64)
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    return np.float32(rows[:, :-1].reshape(-1, 8, 8) / 16), rows[:, -1]


def pixels() -> tuple[Array, Array]:
    """The same images as sequences of 64 numbers, (1797, 64, 1)."""
    x, y = images()
    return x.reshape(-1, 64, 1), y


class Rows(Reader):
    """A convolution with eight filters over the image; a recurrent network reads what it says of each row."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape.kind, 8 * 8, 32, 10, *shape[1:])
        look = nn.Sequential(nn.Conv2d(1, 8, kernel_size=3, padding=1), nn.ReLU())
        self.rnn = nn.ConvRecurrent(look, self.rnn)

    def forward(self, x: Tensor, lengths: Any = None) -> Tensor:
        return super().forward(x.swapaxes(0, 1)[:, None], lengths)


def task(name: str, read: Any, **others: Any) -> Task:
    """Rows or pixels."""
    return Task(
        name=name, data=lambda seed: Batches(*(a[:LEARNT] for a in read()), batch_size=32, seed=seed),
        asked=lambda: whole(*(a[LEARNT:] for a in read())), score=accuracy,
        sample=lambda: (whole(*(a[-1:] for a in read())), None), **others,
    )  # fmt: skip


ROWS = task(
    "digits", images, title="Digits, row by row behind a convolution", network=Rows, shape=Shape("LSTM"),
    epochs=15, rate=5e-3, beside="",
)  # fmt: skip
PIXELS = task(
    "digits pixels", pixels, title="Digits, 64 pixels one by one", shape=Shape("LSTM"),
    network=lambda shape: Reader(shape.kind, 1, 64, 10, *shape[1:]), epochs=30, rate=1e-2, beside="",
)  # fmt: skip

if __name__ == "__main__":
    chosen = PIXELS if sys.argv[1:2] == ["pixels"] else ROWS
    sys.exit(main(chosen, [a for a in sys.argv[1:] if a != "pixels"]))
