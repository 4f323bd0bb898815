"""Copy memory: ten symbols, ten blanks, a sign; now say the ten symbols again.

python -m examples.copying

Hochreiter & Schmidhuber (1997), in the form of Arjovsky, Shah & Bengio (2016): T + 20 steps, eight symbols. A
network that remembers nothing answers the blanks and guesses the rest: 10·ln 8 / (T + 20) nats a step. The
LSTM's forget gates start wide open.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from examples.common import Tagger
from examples.data import one_hot
from examples.tasks import Array, Drawn, Shape, Task, even, main, nats
from tinygrad_rnn.train import Batch

KEPT, WAIT, SYMBOLS = 10, 10, 8
BLANK, SIGN = SYMBOLS, SYMBOLS + 1
CHANCE = KEPT * math.log(SYMBOLS) / (WAIT + 2 * KEPT)


def draw(rng: np.random.Generator, size: int = 32) -> Batch:
    x, y = np.full((2, WAIT + 2 * KEPT, size), BLANK)
    x[:KEPT] = y[-KEPT:] = rng.integers(0, SYMBOLS, (KEPT, size))
    x[-KEPT - 1] = SIGN
    return even(one_hot(x, SYMBOLS + 2), y)


def score(answers: Array, asked: Batch) -> dict[str, float]:
    y = asked.y.numpy()
    right = answers[-KEPT:].argmax(-1) == y[-KEPT:]
    return {"nats per step": float(nats(answers, y).mean()), "symbols right": float(right.mean())}


TASK = Task(
    name="copying", title="Copy memory", shape=Shape("LSTM"),
    network=lambda shape: Tagger(shape.kind, SYMBOLS + 2, 64, SYMBOLS + 1, *shape[1:], forget_bias=5.0),
    data=lambda seed: Drawn(draw, 3000, seed), rate=1e-2,
    asked=lambda: draw(np.random.default_rng(2024), 500), score=score,
    sample=lambda: (draw(np.random.default_rng(1), 1), None),
    beside=f"10·ln 8 / 30 = {CHANCE:.4f} without a memory",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(TASK))
