"""What changed after training? One network on one sequence, before and after, at one colour scale.

python -m examples.before_after
"""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg
import visual
from examples.common import Reader, adding, loss_of, show, train
from visual.compare import differences

STEPS, UPDATES = 6, 200


def main() -> int:
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    net = Reader("LSTM", 2, 16, 1)
    x, y = adding(np.random.default_rng(1), STEPS, 16)
    before = tg.flow(loss_of(net, x, y))
    train(net, (adding(rng, STEPS, 32) for _ in range(UPDATES)))
    after = tg.flow(loss_of(net, x, y))
    changed = differences(before.graph("cell"), after.graph("cell"))
    first = next(d for d in changed if d.id.startswith("l0"))
    fall = f"{UPDATES} updates took the loss from {before.loss.item():.3g} to {after.loss.item():.3g}"
    picture = visual.compare(before, after, ("before training", "after training"), title=fall)
    answer = f"{fall}; within the recurrent layer the gradient changed most at {first.id} ({first.what})."
    return show(picture, "before_after", answer)


if __name__ == "__main__":
    raise SystemExit(main())
