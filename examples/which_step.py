"""Which step of this sequence moved this weight? A network that spells a word, letter by letter.

python -m examples.which_step
"""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg
import visual
from examples.common import show
from tinygrad_rnn import nn
from visual.picture import shown

TEXT = "hello world"


def main() -> int:
    tg.manual_seed(0)
    letters = sorted(set(TEXT))
    codes = [letters.index(c) for c in TEXT]
    x = tg.tensor(np.eye(len(letters), dtype=np.float32)[codes[:-1]][:, None])
    rnn, readout = nn.GRU(len(letters), 12), nn.Linear(12, len(letters))
    loss = nn.functional.cross_entropy(readout(rnn(x)[0][:, 0]), tg.tensor(codes[1:]))
    loss.name = "loss"
    flow = tg.flow(loss)
    name = next(name for name in flow.weights if name.endswith("weight_hh_l0"))
    parts = flow.weight_share(name).astype(np.float64)
    whole = parts.sum(0)
    shares = (parts * whole).sum((1, 2)) / (whole * whole).sum()
    t = int(shares.argmax())
    tokens = [f"{shown(letter)} {share:.0%}" for letter, share in zip(TEXT, shares, strict=False)]
    title = f"“{TEXT}”: what each letter brought to the gradient of {name}"
    picture = visual.draw(flow, gradients=True, tokens=tokens, title=title)
    answer = (
        f"Reading “{TEXT[t]}” at step {t} (where “{TEXT[t + 1]}” comes next) moved "
        f"{name} most: {shares[t]:.0%} of its gradient; the shares of all steps sum to {shares.sum():.0%}."
    )
    return show(picture, "which_step", answer)


if __name__ == "__main__":
    raise SystemExit(main())
