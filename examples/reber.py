"""The embedded Reber grammar: which symbol comes next? The last but one was said at the very beginning.

python -m examples.reber

Strings B x B…E x E, where x is T or P and B…E is a walk through Reber's automaton (Reber 1967; embedded by
Cleeremans, Servan-Schreiber & McClelland 1989; learnt by LSTM, Hochreiter & Schmidhuber 1997). The walk is
random, so no network can be surer than the grammar: `floor()` nats per prediction.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np

from examples.common import Tagger
from examples.data import one_hot
from examples.tasks import Array, Drawn, Shape, Task, main, nats, whole
from tinygrad_rnn.train import Batch

LETTERS = "BTPSXVE"
WALK = {
    0: {"T": 1, "P": 2}, 1: {"S": 1, "X": 3}, 2: {"T": 2, "V": 4}, 3: {"X": 2, "S": 5}, 4: {"P": 3, "V": 5},
}  # fmt: skip
"""Reber's automaton: from a state, by a letter, to a state, both ways equally likely; 5 is the end."""


def floor() -> float:
    """Entropy per prediction: ln 2 × the expected number of choices / the expected number of predictions."""
    moves = np.zeros((5, 5))
    for state, ways in WALK.items():
        for target in ways.values():
            if target < 5:
                moves[state, target] += 0.5
    choices = np.linalg.inv(np.eye(5) - moves)[0].sum()  # visits of the five states, beginning in 0
    return math.log(2) * (1 + choices) / (choices + 5)  # B x B … E x E: five letters are certain


def string(rng: np.random.Generator) -> str:
    """One string of the grammar."""
    state, walked = 0, ""
    while state < 5:
        letter = sorted(WALK[state])[rng.integers(2)]
        walked, state = walked + letter, WALK[state][letter]
    outer = "TP"[rng.integers(2)]
    return f"B{outer}B{walked}E{outer}E"


def spelled(strings: Sequence[str]) -> Batch:
    """All letters but the last, and what comes after each."""
    codes = [np.array([LETTERS.index(letter) for letter in s]) for s in strings]
    return whole([one_hot(c[:-1], len(LETTERS)) for c in codes], [c[1:] for c in codes])


def draw(rng: np.random.Generator, size: int = 32) -> Batch:
    return spelled([string(rng) for _ in range(size)])


def score(answers: Array, asked: Batch) -> dict[str, float]:
    """The floor and what the network loses on it; how often it knows the last letter but one."""
    y, lengths = asked.y.numpy(), np.asarray(asked.lengths)
    chosen = lengths - 4  # of the letters to be said, four follow from what stands before
    lost = nats(answers, y).sum() - math.log(2) * chosen.sum()
    outer = (lengths - 2, np.arange(len(lengths)))
    return {
        "nats per prediction": floor() + float(lost / lengths.sum()),
        "outer symbol": float((answers[outer].argmax(-1) == y[outer]).mean()),
    }


TASK = Task(
    name="reber", title="Embedded Reber grammar", shape=Shape("LSTM"), ahead=True,
    network=lambda shape: Tagger(shape.kind, len(LETTERS), 16, len(LETTERS), *shape[1:]),
    data=lambda seed: Drawn(draw, 1000, seed), rate=2e-2,
    asked=lambda: draw(np.random.default_rng(2024), 1000), score=score,
    sample=lambda: (spelled(["BTBPVPXVVETE"]), "BTBPVPXVVET"),
    beside=f"{floor():.5f} is the grammar's own, outer symbol 1",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(TASK))
