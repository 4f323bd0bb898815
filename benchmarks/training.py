"""Training speed beside PyTorch's on four of the examples: `python -m benchmarks.training`.

The same network, weights, batches and optimiser, in float32, on OMP_NUM_THREADS threads (default 1). Both
libraries take turns, some updates each, six at a time; medians over the updates, and their ratio.

    python -m benchmarks.training --tasks pixels copying --rounds 20
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

from benchmarks._threads import restart_limited

THREADS = os.environ.get("OMP_NUM_THREADS", "1")
TASKS = ("vowels", "order", "digits", "bible")
CLOCK = time.process_time if THREADS == "1" else time.perf_counter
"""One thread's own time is not blurred by what else the machine does."""
BATCHES = 6
"""Updates before the other library has its turn; the first is not counted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--rounds", type=int, default=20, help=f"of {BATCHES} updates each")
    options = parser.parse_args()
    restart_limited(int(THREADS))
    print(f"{THREADS} thread(s); ms per update, median and quickest, and the ratio of the medians")
    for name in options.tasks:
        here, theirs = compared(name, options.rounds)
        medians = [1e3 * statistics.median(times) for times in (here, theirs)]
        least = [1e3 * min(times) for times in (here, theirs)]
        print(
            f"{name:12} here {medians[0]:7.2f} ({least[0]:.2f})  PyTorch {medians[1]:7.2f} ({least[1]:.2f})"
            f"  ratio {medians[0] / medians[1]:.2f} ({least[0] / least[1]:.2f})",
            flush=True,
        )


class Some(list[Any]):
    """A few batches of a task's data."""

    def __init__(self, data: Any) -> None:
        super().__init__(islice(data.batches(0), BATCHES))
        self.carries = getattr(data, "carries", False)


def compared(name: str, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of every update, here (in `train.fit`) and in PyTorch, on the same batches."""
    import torch

    from benchmarks import twins
    from examples import results, tasks

    torch.set_num_threads(int(THREADS))
    task = results.TASKS[name]()
    some = Some(task.data(0))
    task = replace(task, data=lambda seed: some, epochs=1)
    net = tasks.made(task, task.shape, 0)
    peer = twins.Training(task, net, some)
    took: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        ends: tuple[list[float], list[float]] = ([], [])
        note = lambda run, ends=ends: ends[0].append(CLOCK())
        tasks.learn(task, net, 0, progress=False, step_callbacks=[note])
        for batch in some:
            peer.step(batch)
            ends[1].append(CLOCK())
        for times, stamps in zip(took, ends, strict=True):
            times += [after - before for before, after in pairwise(stamps)] if turn else []
    return took


if __name__ == "__main__":
    main()
