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
    """Recurrent layers, and a linear one that reads the last state of each direction of the top layer.

    An LSTM's forget gates start open, as usual (Gers, Schmidhuber & Cummins 2000).
    """

    def __init__(
        self, kind: str, inputs: int, hidden: int, outputs: int, layers: int = 1,
        bidirectional: bool = False, forget_bias: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        opened = {"forget_bias": forget_bias} if kind == "LSTM" else {}
        self.rnn = getattr(nn, kind)(inputs, hidden, layers, bidirectional=bidirectional, **opened)
        self.directions = 1 + bidirectional
        self.readout = nn.Linear(hidden * self.directions, outputs)

    def forward(self, x: tg.Tensor, lengths: Any = None) -> tg.Tensor:
        _, state = self.rnn(x, lengths=lengths)
        h = state[0] if isinstance(state, tuple) else state
        top = [h[k] for k in range(-self.directions, 0)]
        return self.readout(tg.ops.concatenate(top, axis=-1) if len(top) > 1 else top[0])


class Tagger(Reader):
    """The same, answering at every step: (T, N, outputs)."""

    def forward(self, x: tg.Tensor, lengths: Any = None) -> tg.Tensor:
        return self.carry(x, None, lengths)[0]

    def carry(self, x: tg.Tensor, state: Any, lengths: Any = None) -> tuple[tg.Tensor, Any]:
        """The answers, going on from a state, and the state after them."""
        output, state = self.rnn(x, state, lengths=lengths)
        return self.readout(output), state


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
