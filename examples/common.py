"""What the small examples share: the adding problem, a reader that trains on it, and where pictures go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from visual import Picture

OUT = Path("out")


def adding(rng: np.random.Generator, steps: int, batch: int) -> tuple[tg.Tensor, tg.Tensor]:
    """The adding problem (Hochreiter & Schmidhuber 1997): add the two marked numbers of a sequence.

    One mark stands in the first tenth, so that the answer needs a memory over almost the whole sequence.
    """
    x = np.zeros((steps, batch, 2), np.float32)
    x[:, :, 0] = rng.random((steps, batch))
    first = rng.integers(0, max(steps // 10, 1), batch)
    second = rng.integers(steps // 2, steps, batch)
    x[first, range(batch), 1] = x[second, range(batch), 1] = 1.0
    return tg.tensor(x), tg.tensor((x[:, :, 0] * x[:, :, 1]).sum(0)[:, None])


class Reader(nn.Module):
    """A recurrent layer, and a linear one that reads its last state."""

    def __init__(self, kind: str, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(inputs, hidden)
        self.readout = nn.Linear(hidden, outputs)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        _, state = self.rnn(x)
        return self.readout((state[0] if isinstance(state, tuple) else state)[-1])


def train(net: Any, batches: Iterator[tuple[tg.Tensor, tg.Tensor]], rate: float = 1e-2) -> float:
    """Adam over the batches, squared error; the last loss."""
    adam, error = optim.Adam(net.parameters(), lr=rate), nn.MSELoss()
    last = float("nan")
    for x, y in batches:
        adam.zero_grad()
        loss = error(net(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        last = float(loss.item())
    return last


def loss_of(net: Any, x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
    """The squared error, recorded and named."""
    loss = nn.MSELoss()(net(x), y)
    loss.name = "loss"
    return loss


def show(picture: Picture, name: str, answer: str) -> int:
    """Write the picture into out/, say the answer, and where the picture is."""
    OUT.mkdir(exist_ok=True)
    print(answer)
    print(f"Picture: {picture.render(OUT / f'{name}.svg')}")
    return 0
