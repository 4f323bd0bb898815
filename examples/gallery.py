"""Every view, drawn by one command into docs/pictures/.

python -m examples.gallery
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
import visual
from examples import find_nan, truncation
from examples.common import adding
from tinygrad_rnn import nn
from visual import Picture

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in VIEWS:
        path = draw(name).render(FOLDER / f"{name}.svg")
        print(f"{path.relative_to(FOLDER.parent.parent)}  {path.stat().st_size / 1000:.0f} kB")
    return 0


def draw(name: str) -> Picture:
    """One of the views, the same at every run."""
    tg.manual_seed(0)
    return VIEWS[name]()


def loss(net: Any, steps: int) -> tg.Tensor:
    """The mean square of a network's outputs over a random sequence."""
    y, _ = net(tg.randn(steps, 1, 4))
    made = (y * y).mean()
    made.name = "loss"
    return made


class Hybrid(nn.Module):
    """Convolution over time, a recurrent layer in both directions, attention on top."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(4, 6, 3, padding=1), nn.ReLU())
        self.rnn = nn.GRU(6, 4, bidirectional=True)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
        self.readout = nn.Linear(8, 1)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        x = tg.ops.permute_dims(self.front(tg.ops.permute_dims(x, (1, 2, 0))), (2, 0, 1))
        return self.readout(self.encoder(self.rnn(x)[0]))


def hybrid() -> Picture:
    scores = Hybrid()(tg.randn(4, 1, 4))
    return visual.draw((scores * scores).mean(), gradients=True, title="Convolution, GRU, attention")


def feedforward() -> Picture:
    net = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 1))
    x = tg.randn(1, 20)
    x.name = "x"
    return visual.draw(net(x).sum(), gradients=True, title="No loop: all steps at once")


def ragged() -> Picture:
    y, _ = nn.GRU(4, 8, bidirectional=True)(tg.randn(5, 3, 4), lengths=[5, 3, 2])
    return visual.draw((y * y).mean(), gradients=True, title="Sequences of 5, 3 and 2 steps")


def truncated() -> Picture:
    x, y = adding(np.random.default_rng(0), 8, 4)
    cut = truncation.run(nn.GRUCell(2, 12), nn.Linear(12, 1), x, y, 4)
    return visual.draw(cut, gradients=True, title="BPTT cut after every 4 steps")


def reached() -> Picture:
    y, _ = nn.GRU(4, 8)(tg.randn(12, 1, 4))
    losses = [(y[t] * y[t]).sum() for t in range(12)]
    return visual.influence(tg.flow((y * y).sum()), losses)


def compared() -> Picture:
    net = nn.LSTM(4, 8)
    x = tg.randn(4, 1, 4)
    flows = []
    for factor in (1.0, 2.0):
        with tg.no_grad():
            net.weight_hh_l0.data[...] *= factor
        y, _ = net(x)
        flows.append(tg.flow((y * y).mean()))
    return visual.compare(*flows, ("as it was", "weight_hh × 2"))


def broken() -> Picture:
    x = np.random.default_rng(0).standard_normal((4, 1, 3)).astype(np.float32)
    x[:2] = 0.0
    weights = [tg.tensor(np.eye(3, dtype=np.float32) * s, requires_grad=True) for s in (0.8, 0.5)]
    weights[0].name, weights[1].name = "weight_ih", "weight_hh"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return visual.draw(find_nan.energy(x, weights), gradients=True, title="Where the NaN came from")


VIEWS: dict[str, Callable[[], Picture]] = {
    "rolled": lambda: visual.rolled(nn.LSTM(4, 8, 2, bidirectional=True)),
    "layer": lambda: visual.draw(loss(nn.LSTM(4, 8, 2, bidirectional=True), 5), "layer", gradients=True),
    "op": lambda: visual.draw(loss(nn.RNN(4, 8), 2), level="op"),
    "gate": lambda: visual.draw(loss(nn.LSTM(4, 8), 3), level="gate", gradients=True),
    "cell": lambda: visual.draw(loss(nn.LSTM(4, 8, 2, bidirectional=True), 5), gradients=True),
    "dark": lambda: visual.draw(loss(nn.GRU(4, 8, 2), 5), gradients=True, tokens="hello", theme="dark"),
    "folded": lambda: visual.draw(loss(nn.GRU(4, 8), 300), gradients=True, focus=150),
    "ragged": ragged,
    "hybrid": hybrid,
    "feedforward": feedforward,
    "heatmap": lambda: visual.heatmap(tg.flow(loss(nn.LSTM(4, 8, 2), 30))),
    "influence": reached,
    "truncated": truncated,
    "compare": compared,
    "nan": broken,
}

if __name__ == "__main__":
    raise SystemExit(main())
