"""Who says /ae/? Nine men spoke two Japanese vowels, 640 times in all; a network reads 12 numbers a frame.

python -m examples.vowels

Data: Japanese Vowels (Kudo, Toyama & Shimbo 1999; UCI, CC BY 4.0), 270 utterances to learn from and 370 to be
asked about, 7 to 29 frames each, as shipped in the PyPI package `aeon` (BSD-3).
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np

from examples.common import Reader
from examples.data import Array, in_package
from examples.tasks import Shape, Task, accuracy, main, whole
from tinygrad_rnn.train import Batches


@cache
def read(part: str) -> tuple[list[Array], Array]:
    """The frames of every utterance, (T, 12) each, and its speaker, 0 to 8."""
    path = in_package("aeon", f"datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts")
    lines = [line.split(":") for line in path.read_text("utf-8").partition("@data")[2].split()]
    frames = [np.array([row.split(",") for row in rows], np.float32).T for *rows, _ in lines]
    return frames, np.array([int(speaker) - 1 for *_, speaker in lines])


def utterances(part: str) -> tuple[list[Array], Array]:
    """The same with mean 0 and deviation 1 in each of the twelve numbers, as the training part has them."""
    known, (frames, speakers) = np.concatenate(read("TRAIN")[0]), read(part)
    return [(f - known.mean(0)) / known.std(0) for f in frames], speakers


def data(seed: int) -> Batches:
    return Batches(*utterances("TRAIN"), batch_size=30, seed=seed)


TASK = Task(
    name="vowels", title="Japanese vowels", shape=Shape("GRU", bidirectional=True),
    network=lambda shape: Reader(shape.kind, 12, 48, 9, *shape[1:]),
    data=data, epochs=60, rate=5e-3,
    asked=lambda: whole(*utterances("TEST")), score=accuracy,
    sample=lambda: (whole(utterances("TEST")[0][:1], [0]), None),
    beside="0.95–0.97 LSTM, 0.95–0.98 bidirectional GRU (PyTorch)",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(TASK))
