"""Recurrent layers on a GPU beside `torch.nn`, which is cuDNN: `python -m benchmarks.gpu`.

LSTM and GRU, one layer and two bidirectional ones, training and inference, in float32 without TF32: cuDNN and
this library take turns in every round, timed by device events, medians over the rounds. This library runs in
each of its ways: a kernel for every step, these captured into a CUDA graph, and one persistent kernel for all
steps where the weights fit on chip. One size also runs operation by operation, beside PyTorch's cells in
eager mode. Gradients are compared before anything is timed. The table goes to benchmarks/results/, with
hardware, versions and date.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIZES = [(100, 32, 256), (100, 64, 512), (100, 256, 1024), (1000, 16, 256)]
NETWORKS = {"one layer": {}, "two, bidirectional": {"num_layers": 2, "bidirectional": True}}
KINDS = ("LSTM", "GRU")
TASKS = ("training", "inference")
SETTINGS = ("TINYGRAD_RNN_CUDA_GRAPHS", "TINYGRAD_RNN_PERSISTENT")
WAYS = {"a kernel a step": "00", "in a graph": "10", "persistent": "01"}
"""How this library runs a loop, and what the settings are then."""
RESULTS = Path(__file__).parent / "results"


class Case(NamedTuple):
    """What is measured: a layer's kind, the network, (T, B, H), whether it runs operation by operation."""

    kind: str
    network: str
    size: tuple[int, int, int]
    unrolled: bool = False


class Row(NamedTuple):
    """A measurement in milliseconds."""

    case: Case
    task: str
    ours: list[float]
    """One for each of WAYS."""
    theirs: float


def cases() -> list[Case]:
    """Every combination; and one size unrolled."""
    whole = [Case(*one) for one in itertools.product(KINDS, NETWORKS, SIZES)]
    return whole + [Case(kind, "one layer", SIZES[0], unrolled=True) for kind in KINDS]


def table(rows: Iterable[Row], heading: str) -> str:
    """The measurements as Markdown."""
    ways = "".join(f" {way}, ms |" for way in WAYS) + " PyTorch, ms |" + " ratio |" * len(WAYS)
    lines = [
        f"# Recurrent layers beside cuDNN\n\n{heading}\n",
        f"| layer | (T, B, H) | task |{ways}",
        f"|---|---|---|{'---:|' * (2 * len(WAYS) + 1)}",
    ]
    for (kind, network, size, unrolled), task, ours, theirs in rows:
        name = f"{kind}, {network}" + (", operation by operation" if unrolled else "")
        times = [f"{t:.3f}" for t in (*ours, theirs)] + [f"{t / theirs:.2f}" for t in ours]
        lines.append(f"| {name} | {size} | {task} | {' | '.join(times)} |")
    return "\n".join(lines) + "\n"


def missing() -> str | None:
    """What stands in the way of measuring, in one sentence; None where nothing does."""
    import importlib.util

    from tinygrad_rnn.namespaces import DeviceError, library

    try:
        library("cuda")
    except DeviceError as reason:
        return f"Nothing was measured, since there is no GPU here: {reason}."
    if importlib.util.find_spec("torch") is None:
        return "Nothing was measured, since PyTorch, to measure beside, is not installed."
    import torch

    return None if torch.cuda.is_available() else "Nothing was measured, since PyTorch sees no GPU."


def main() -> None:
    """Measure, print and keep the table; or say why not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--output", type=Path, help="by default a file of this day under benchmarks/results/")
    options = parser.parse_args()
    reason = missing()
    if reason:
        print(reason)
        return
    text = table(measured(options.rounds), heading())
    path = options.output or RESULTS / f"gpu-{datetime.date.today()}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)


# -- where there is a GPU ------------------------------------------------------------------------------


def heading() -> str:
    """Hardware, versions and date."""
    import cupy
    import torch

    return (
        f"{torch.cuda.get_device_name()}, CUDA driver {cupy.cuda.runtime.driverGetVersion()}, "
        f"CuPy {cupy.__version__}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, "
        f"Python {platform.python_version()}, {datetime.date.today()}; float32, no TF32."
    )


def measured(rounds: int) -> Iterator[Row]:
    """Every case and task."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for case in cases():
        ours, theirs = [by_this(case, way) for way in WAYS.values()], by_torch(case)
        for run in ours:
            for a, b in zip(run["training"](), theirs["training"](), strict=True):
                limit = 1e-3 * float(abs(b).max())
                np.testing.assert_allclose(a.get(), b.cpu().numpy(), rtol=1e-3, atol=limit)
        for task in TASKS:
            *times, last = in_turns([run[task] for run in ours], theirs[task], rounds)
            yield Row(case, task, times, last)


def in_turns(ours: list[Callable[[], Any]], theirs: Callable[[], Any], rounds: int) -> list[float]:
    """Median milliseconds of each, theirs last, by device events, over rounds in which all run once."""
    import cupy
    import torch

    def on_cupy(run: Callable[[], Any]) -> float:
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        run()
        end.record()
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(begin, end))

    def on_torch() -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        theirs()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    times = [[*map(on_cupy, ours), on_torch()] for _ in range(5 + rounds)]
    return [statistics.median(several) for several in zip(*times[5:], strict=True)]


def _weights_and_input(case: Case) -> tuple[Any, Any]:
    """A PyTorch layer, from which both start, and its input."""
    import torch

    torch.manual_seed(0)
    T, B, H = case.size
    layer = getattr(torch.nn, case.kind)(H, H, **NETWORKS[case.network])
    return layer, np.random.default_rng(0).standard_normal((T, B, H)).astype(np.float32)


def by_this(case: Case, way: str) -> dict[str, Callable[[], Any]]:
    """A training step, which gives all gradients, and inference, by this library, in one of its ways."""
    import tinygrad_rnn as tg

    like, x = _weights_and_input(case)
    layer = getattr(tg.nn, case.kind)(like.input_size, like.hidden_size, **NETWORKS[case.network])
    layer.load_state_dict({name: p.detach().numpy() for name, p in like.named_parameters()})
    layer.to("cuda")
    given = tg.tensor(x, device="cuda", requires_grad=True)
    order = [name for name, _ in like.named_parameters()]

    def training() -> list[Any]:
        os.environ.update(zip(SETTINGS, way, strict=True))
        layer.zero_grad()
        given.grad = None
        with tg.fused(not case.unrolled):
            layer(given)[0].sum().backward()
        return [given.grad.data, *(getattr(layer, name).grad.data for name in order)]

    def inference() -> None:
        os.environ.update(zip(SETTINGS, way, strict=True))
        with tg.no_grad(), tg.fused(not case.unrolled):
            layer(given)

    return {"training": training, "inference": inference}


def by_torch(case: Case) -> dict[str, Callable[[], Any]]:
    """The same by PyTorch: cuDNN, or a loop over its cell."""
    import torch

    layer, x = _weights_and_input(case)
    given = torch.tensor(x, device="cuda", requires_grad=True)
    if case.unrolled:
        weights = {name.removesuffix("_l0"): p for name, p in layer.state_dict().items()}
        layer = getattr(torch.nn, f"{case.kind}Cell")(layer.input_size, layer.hidden_size)
        layer.load_state_dict(weights)
    layer = layer.cuda()

    def run() -> Any:
        if not case.unrolled:
            return layer(given)[0]
        state, outputs = None, []
        for x_t in given:
            state = layer(x_t, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs)

    def training() -> list[Any]:
        everything = (given, *layer.parameters())
        for p in everything:
            p.grad = None
        run().sum().backward()
        return [p.grad for p in everything]

    def inference() -> None:
        with torch.no_grad():
            run()

    return {"training": training, "inference": inference}


if __name__ == "__main__":
    main()
