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
    for name, view in VIEWS.items():
        tg.manual_seed(0)
        path = view().render(FOLDER / f"{name}.svg")
        print(f"{path.relative_to(FOLDER.parent.parent)}  {path.stat().st_size / 1000:.0f} kB")
    return 0


def loss(net: Any, steps: int) -> tg.Tensor:
    """The mean square of a network's outputs over a random sequence."""
    y, _ = net(tg.randn(steps, 1, 4))
    made = (y * y).mean()
    made.name = "loss"
    return made


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
    "op": lambda: visual.draw(loss(nn.RNN(4, 8), 2), level="op"),
    "gate": lambda: visual.draw(loss(nn.LSTM(4, 8), 3), level="gate", gradients=True),
    "cell": lambda: visual.draw(loss(nn.LSTM(4, 8, 2, bidirectional=True), 5), gradients=True),
    "dark": lambda: visual.draw(loss(nn.GRU(4, 8, 2), 5), gradients=True, tokens="hello", theme="dark"),
    "folded": lambda: visual.draw(loss(nn.GRU(4, 8), 300), gradients=True, focus=150),
    "heatmap": lambda: visual.heatmap(tg.flow(loss(nn.LSTM(4, 8, 2), 30))),
    "influence": reached,
    "truncated": truncated,
    "compare": compared,
    "nan": broken,
}

if __name__ == "__main__":
    raise SystemExit(main())
