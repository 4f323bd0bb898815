"""Does the backward direction carry more than the forward one? A network that must recall the first number.

python -m examples.directions
"""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg
import visual
from examples.common import Reader, loss_of, show, train

STEPS, UPDATES = 20, 120


def recall(rng: np.random.Generator) -> tuple[tg.Tensor, tg.Tensor]:
    """Random numbers, and the first of them to recall."""
    x = rng.random((STEPS, 32, 1), dtype=np.float32)
    return tg.tensor(x), tg.tensor(x[0])


def main() -> int:
    tg.manual_seed(0)
    rng, net = np.random.default_rng(0), Reader("LSTM", 1, 12, 1, bidirectional=True)
    train(net, (recall(rng) for _ in range(UPDATES)))
    flow = tg.flow(loss_of(net, *recall(rng)))
    forward, reverse = np.nanmax(flow.h[0, 0]), np.nanmax(flow.h[0, 1])
    at_first = flow.h[0, 1, 0] / flow.h[0, 0, 0]
    verdict = "more" if reverse > forward else "less"
    times = f"{reverse / forward:.2g} times"
    title = f"Recalling the first number: reverse ← carries {times} as much as forward →"
    picture = visual.heatmap(flow, title=title)
    answer = (
        f"The backward direction carries {verdict}: its largest gradient is "
        f"{times} the forward one's, and at the first step, which holds the answer, "
        f"{at_first:.2g} times."
    )
    return show(picture, "directions", answer)


if __name__ == "__main__":
    raise SystemExit(main())
