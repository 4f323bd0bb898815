"""Is a first name more often a woman's or a man's? A bidirectional network reads it letter by letter.

Trains on the US Census' first names, then shows for one name how BPTT runs back through the trained and the
untrained network, in pictures and in three sentences of measured numbers.

    python -m examples.names
    python -m examples.names charlotte --cell lstm

Data: 1990 US Census, as shipped in the PyPI package `names` (MIT license).
"""

from __future__ import annotations

import argparse
import string
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
import visual
from examples import tasks
from examples.data import in_package
from examples.tasks import Shape, Task, accuracy, whole
from tinygrad_rnn import nn
from tinygrad_rnn.train import Batches

CLASSES = ("female", "male")
HELD_OUT = 1000

Names = list[tuple[str, str]]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    name = options.name.lower()
    if not name or set(name) - set(string.ascii_lowercase):
        print(f"expected a name of the letters a to z, got {options.name!r}", file=sys.stderr)
        return 2
    if options.epochs < 1 or options.hidden < 1:
        print(f"expected --epochs and --hidden ≥ 1, got {options.epochs}, {options.hidden}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)

    census = read_names()
    both = sum(len(share) > 1 for share in shares().values())
    print(f"{len(census)} names; the {both} that are given to both count once, by the commoner use.")
    held_out = divided(census, options.seed)[1]
    names = replace(task(options.seed, options.hidden), epochs=options.epochs)
    shape = names.shape._replace(kind=options.cell.upper())
    plain = shape._replace(kind="RNN")
    untrained, net, rnn = (tasks.made(names, one, options.seed) for one in (shape, shape, plain))
    began = time.perf_counter()
    tasks.learn(names, net, options.seed)
    seconds = time.perf_counter() - began
    tasks.learn(names, rnn, options.seed)
    right, right_rnn = (tasks.score(names, one)["accuracy"] for one in (net, rnn))
    print(f"Trained in {seconds:.0f} s. On {len(held_out)} names held out: {right:.1%} right; a plain RNN: "
          f"{right_rnn:.1%}; always answering the larger class: {larger_class(held_out):.1%}.")  # fmt: skip

    weights = options.out / "names.safetensors"
    notes = {"data": "1990 US Census first names", "held_out_accuracy": f"{right:.4f}"}
    tg.save_network(net, weights, notes)
    print(f"Weights: {weights}")
    explain(net, untrained.eval(), rnn, name, dict(census), options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m examples.names",
        description="Train a network on first names, then draw how BPTT runs back through one of them.",
        epilog="example: python -m examples.names charlotte --cell lstm --epochs 20",
    )
    made.add_argument("name", nargs="?", default="maria", help="the name to look at (default maria)")
    made.add_argument("--cell", choices=("gru", "lstm"), default="gru", help="kind of network (default gru)")
    made.add_argument("--epochs", type=int, default=15, help="times to read all names (default 15)")
    made.add_argument("--hidden", type=int, default=32, help="features of each direction (default 32)")
    made.add_argument("--seed", type=int, default=0, help="of split, weights and order (default 0)")
    made.add_argument("--out", type=Path, default=Path("out"), help="folder for the results (default out)")
    return made


# -- data ----------------------------------------------------------------------------------------------


@cache
def shares() -> dict[str, dict[str, float]]:
    """name → class → percent of that class who bear it."""
    found: dict[str, dict[str, float]] = {}
    for kind in CLASSES:
        for line in in_package("names", f"dist.{kind}.first").read_text("ascii").splitlines():
            if line.strip():
                name, percent = line.lower().split()[:2]
                found.setdefault(name, {})[kind] = float(percent)
    return found


def read_names() -> Names:
    """Every name once, in small letters, with the class that it is given to more often."""
    return [(name, max(share, key=share.__getitem__)) for name, share in sorted(shares().items())]


def divided(census: Names, seed: int) -> tuple[Names, Names]:
    """Names to learn from, and names to be asked about."""
    order = np.random.default_rng(seed).permutation(len(census))
    return [census[i] for i in order[HELD_OUT:]], [census[i] for i in order[:HELD_OUT]]


# -- learning ------------------------------------------------------------------------------------------


def columns(some: Names) -> tuple[list[str], list[int]]:
    """The names, and the numbers of their classes."""
    return [name for name, _ in some], [CLASSES.index(kind) for _, kind in some]


def batches(some: Names, seed: int) -> Batches:
    """Names in batches of about one length each, so that little is padding; in random order."""
    return Batches(*columns(some), batch_size=256, bucket=True, seed=seed)


def task(seed: int = 0, hidden: int = 32) -> Task:
    """The names, divided by this seed, for networks with so many features."""

    def network(shape: Shape) -> nn.SequenceClassifier:
        return nn.SequenceClassifier(
            string.ascii_lowercase, CLASSES, shape.kind.lower(), hidden_size=hidden,
            num_layers=shape.layers, bidirectional=shape.bidirectional, dropout=0.3,
        )  # fmt: skip

    return Task(
        name="names", title="First names", shape=Shape("GRU", 2, bidirectional=True), network=network,
        data=lambda order: batches(divided(read_names(), seed)[0], order), epochs=15, rate=1e-2,
        ask=lambda net, batch: net(batch.x),
        asked=lambda: whole(*columns(divided(read_names(), seed)[1])), score=accuracy,
        sample=lambda: (whole(["maria"], [0]), "maria"),
        beside="0.761 by always answering the larger class",
    )  # fmt: skip


def loss_of(net: nn.SequenceClassifier, name: str, kind: str) -> tg.Tensor:
    """The loss of one answer."""
    return tasks.error(net(name), tg.tensor([CLASSES.index(kind)]))


def larger_class(some: Names) -> float:
    """The share of names for which the commoner of the two answers is right."""
    return max(sum(kind == answer for _, kind in some) for answer in CLASSES) / len(some)


# -- looking -------------------------------------------------------------------------------------------


def explain(
    net: nn.SequenceClassifier, untrained: nn.SequenceClassifier, rnn: nn.SequenceClassifier, name: str,
    census: dict[str, str], out: Path,
) -> None:  # fmt: skip
    """Pictures and three sentences about one name: before and after training, and beside a plain RNN."""
    with tg.no_grad():
        chances = tg.ops.softmax(net(name)).numpy()[0]
    answer = net.classes[int(chances.argmax())]
    kind = census.get(name, answer)
    known = f"the census says {kind}" if name in census else "the census does not list it"
    print(f"{name}: the network says {answer} ({chances.max():.1%}), {known}.")
    flows = {}
    for when, model in (("untrained", untrained), ("trained", net), ("as RNN", rnn)):
        flows[when] = tg.flow(loss_of(model, name, kind))
    for when in ("untrained", "trained"):
        for path in draw(flows[when], name, when, out):
            print(f"  {path}")
    kinds = visual.heatmap(
        [flows["trained"], flows["as RNN"]], names=(type(net.rnn).__name__, "RNN"), tokens=list(name),
        title=f"{name}: ‖∂L/∂h‖ at every letter, trained",
    )  # fmt: skip
    print(f"  {kinds.render(out / f'{name}-kinds.svg')}")
    decided = visual.influence(deciding(net, name), title=f"{name}: what the answer after letter s hangs on")
    print(f"  {decided.render(out / f'{name}-deciding.svg')}")
    for line in seen(flows["untrained"], flows["trained"], name):
        print(line)


def draw(flow: Any, name: str, when: str, out: Path) -> list[Path]:
    """The cell grid with BPTT's arrows, one step at gate level, and the heatmap."""
    letters, middle = list(name), len(name) // 2
    cells = visual.draw(flow, level="cell", gradients=True, tokens=letters, title=f"{name}, {when}")
    gates = visual.draw(
        flow.graph("gate").window(middle, middle), gradients=True, tokens=letters,
        title=f"{name}, {when}: inside the step at “{name[middle]}”",
    )  # fmt: skip
    heat = visual.heatmap(flow, tokens=letters, title=f"{name}, {when}: ‖∂L/∂h‖ at every letter")
    pictures = {"cells": cells, "gates": gates, "heatmap": heat}
    return [picture.render(out / f"{name}-{what}-{when}.svg") for what, picture in pictures.items()]


def deciding(net: nn.SequenceClassifier, name: str) -> np.ndarray[Any, Any]:
    """‖∂m_s/∂h_t‖ in the bottom layer, m_s being how far female leads when letters 0 to s are read."""
    matrix = np.full((len(name), len(name)), np.nan)
    for s in range(len(name)):
        logits = net(name[: s + 1])[0]
        matrix[s, : s + 1] = np.linalg.norm(tg.flow(logits[0] - logits[1]).h[0], axis=0)
    return matrix


def seen(before: Any, after: Any, name: str) -> list[str]:
    """Three sentences about `flow.h`, ‖∂L/∂h_t‖ by (layer, direction, letter)."""
    first, last = f"“{name[0]}”", f"“{name[-1]}”"

    def left(flow: Any, direction: int, far: int, near: int) -> str:
        top = flow.h[-1, direction]
        return f"{top[far] / top[near]:.1%}"

    def peak(flow: Any) -> str:
        bottom = np.linalg.norm(flow.h[0], axis=0)
        t = int(bottom.argmax())
        return f"“{name[t]}” (t={t}, {bottom[t] / bottom.min():.1f} × the smallest)"

    return [
        f"1. Read forward, the top layer meets the loss at {last}; {len(name) - 1} steps back, at {first}, "
        f"{left(after, 0, 0, -1)} of ‖∂L/∂h‖ is left (before training {left(before, 0, 0, -1)}).",
        f"2. Read in reverse it is the other way round: the loss arrives at {first}, and at {last} "
        f"{left(after, 1, -1, 0)} is left (before training {left(before, 1, -1, 0)}).",
        f"3. In the bottom layer the gradient is largest at {peak(after)}; "
        f"before training at {peak(before)}.",
    ]


if __name__ == "__main__":
    sys.exit(main())
