"""What the tasks share: one description, one training run, one set of pictures, one command line.

A task says where its batches come from, which network reads them, and how an answer is scored; `main` trains
it and leaves pictures. Classes are chosen (cross-entropy), numbers are fitted (squared error).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
import visual
from examples.common import OUT
from tinygrad_rnn import nn, optim, train
from tinygrad_rnn.train import Batch

Array = np.ndarray[Any, Any]


class Shape(NamedTuple):
    """The part of a network that people ask about: stacked or not, bidirectional or not."""

    kind: str
    layers: int = 1
    bidirectional: bool = False

    def __str__(self) -> str:
        stacked = f", {self.layers} layers" if self.layers > 1 else ""
        return f"{self.kind}{stacked}{', bidirectional' if self.bidirectional else ''}"


@dataclass(frozen=True)
class Task:
    """All that is needed to train a network on a task, to score it and to look at it."""

    name: str
    title: str
    network: Callable[[Shape], nn.Module]
    data: Callable[[int], Any]
    """seed → what to learn from."""
    asked: Callable[[], Batch]
    score: Callable[[Array, Batch], dict[str, float]]
    """(the network's answers, what it was asked) → what is measured, the most telling first."""
    sample: Callable[[], tuple[Batch, Sequence[str] | None]]
    """What the pictures show, and one label for each step."""
    shape: Shape
    beside: str
    """What others report."""
    epochs: int = 1
    rate: float = 3e-3
    ask: Callable[[Any, Batch], tg.Tensor] = lambda net, batch: net(batch.x, batch.lengths)
    ahead: bool = False
    """Whether each step is asked about the next one: then no network may read backward."""

    @property
    def command(self) -> str:
        """How to run it."""
        return f"python -m examples.{self.name}"

    @property
    def shapes(self) -> list[Shape]:
        """Stacked or not, bidirectional or not."""
        both = (False,) if self.ahead else (False, True)
        return [Shape(self.shape.kind, layers, b) for layers in (1, 2) for b in both]


# -- batches -------------------------------------------------------------------------------------------


class Drawn:
    """Batches that are drawn anew in every step, none twice; `draw` makes one from a random generator."""

    def __init__(self, draw: Callable[[np.random.Generator], Batch], count: int, seed: int) -> None:
        self.draw, self.count, self.seed = draw, count, seed

    def __len__(self) -> int:
        return self.count

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Number `start` of that epoch and all after it."""
        for number in range(start, self.count):
            yield self.draw(np.random.default_rng([self.seed, epoch, number]))


def whole(x: Sequence[Any], y: Any = None) -> Batch:
    """All sequences as one batch, in their order."""
    return next(iter(train.Batches(x, y, batch_size=len(x), shuffle=False)))


def even(x: Array, y: Array) -> Batch:
    """Sequences of one length, (T, N, …), as a batch."""
    return Batch(tg.tensor(x), tg.tensor(y), np.full(x.shape[1], len(x)))


def nats(answers: Array, y: Array) -> Array:
    """-log softmax(answers)[y] of every prediction that counts, in float64; padding, below 0, does not."""
    counts = y >= 0
    logits = answers[counts].astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    picked = np.take_along_axis(logits, y[counts][:, None], -1)[:, 0]
    return np.log(np.exp(logits).sum(-1)) - picked


def accuracy(answers: Array, asked: Batch) -> dict[str, float]:
    """The share of answers that are right."""
    return {"accuracy": float((answers.argmax(-1) == asked.y.numpy()).mean())}


# -- learning ------------------------------------------------------------------------------------------


def error(answers: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
    """Cross-entropy where the targets are classes, squared error where they are numbers."""
    if y.dtype.kind == "f":
        loss = nn.functional.mse_loss(answers, y)
    else:
        loss = nn.functional.cross_entropy(answers.reshape(-1, answers.shape[-1]), y.reshape(-1))
    loss.name = "loss"
    return loss


def loss_of(task: Task, net: Any, batch: Batch) -> tg.Tensor:
    """The loss of a batch."""
    return error(task.ask(net, batch), batch.y)


def carried_loss(net: Any, batch: Batch, state: Any) -> tuple[tg.Tensor, Any]:
    """The loss of a window of a long sequence, and the state at its end."""
    answers, state = net.carry(batch.x, state)
    return error(answers, batch.y), state


def made(task: Task, shape: Shape, seed: int) -> nn.Module:
    """The untrained network of a seed."""
    tg.manual_seed(seed)
    return task.network(shape)


def learn(task: Task, net: nn.Module, seed: int, **settings: Any) -> train.Run:
    """`train.fit` on the task's data: Adam, the gradient held at norm 1, the rate falling to zero."""
    data = task.data(seed)
    adam = optim.Adam(net.parameters(), lr=task.rate)
    schedule = optim.lr_scheduler.CosineAnnealingLR(adam, task.epochs * len(data))
    loss = carried_loss if getattr(data, "carries", False) else partial(loss_of, task)
    return train.fit(
        net, loss, adam, data, epochs=task.epochs, clip=1.0, schedule=schedule, schedule_each="step",
        seed=seed, **settings,
    )  # fmt: skip


def score(task: Task, net: nn.Module) -> dict[str, float]:
    """What the task measures of a network."""
    asked = task.asked()
    with tg.no_grad():
        return task.score(task.ask(net, asked).numpy(), asked)


# -- looking -------------------------------------------------------------------------------------------


def draw(task: Task, nets: dict[str, nn.Module], out: Path) -> list[Path]:
    """The cell grid of the first two networks, a heatmap of both, and one of the last two."""
    batch, tokens = task.sample()
    flows = {when: tg.flow(loss_of(task, net, batch)) for when, net in nets.items()}
    before, after, other = flows
    pictures = {
        f"cells-{when}": visual.draw(
            flows[when], level="cell", gradients=True, tokens=tokens, title=f"{task.title}: {when}"
        )
        for when in (before, after)
    }
    for name, pair in (("trained", (before, after)), ("kinds", (after, other))):
        pictures[f"heatmap-{name}"] = visual.heatmap(
            [flows[when] for when in pair], names=pair, tokens=tokens,
            title=f"{task.title}: the gradient's norm at every step",
        )  # fmt: skip
    return [p.render(out / f"{task.name}-{what}.svg".replace(" ", "-")) for what, p in pictures.items()]


# -- the command ---------------------------------------------------------------------------------------


def parser(task: Task) -> argparse.ArgumentParser:
    """The options that every task has."""
    options = argparse.ArgumentParser(prog=task.command, description=task.title)
    options.add_argument("--kind", choices=("RNN", "GRU", "LSTM"), default=task.shape.kind)
    options.add_argument("--layers", type=int, default=task.shape.layers, help="how many, stacked")
    options.set_defaults(bidirectional=task.shape.bidirectional)
    if not task.ahead:
        options.add_argument("--bidirectional", action=argparse.BooleanOptionalAction)
    options.add_argument("--epochs", type=int, default=task.epochs)
    options.add_argument("--seed", type=int, default=0, help="of weights and order (default 0)")
    options.add_argument("--out", type=Path, default=OUT, help="folder for the pictures (default out)")
    return options


def run(task: Task, options: argparse.Namespace) -> nn.Module:
    """Train the network, and a plain RNN beside it; say what came out, leave pictures."""
    task = replace(task, epochs=options.epochs)
    shape = Shape(options.kind, options.layers, options.bidirectional)
    options.out.mkdir(parents=True, exist_ok=True)
    nets = {"before training": made(task, shape, options.seed).eval()}
    for one in (shape, shape._replace(kind="LSTM" if shape.kind == "RNN" else "RNN")):
        nets[f"{one.kind} trained"] = net = made(task, one, options.seed)
        began = time.perf_counter()
        steps = learn(task, net, options.seed).step
        seconds = time.perf_counter() - began
        said = ", ".join(f"{name} {value:.4g}" for name, value in score(task, net).items())
        print(f"{one}: {said} after {steps} updates in {seconds:.0f} s", flush=True)
    print(f"Others: {task.beside}")
    for path in draw(task, nets, options.out):
        print(f"  {path}")
    return nets[f"{shape.kind} trained"]


def main(task: Task, arguments: Sequence[str] | None = None) -> int:
    """The command line of a task."""
    run(task, parser(task).parse_args(arguments))
    return 0
