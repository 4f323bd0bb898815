"""Where did the NaN come from? A norm whose value at zero is harmless, and whose gradient there is not.

python -m examples.find_nan
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import tinygrad_rnn as tg
import visual
from examples.common import show

STEPS, PADDING = 6, 2


def main() -> int:
    warnings.simplefilter("ignore", RuntimeWarning)
    tg.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((STEPS, 1, 3)).astype(np.float32)
    x[:PADDING] = 0.0
    weights = [tg.tensor(np.eye(3, dtype=np.float32) * s, requires_grad=True) for s in (0.8, 0.5)]
    weights[0].name, weights[1].name = "weight_ih", "weight_hh"
    try:
        with tg.detect_anomaly():
            energy(x, weights).backward()
    except tg.AnomalyError as error:
        found = " ".join(str(error).split())
    else:
        raise RuntimeError("expected a NaN, found none")
    picture = visual.draw(energy(x, weights), level="gate", gradients=True, title="Where the NaN came from")
    return show(picture, "find_nan", f"The loss is finite, the gradient is not: {found}")


def energy(x: np.ndarray[Any, Any], weights: list[tg.Tensor]) -> tg.Tensor:
    """Σ_t ‖h_t‖ of a plain recurrent network; √ has no gradient at 0, where padding leaves the state."""
    h, total = tg.zeros(1, 3), None
    for t in range(len(x)):
        with tg.at(layer=0, direction="forward", time=t):
            h = tg.label(h=tg.ops.tanh(tg.tensor(x[t]) @ weights[0] + h @ weights[1]))
            norm = tg.label(norm=tg.ops.sqrt((h * h).sum()))
        total = norm if total is None else total + norm
    total.name = "loss"
    return total


if __name__ == "__main__":
    raise SystemExit(main())
