"""Why does my plain RNN forget, and my LSTM not? The same task, three nets, one colour scale.

python -m examples.why_forget
"""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg
import visual
from examples.common import Reader, adding, loss_of, show, train

STEPS, UPDATES = 40, 150
HIDDEN, OPEN = 24, 3.0
"""The LSTM's forget gates start open, as usual (Gers, Schmidhuber & Cummins 2000)."""
KINDS = ("RNN", "LSTM", "GRU")


def main() -> int:
    flows, kept = [], {}
    for kind in KINDS:
        tg.manual_seed(0)
        rng = np.random.default_rng(0)
        net = Reader(kind, 2, HIDDEN, 1, forget_bias=OPEN)
        train(net, (adding(rng, STEPS, 32) for _ in range(UPDATES)))
        flow = tg.flow(loss_of(net, *adding(np.random.default_rng(1), STEPS, 16)))
        state = flow.h if flow.c is None else flow.c
        flows.append(flow)
        kept[kind] = float(state[0, 0, 0] / state[0, 0, -1])
    names = [f"{kind}: {share:.2g} is left" for kind, share in kept.items()]
    title = f"The adding problem: how much of the gradient is left {STEPS - 1} steps back"
    picture = visual.heatmap(flows, names=names, title=title)
    said = ", ".join(f"{kind} {share:.2g}" for kind, share in kept.items())
    best, worst = max(kept, key=kept.__getitem__), min(kept, key=kept.__getitem__)
    answer = (
        f"After {UPDATES} updates on the adding problem, of the gradient at the last "
        f"step this part is left {STEPS - 1} steps earlier: {said}; "
        f"the {worst} forgets most, the {best} least."
    )
    return show(picture, "why_forget", answer)


if __name__ == "__main__":
    raise SystemExit(main())
