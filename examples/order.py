"""Temporal order: among fifty symbols two are an X or a Y; which came, and in which order?

python -m examples.order

Hochreiter & Schmidhuber (1997), problem 6a, at half its length: 48 distractors a–d, the two signs at steps
5–9 and 25–29, four classes. An LSTM whose forget gates start open (bias 1) solves it, a plain RNN does not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from examples.common import Reader
from examples.data import one_hot
from examples.tasks import Drawn, Shape, Task, accuracy, even, main
from tinygrad_rnn.train import Batch

STEPS, LETTERS = 50, "abcdXY"


def draw(rng: np.random.Generator, size: int = 32) -> Batch:
    """Letters, (T, N) as rows that are 1 at the letter, and classes: XX, XY, YX, YY as 0 to 3."""
    x, signs = rng.integers(0, 4, (STEPS, size)), rng.integers(0, 2, (2, size))
    for sign, begin in zip(signs, (STEPS // 10, STEPS // 2), strict=True):
        x[rng.integers(begin, begin + STEPS // 10, size), np.arange(size)] = 4 + sign
    return even(one_hot(x, len(LETTERS)), 2 * signs[0] + signs[1])


def sample() -> tuple[Batch, Sequence[str]]:
    one = draw(np.random.default_rng(1), 1)
    return one, [LETTERS[k] for k in one.x.numpy()[:, 0].argmax(-1)]


TASK = Task(
    name="order", title="Temporal order", shape=Shape("LSTM"),
    network=lambda shape: Reader(shape.kind, len(LETTERS), 32, 4, *shape[1:]),
    data=lambda seed: Drawn(draw, 2000, seed), rate=3e-3,
    asked=lambda: draw(np.random.default_rng(2024), 1000), score=accuracy,
    sample=sample, beside="0.25 by guessing",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(TASK))
