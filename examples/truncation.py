"""What did truncating BPTT cost me? The same sequence with and without a cut after every four steps.

python -m examples.truncation
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg
import visual
from examples.common import adding, show
from tinygrad_rnn import nn

STEPS, EVERY = 12, 4


def main() -> int:
    tg.manual_seed(0)
    x, y = adding(np.random.default_rng(0), STEPS, 8)
    cell, readout = nn.GRUCell(2, 12), nn.Linear(12, 1)
    whole = gradient(cell, run(cell, readout, x, y, STEPS))
    short = gradient(cell, run(cell, readout, x, y, EVERY))
    cosine = float(whole @ short / np.linalg.norm(whole) / np.linalg.norm(short))
    lost = float(np.linalg.norm(whole - short) / np.linalg.norm(whole))
    loss = run(cell, readout, x, y, EVERY)
    cut = f"BPTT cut after every {EVERY} of {STEPS} steps"
    picture = visual.draw(loss, gradients=True, title=f"{cut}: {lost:.1%} of the gradient changed")
    answer = (
        f"Cutting after every {EVERY} of {STEPS} steps changed the recurrent weights' "
        f"gradient by {lost:.1%} of its norm (cosine with the whole gradient: {cosine:.4f})."
    )
    return show(picture, "truncation", answer)


def run(cell: Any, readout: Any, x: tg.Tensor, y: tg.Tensor, every: int) -> tg.Tensor:
    """The loss of all states, detached after each `every` steps."""
    h, states = tg.zeros(x.shape[1], 12), []
    for t in range(x.shape[0]):
        if t and t % every == 0:
            h = h.detach()
        with tg.at(layer=0, direction="forward", time=t):
            h = tg.label(h=cell(x[t], h))
        states.append(h)
    answers = readout(tg.ops.stack(states))
    loss = nn.MSELoss()(answers, tg.tensor(np.repeat(y.numpy()[None], x.shape[0], 0)))
    loss.name = "loss"
    return loss


def gradient(cell: Any, loss: tg.Tensor) -> np.ndarray[Any, Any]:
    cell.zero_grad()
    loss.backward()
    return np.asarray(cell.weight_hh.grad.numpy(), np.float64).ravel()


if __name__ == "__main__":
    raise SystemExit(main())
