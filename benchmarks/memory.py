"""Peak memory and depth of recurrent layers: `python -m benchmarks.memory`.

Every number comes from a fresh process, which prints the most memory that it ever had resident. A training
step is measured beside `torch.nn`'s, at the sizes of `benchmarks.recurrent`; then 1,000 and 10,000 steps,
fused and operation by operation; then `tg.checkpoint_sequence` over 100,000 steps.

    python -m benchmarks.memory --kinds LSTM --sizes 3 6
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.recurrent import GATES, SIZES

NARROW = (8, 32, 64)
"""Batch, input and state of the long sequences."""


def main() -> None:
    """Run a process for every line of the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=list(GATES), choices=GATES)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(range(len(SIZES))))
    parser.add_argument("--skip-depth", action="store_true", help="training steps alone")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, arguments = json.loads(options.child)
        print(json.dumps(TASKS[task](*arguments)))
        return
    if options.sizes:
        print(f"{'peak of a training step, MB':44} {'llvm':>7} {'numpy':>7} {'torch':>7}")
    for number in options.sizes:
        for kind in options.kinds:
            peaks = [fresh("train", who, kind, SIZES[number]) for who in ("llvm", "numpy", "torch")]
            print(f"{kind:5} {SIZES[number]!s:38} " + " ".join(f"{p:7.0f}" for p in peaks), flush=True)
    if options.skip_depth:
        return
    print(f"\n{'LSTM, forward and backward':28} {'us per step':>12} {'peak MB':>9}")
    for fused in (True, False):
        for steps in (1_000, 10_000):
            spent, peak = fresh("deep", fused, steps)
            how = "fused" if fused else "operation by operation"
            print(f"{how:22} {steps:5} {1e6 * spent / steps:12.1f} {peak:9.0f}", flush=True)
    spent, peak = fresh("checkpointed", 100_000)
    print(f"{'checkpoint_sequence':21} 100000 {1e6 * spent / 100_000:11.1f} {peak:9.0f}")


def fresh(task: str, *arguments: Any) -> Any:
    """What a process of its own measures, on one thread."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.memory", "--child", json.dumps([task, arguments])]
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout)


# -- in the process that measures ----------------------------------------------------------------------


def train(who: str, kind: str, size: tuple[int, int, int, int]) -> float:
    """Peak megabytes of five training steps."""
    import numpy as np

    T, B, features, H = size
    x = np.random.default_rng(0).standard_normal((T, B, features)).astype(np.float32)
    if who == "torch":
        import torch

        torch.set_num_threads(1)
        layer: Any = getattr(torch.nn, kind)(features, H)
        given: Any = torch.tensor(x, requires_grad=True)
        for _ in range(5):
            layer.zero_grad()
            given.grad = None
            layer(given)[0].sum().backward()
        return peak()
    import tinygrad_rnn as tg
    from tinygrad_rnn.kernels.passes import emitter

    layer = getattr(tg.nn, kind)(features, H)
    given = tg.tensor(x, requires_grad=True)
    with emitter(who):
        for _ in range(5):
            layer.zero_grad()
            given.grad = None
            layer(given)[0].sum().backward()
    return peak()


def deep(fused: bool, steps: int) -> tuple[float, float]:
    """Seconds of a second training step over so many time steps, and peak megabytes.

    The first one also waits for the system to hand out the memory, page by page.
    """
    import tinygrad_rnn as tg

    B, features, H = NARROW
    layer = tg.nn.LSTM(features, H)
    with tg.fused(fused):
        x = tg.randn(steps, B, features)
        layer(x)[0].sum().backward()
        began = time.perf_counter()
        layer(x)[0].sum().backward()
    return time.perf_counter() - began, peak()


def checkpointed(steps: int) -> tuple[float, float]:
    """The same for a cell that runs along `tg.checkpoint_sequence`, with a readout at every step."""
    import tinygrad_rnn as tg

    B, features, H = NARROW
    cell, readout = tg.nn.LSTMCell(features, H), tg.nn.Linear(H, 1)
    x = tg.randn(steps, B, features)

    def step(state: Any, x_t: Any) -> Any:
        h, c = cell(x_t, state)
        return (h, c), readout(h)

    began = time.perf_counter()
    _, y = tg.checkpoint_sequence(step, (tg.zeros(B, H), tg.zeros(B, H)), x)
    tg.ops.mean(y * y).backward()
    assert cell.weight_hh.grad is not None
    return time.perf_counter() - began, peak()


def peak() -> float:
    """Megabytes: the most that this process ever had resident."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says may be the parent's
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


TASKS = {"train": train, "deep": deep, "checkpointed": checkpointed}


if __name__ == "__main__":
    main()
