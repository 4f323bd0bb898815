"""A run that is killed and goes on ends with the weights of a run that was not, bit for bit.

    python -m benchmarks.resume [--kills N] [--seed S]

A network with dropout learns from shuffled, ragged batches that a thread prepares; in every round a run is
killed (SIGKILL) at a random moment, and resumed. One line per round: where its last checkpoint stood, and
whether weights and log are those of the run that was left alone. `tests/train` runs a few rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, train

EPOCHS = 12


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.resume", description=__doc__.split("\n")[0])
    options.add_argument("--kills", type=int, default=30, help="rounds (default 30)")
    options.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    options.add_argument("--child", help=argparse.SUPPRESS)
    given = options.parse_args(arguments)
    if given.child:
        learn(Path(given.child))
        return 0
    print("killed after  checkpoint at    weights    log")
    same = 0
    with tempfile.TemporaryDirectory() as folder:
        for after, at, weights, log in rounds(Path(folder), given.kills, given.seed):
            same += weights and log
            print(f"{after:>10.2f} s  {at:<14}  {said(weights):<9}  {said(log)}", flush=True)
    print(f"{same} of {given.kills} runs ended like the one that was left alone")
    return int(same < given.kills)


def said(same: bool) -> str:
    return "identical" if same else "DIFFERENT"


def rounds(folder: Path, kills: int, seed: int) -> Iterator[tuple[float, str, bool, bool]]:
    """Kill and resume; seconds, step of the checkpoint, and whether weights and log are as they should be."""
    alone = child(folder / "whole")
    began = time.perf_counter()
    alone.wait()
    length = time.perf_counter() - began
    moments = random.Random(seed)
    for number in range(kills):
        path, after = folder / str(number), moments.uniform(0, length)
        doomed = child(path)
        time.sleep(after)
        doomed.kill()
        doomed.wait()
        at = step_of(path)
        child(path).wait()
        weights = [(folder / name / "weights.safetensors").read_bytes() for name in ("whole", str(number))]
        yield after, at, weights[0] == weights[1], log_of(path) == log_of(folder / "whole")


def child(path: Path) -> subprocess.Popen[bytes]:
    """A process that learns, once it has made a step: imports and compiling are behind it."""
    begun = path.with_suffix(".begun")
    begun.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.resume", "--child", str(path)]
    started = subprocess.Popen(command, cwd=Path(__file__).parent.parent)
    while not begun.exists() and started.poll() is None:
        time.sleep(0.002)
    return started


def step_of(path: Path) -> str:
    """How far the checkpoint is."""
    if not (path / "checkpoint.safetensors").exists():
        return "not begun"
    run = json.loads(tg.load(path / "checkpoint.safetensors").metadata["run"])["dict"]["run"]["dict"]
    return f"step {run['step']}" + (f", batch {run['batch']}" if run["batch"] else "")


def log_of(path: Path) -> list[dict[str, float]]:
    """The log, without what a clock says."""
    records = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "per_second")} for record in records]


class Net(nn.Module):
    """Which of four numbers came first? Two layers read in both directions, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 12, 2, bidirectional=True, dropout=0.2)
        self.head = nn.Linear(24, 4)

    def forward(self, x: tg.Tensor, lengths: np.ndarray) -> tg.Tensor:
        output, _ = self.rnn(x, lengths=lengths)
        return self.head(output[0])


def loss(net: Net, batch: train.Batch) -> tg.Tensor:
    return nn.functional.cross_entropy(net(batch.x, batch.lengths), batch.y)


def learn(path: Path) -> None:
    """The run: everything that a checkpoint has to remember is in use."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 4, n) for n in rng.integers(2, 9, 200)]
    x, y = [np.eye(4, dtype=np.float32)[text] for text in texts], [text[0] for text in texts]
    tg.manual_seed(1)
    net = Net()
    optimizer = optim.Adam([{"params": net.rnn.parameters()}, {"params": net.head.parameters(), "lr": 0.02}])
    data = train.Batches(x[:160], y[:160], batch_size=8, bucket=True, prefetch=2, seed=3)
    steps = EPOCHS * 10
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, [0.01, 0.02], steps, cycle_momentum=True)
    train.fit(
        net, loss, optimizer, data, epochs=EPOCHS, validation=train.Batches(x[160:], y[160:]), seed=2,
        schedule=schedule, schedule_each="step", accumulate=2, clip=1.0, patience=EPOCHS, directory=path,
        resume=True, checkpoint_every=3, progress=False,
        step_callbacks=[lambda run: path.with_suffix(".begun").touch()],
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
