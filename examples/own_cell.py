"""What does a cell of my own cost? Ten lines of maths; its kernels, forward and backward, are generated.

python -m examples.own_cell
"""

from __future__ import annotations

import inspect
import statistics
import time

import numpy as np

import tinygrad_rnn as tg
import visual
from examples.common import Reader, adding, loss_of, show, train
from tinygrad_rnn import nn, ops

STEPS, UPDATES, HIDDEN, BATCH = 30, 200, 32, 16


class SurpriseCell(nn.Module):
    """It writes what it did not expect: v = tanh(W x + b), p = tanh(U h₋ + d), s = 1 − exp(−(v − p)²)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.see, self.expect = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x_t: tg.Tensor, h: tg.Tensor) -> tg.Tensor:
        v, p = tg.label(v=ops.tanh(self.see(x_t)), p=ops.tanh(self.expect(h)))
        s = tg.label(s=1 - ops.exp(-ops.square(v - p)))
        return tg.label(h=(1 - s) * h + s * v)


def seconds(net: Reader, x: tg.Tensor, y: tg.Tensor) -> tuple[float, float]:
    """A training step by generated kernels, and operation by operation: medians, taking turns."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(15):
        for fused, found in times.items():
            began = time.perf_counter()
            with tg.fused(fused):
                loss_of(net, x, y).backward()
            found.append(time.perf_counter() - began)
    return statistics.median(times[True]), statistics.median(times[False])


def main() -> int:
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    net = Reader("RNN", 2, HIDDEN, 1)
    net.rnn = nn.Recurrent(SurpriseCell(2, HIDDEN))
    print(inspect.getsource(SurpriseCell))
    print(net.rnn.program(), end="\n\n")
    first = loss_of(net, *adding(rng, STEPS, 256)).item()
    train(net, (adding(rng, STEPS, BATCH) for _ in range(UPDATES)))
    last = loss_of(net, *adding(rng, STEPS, 256)).item()
    fused, by_operations = seconds(net, *adding(rng, STEPS, BATCH))
    loss = loss_of(net, *adding(rng, 4, BATCH))
    picture = visual.draw(loss, level="gate", gradients=True, title="A cell of one's own, and its BPTT")
    return show(
        picture, "own_cell",
        f"{UPDATES} updates on the adding problem took the loss from {first:.3f} to {last:.3f}; a training "
        f"step takes {1e3 * fused:.2f} ms by generated kernels, {by_operations / fused:.1f} times that "
        "operation by operation.",
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
