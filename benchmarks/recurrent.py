"""Recurrent layers beside `torch.nn`: `python -m benchmarks.recurrent`.

For every size (T, B, I, H), kind and network (one layer; two bidirectional ones), in float32: PyTorch, this
library with LLVM's loops (extra "fast") and with NumPy's take turns in every round, medians over the rounds,
ratios to PyTorch in the same rounds. Values and gradients are compared before anything is timed. Each number
of threads has a process of its own. The last column is the time of the matrix products alone, in NumPy. Then,
with LLVM, the first call in a new process: when nothing is compiled yet, and when all is found on disk. All
of it takes some twenty minutes; a part of it:

    python -m benchmarks.recurrent --threads 1 --networks single --sizes 0 1 2
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks._threads import limited

SIZES = [
    (50, 1, 32, 64), (50, 8, 32, 32), (50, 16, 64, 64), (100, 32, 128, 128), (100, 32, 256, 256),
    (35, 20, 650, 650), (100, 64, 512, 512),
]  # fmt: skip
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
NETWORKS = {"single": {}, "double": {"num_layers": 2, "bidirectional": True}}
TASKS = ("train", "infer")
FIRST_CALL = """
import time, tinygrad_rnn as tg
lstm, x = tg.nn.LSTM(32, 64), tg.randn(50, 8, 32)
began = time.perf_counter()
lstm(x)[0].sum().backward()
trained = time.perf_counter()
with tg.no_grad():
    lstm(x)
print(f"training step {trained - began:.2f} s, inference {time.perf_counter() - trained:.2f} s")
"""


def main() -> None:
    """Run a process for each number of threads, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--kinds", nargs="+", default=list(GATES), choices=GATES)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(range(len(SIZES))))
    parser.add_argument("--seconds", type=float, default=2.0, help="per size, kind and network")
    parser.add_argument("--json", action="store_true", help="print the measurements, one a line")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        for row in measured(options):
            print(json.dumps(row), flush=True)
        return
    for threads in options.threads:
        command = [sys.executable, "-m", "benchmarks.recurrent", *sys.argv[1:], "--child", str(threads)]
        child = subprocess.Popen(command, env=limited(threads), stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        rows = []
        for line in child.stdout:
            rows.append(json.loads(line))
            print(line.rstrip() if options.json else shown(rows[-1]), flush=True)
        if child.wait():
            sys.exit(child.returncode)
        if not options.json:
            print(summary(rows))
    if importlib.util.find_spec("llvmlite") and not options.json:
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "TINYGRAD_RNN_CACHE": folder}
            for found in ("nothing compiled", "found on disk"):
                command = [sys.executable, "-c", FIRST_CALL]
                ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                print(f"first call, {found:16}  {ran.stdout.strip()}", flush=True)


def shown(row: dict[str, Any]) -> str:
    """One measurement as a line: milliseconds of PyTorch, ratios of the others."""
    name = f"{row['threads']} thread(s) {row['network']:6} {row['kind']:4} {row['size']!s:20} {row['task']:5}"
    ratios = "  ".join(
        f"{who} {row[who] / row['torch']:5.2f}" for who in ("llvm", "numpy", "products") if who in row
    )
    return f"{name}  torch {row['torch'] * 1e3:8.2f} ms  {ratios}"


def summary(rows: list[dict[str, Any]]) -> str:
    """Geometric means over the sizes, for each network and for both, and the worst of them."""
    lines = []
    networks = [*{r["network"]: None for r in rows}]
    for network in [*networks, *["both"] * (len(networks) > 1)]:
        for task in TASKS:
            for kind in (*GATES, "all"):
                some = [
                    r
                    for r in rows
                    if r["task"] == task and network in (r["network"], "both") and kind in (r["kind"], "all")
                ]
                for who in ("llvm", "numpy", "products"):
                    ratios = [r[who] / r["torch"] for r in some if who in r]
                    if ratios:
                        mean = math.exp(statistics.fmean(map(math.log, ratios)))
                        lines.append(
                            f"{network:6} {task} {kind:4} {who:8} {mean:.2f}  worst {max(ratios):.2f}"
                        )
    return "\n".join(["", *lines, ""])


# -- in the process that measures ----------------------------------------------------------------------


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All measurements for one number of threads."""
    import torch

    torch.set_num_threads(options.child)
    for number in options.sizes:
        for network in options.networks:
            for kind in options.kinds:
                for task, times in compared(kind, SIZES[number], NETWORKS[network], options.seconds).items():
                    where = {
                        "threads": options.child,
                        "network": network,
                        "kind": kind,
                        "size": SIZES[number],
                    }
                    yield {**where, "task": task, **times}


def compared(
    kind: str, size: tuple[int, int, int, int], options: dict[str, Any], seconds: float
) -> dict[str, dict[str, float]]:
    """task → contender → median seconds, the contenders having taken turns."""
    import numpy as np
    import torch

    from tinygrad_rnn.kernels.passes import emitter

    T, B, features, H = size
    theirs = getattr(torch.nn, kind)(features, H, **options)
    x = np.random.default_rng(0).standard_normal((T, B, features)).astype(np.float32)
    emitters = ["numpy"] + ["llvm"] * (importlib.util.find_spec("llvmlite") is not None)
    steps: dict[str, dict[str, Callable[[], Any]]] = {"train": {}, "infer": {}}
    steps["train"]["torch"], steps["infer"]["torch"] = by_torch(theirs, x)
    expected = steps["train"]["torch"]()
    for name in emitters:

        def within(run: Callable[[], Any], name: str = name) -> Callable[[], Any]:
            def step() -> Any:
                with emitter(name):
                    return run()

            return step

        train, infer = map(within, by_this(kind, theirs, x, options))
        for a, b in zip(train(), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * abs(b).max())
        steps["train"][name], steps["infer"][name] = train, infer
    if not options:
        steps["train"]["products"], steps["infer"]["products"] = products(kind, size)
    return {task: in_turns(contenders, seconds) for task, contenders in steps.items()}


def in_turns(contenders: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The median time of each, over rounds in which each runs once: five at least, of slow ones two."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    began = time.perf_counter()
    while (rounds := len(times["torch"])) < 2 or time.perf_counter() - began < seconds * (
        1 if rounds >= 5 else 5
    ):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def by_torch(layer: Any, x: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A training step (gradients of the input and all weights) and inference, by PyTorch."""
    import torch

    given = torch.tensor(x, requires_grad=True)
    seed = torch.ones_like(layer(given)[0].detach())

    def train() -> list[Any]:
        layer.zero_grad()
        given.grad = None
        layer(given)[0].backward(seed)
        return [given.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())]  # type: ignore[union-attr]  # a gradient is there

    def infer() -> None:
        with torch.no_grad():
            layer(given)

    return train, infer


def by_this(
    kind: str, theirs: Any, x: Any, options: dict[str, Any]
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same by this library, from the same weights."""
    import tinygrad_rnn as tg

    layer = getattr(tg.nn, kind)(theirs.input_size, theirs.hidden_size, **options)
    layer.load_state_dict({name: p.detach().numpy() for name, p in theirs.named_parameters()})
    given = tg.tensor(x, requires_grad=True)
    seed = tg.ones_like(layer(given)[0].detach())
    order = [name for name, _ in theirs.named_parameters()]

    def train() -> list[Any]:
        layer.zero_grad()
        given.grad = None
        layer(given)[0].backward(seed)
        return [given.grad.numpy(), *(getattr(layer, name).grad.numpy() for name in order)]

    def infer() -> None:
        with tg.no_grad():
            layer(given)

    return train, infer


def products(kind: str, size: tuple[int, int, int, int]) -> tuple[Callable[[], None], Callable[[], None]]:
    """The matrix products of one layer alone, into arrays that are there."""
    import numpy as np

    T, B, features, H = size
    G = GATES[kind] * H
    draw = lambda *shape: np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    x, W, U, h, g = draw(T * B, features), draw(G, features), draw(G, H), draw(B, H), draw(B, G)
    hs, gs, a, dh = draw(T * B, H), draw(T * B, G), draw(B, G), draw(B, H)
    hoisted, dx, dW, dU = draw(T * B, G), draw(T * B, features), draw(G, features), draw(G, H)

    def infer() -> None:
        np.matmul(x, W.T, out=hoisted)
        for _ in range(T):
            np.matmul(h, U.T, out=a)

    def train() -> None:
        infer()
        for _ in range(T):
            np.matmul(g, U, out=dh)
        np.matmul(gs, W, out=dx)
        np.matmul(gs.T, x, out=dW)
        np.matmul(gs.T, hs, out=dU)

    return train, infer


if __name__ == "__main__":
    main()
