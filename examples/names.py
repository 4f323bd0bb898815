"""Is a first name more often a woman's or a man's? A bidirectional network reads it letter by letter.

Trains on the US Census' first names, then shows for one name how BPTT runs back through the trained and the
untrained network, in pictures and in three sentences of measured numbers.

    python -m examples.names
    python -m examples.names charlotte --cell lstm

Data: 1990 US Census, as shipped in the PyPI package `names` (MIT license).
"""

from __future__ import annotations

import argparse
import copy
import string
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
import visual
from tinygrad_rnn import nn, optim, train

CLASSES = ("female", "male")
HELD_OUT = 1000
BATCH = 256

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

    tg.manual_seed(options.seed)
    census = read_names()
    learnt, held_out = divided(census, options.seed)
    net = nn.SequenceClassifier(
        string.ascii_lowercase, CLASSES, options.cell, hidden_size=options.hidden, num_layers=2,
        bidirectional=True, dropout=0.3,
    )  # fmt: skip
    untrained = copy.deepcopy(net).eval()
    began = time.perf_counter()
    learn(net, learnt, options.epochs, options.seed)
    seconds = time.perf_counter() - began
    baseline, accuracy = larger_class(held_out), accuracy_of(net, held_out)
    print(f"Trained in {seconds:.0f} s. On {len(held_out)} names held out: {accuracy:.1%} right; "
          f"always answering the larger class: {baseline:.1%}.")  # fmt: skip

    weights = options.out / "names.safetensors"
    notes = {"data": "1990 US Census first names", "held_out_accuracy": f"{accuracy:.4f}"}
    tg.save_network(net, weights, notes)
    print(f"Weights: {weights}")
    explain(net, untrained, name, dict(census), options.out)
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


def read_names() -> Names:
    """Every name once, in small letters, with the class that it is given to more often."""
    try:
        import names
    except ModuleNotFoundError as missing:
        raise SystemExit(
            "this example needs the package names: pip install 'tinygrad-rnn[examples]'"
        ) from missing
    shares: dict[str, dict[str, float]] = {}
    for kind in CLASSES:
        for line in (Path(names.__file__).parent / f"dist.{kind}.first").read_text("ascii").splitlines():
            if line.strip():
                name, percent = line.lower().split()[:2]
                shares.setdefault(name, {})[kind] = float(percent)
    both = sum(len(share) > 1 for share in shares.values())
    print(f"{len(shares)} names; the {both} that are given to both count once, by the commoner use.")
    return [(name, max(share, key=lambda kind: share[kind])) for name, share in sorted(shares.items())]


def divided(census: Names, seed: int) -> tuple[Names, Names]:
    """Names to learn from, and names to be asked about."""
    order = np.random.default_rng(seed).permutation(len(census))
    return [census[i] for i in order[HELD_OUT:]], [census[i] for i in order[:HELD_OUT]]


def batches(some: Names, seed: int) -> train.Batches:
    """Names in batches of about one length each, so that little is padding; in random order."""
    return train.Batches(
        [name for name, _ in some], [CLASSES.index(kind) for _, kind in some], BATCH, bucket=True, seed=seed
    )


# -- learning ------------------------------------------------------------------------------------------


def loss_of(net: nn.SequenceClassifier, batch: train.Batch) -> tg.Tensor:
    """The cross-entropy of the network's answers."""
    loss: tg.Tensor = nn.functional.cross_entropy(net(batch.x), batch.y)
    return loss


def learn(net: nn.SequenceClassifier, some: Names, epochs: int, seed: int) -> None:
    """Train with Adam, one cycle of the learning rate, and gradients held at norm 1."""
    data, optimizer = batches(some, seed), optim.Adam(net.parameters(), lr=0.01)
    cycle = optim.lr_scheduler.OneCycleLR(optimizer, 0.01, epochs * len(data), cycle_momentum=False)
    train.fit(net, loss_of, optimizer, data, epochs=epochs, schedule=cycle, schedule_each="step", clip=1.0)


def accuracy_of(net: nn.SequenceClassifier, some: Names) -> float:
    """The share of names for which the network is right."""
    with tg.no_grad():
        answers = net([name for name, _ in some]).numpy().argmax(axis=1)
    return float(np.mean([net.classes[k] == kind for k, (_, kind) in zip(answers, some, strict=True)]))


def larger_class(some: Names) -> float:
    """The share of names for which the commoner of the two answers is right."""
    return max(sum(kind == answer for _, kind in some) for answer in CLASSES) / len(some)


# -- looking -------------------------------------------------------------------------------------------


def explain(
    net: nn.SequenceClassifier, untrained: nn.SequenceClassifier, name: str, census: dict[str, str], out: Path
) -> None:
    """Pictures and three sentences about one name, before and after training."""
    with tg.no_grad():
        chances = tg.ops.softmax(net(name)).numpy()[0]
    answer = net.classes[int(chances.argmax())]
    kind = census.get(name, answer)
    known = f"the census says {kind}" if name in census else "the census does not list it"
    print(f"{name}: the network says {answer} ({chances.max():.1%}), {known}.")
    flows = {}
    for when, model in (("untrained", untrained), ("trained", net)):
        loss = loss_of(model, next(iter(batches([(name, kind)], seed=0))))
        loss.name = "loss"
        flows[when] = tg.flow(loss)
        for path in draw(flows[when], name, when, out):
            print(f"  {path}")
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
