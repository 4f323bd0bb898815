"""The adding problem: two of fifty numbers are marked; what is their sum?

python -m examples.adding

Hochreiter & Schmidhuber (1997). The numbers are drawn from U(0, 1), so always answering 1 has an error of
2·Var U(0, 1) = 1/6: below it the network remembers.
"""

from __future__ import annotations

import sys

import numpy as np

from examples import common
from examples.common import Reader
from examples.tasks import Array, Drawn, Shape, Task, even, main
from tinygrad_rnn.train import Batch

STEPS = 50


def draw(rng: np.random.Generator, size: int = 32) -> Batch:
    return even(*(a.numpy() for a in common.adding(rng, STEPS, size)))


def score(answers: Array, asked: Batch) -> dict[str, float]:
    return {"squared error": float(np.mean((answers - asked.y.numpy()) ** 2))}


TASK = Task(
    name="adding", title="The adding problem", shape=Shape("LSTM"),
    network=lambda shape: Reader(shape.kind, 2, 32, 1, *shape[1:]),
    data=lambda seed: Drawn(draw, 1500, seed), rate=1e-2,
    asked=lambda: draw(np.random.default_rng(2024), 2000), score=score,
    sample=lambda: (draw(np.random.default_rng(1), 1), None),
    beside="1/6 = 0.1667 by always answering 1",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(TASK))
