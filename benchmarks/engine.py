"""The engine beside its peers: `python -m benchmarks.engine`.

One BLAS thread, all contenders in turn in every round, each in a process of its own; medians over the rounds
of processor time (the clock on the wall would measure what else the machine is doing); ratios to PyTorch
eager, and to the same arithmetic by hand in NumPy. A peer that is not installed is named and left out. Memory
and import time are taken in fresh processes.

The network is the one that DESIGN.md promises figures for: an LSTM written out with elementary operations
(T = 50, B = 8, H = 32, float32), forward and backward. Every contender computes the same loss and is
checked to get the same gradients before it is timed.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from benchmarks._threads import restart_limited
from tinygrad_rnn import ops

Step = Callable[[], list[np.ndarray]]
"""Forward and backward once; the gradients of W, R, b."""


# -- the contenders ------------------------------------------------------------------------------------


def problem(T: int, B: int, H: int) -> dict[str, np.ndarray]:
    """x (T, B, H), W and R (4H, H), b (4H): the same numbers for everyone."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: (0.2 * rng.standard_normal(shape)).astype(np.float32)
    return {"x": draw(T, B, H), "W": draw(4 * H, H), "R": draw(4 * H, H), "b": draw(4 * H)}


def this_library(x: np.ndarray, W: np.ndarray, R: np.ndarray, b: np.ndarray) -> Step:
    H = R.shape[1]
    weights = [tg.tensor(w, requires_grad=True) for w in (W, R, b)]
    steps = [tg.tensor(x_t) for x_t in x]
    linear, split, sigmoid, tanh = ops.linear, ops.split, ops.sigmoid, ops.tanh

    def run() -> list[np.ndarray]:
        W, R, b = weights
        h = c = tg.zeros(x.shape[1], H)
        for x_t in steps:
            i, f, g, o = split(linear(x_t, W, b) + linear(h, R), 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * tanh(g)
            h = sigmoid(o) * tanh(c)
        for w in weights:
            w.grad = None
        (h * h).sum().backward()
        return [w.grad.data for w in weights]

    return run


def pytorch(x: np.ndarray, W: np.ndarray, R: np.ndarray, b: np.ndarray) -> Step:
    import torch
    from torch.nn.functional import linear

    torch.set_num_threads(1)
    H = R.shape[1]
    weights = [torch.tensor(w, requires_grad=True) for w in (W, R, b)]
    steps = [torch.tensor(x_t) for x_t in x]
    sigmoid, tanh = torch.sigmoid, torch.tanh

    def run() -> list[np.ndarray]:
        W, R, b = weights
        h = c = torch.zeros(x.shape[1], H)
        for x_t in steps:
            i, f, g, o = (linear(x_t, W, b) + linear(h, R)).chunk(4, 1)
            c = sigmoid(f) * c + sigmoid(i) * tanh(g)
            h = sigmoid(o) * tanh(c)
        for w in weights:
            w.grad = None
        (h * h).sum().backward()
        return [w.grad.numpy() for w in weights]

    return run


def by_hand(x: np.ndarray, W: np.ndarray, R: np.ndarray, b: np.ndarray) -> Step:
    """The same operations in the same order as an engine would do them, without an engine."""
    H = R.shape[1]

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 0.5 * np.tanh(0.5 * z) + 0.5

    def run() -> list[np.ndarray]:
        tape = []
        h = c = np.zeros((x.shape[1], H), np.float32)
        for x_t in x:
            a = x_t @ W.T + b + h @ R.T
            i, f, o = sigmoid(a[:, :H]), sigmoid(a[:, H : 2 * H]), sigmoid(a[:, 3 * H :])
            g = np.tanh(a[:, 2 * H : 3 * H])
            c_before, h_before = c, h
            c = f * c + i * g
            tanh_c = np.tanh(c)
            h = o * tanh_c
            tape.append((x_t, h_before, c_before, i, f, g, o, tanh_c))
        dW, dR, db = np.zeros_like(W), np.zeros_like(R), np.zeros_like(b)
        dh, dc = h + h, np.zeros_like(c)
        while tape:
            x_t, h_before, c_before, i, f, g, o, tanh_c = tape.pop()
            dc = dc + dh * o * (1 - tanh_c * tanh_c)
            do, di, dg, df = dh * tanh_c, dc * g, dc * i, dc * c_before
            da = np.concatenate(
                [di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)], axis=1
            )
            dW += da.T @ x_t
            dR += da.T @ h_before
            db += da.sum(0)
            dh = da @ R
            dc = dc * f
        return [dW, dR, db]

    return run


def mygrad(x: np.ndarray, W: np.ndarray, R: np.ndarray, b: np.ndarray) -> Step:
    import mygrad as mg

    H = R.shape[1]
    weights = [mg.tensor(w) for w in (W, R, b)]

    def sigmoid(z: Any) -> Any:
        return 0.5 * mg.tanh(0.5 * z) + 0.5

    def run() -> list[np.ndarray]:
        W, R, b = weights
        h = c = mg.zeros((x.shape[1], H), dtype=np.float32, constant=True)
        for x_t in x:
            a = mg.matmul(x_t, W.T) + b + mg.matmul(h, R.T)
            i, f, g, o = (a[:, k * H : (k + 1) * H] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * mg.tanh(g)
            h = sigmoid(o) * mg.tanh(c)
        (h * h).sum().backward()
        return [w.grad for w in weights]

    return run


def autograd(x: np.ndarray, W: np.ndarray, R: np.ndarray, b: np.ndarray) -> Step:
    import autograd.numpy as anp
    from autograd import grad

    H = R.shape[1]

    def sigmoid(z: Any) -> Any:
        return 0.5 * anp.tanh(0.5 * z) + 0.5

    def loss(weights: Any) -> Any:
        W, R, b = weights
        h = c = np.zeros((x.shape[1], H), np.float32)
        for x_t in x:
            i, f, g, o = anp.split(anp.dot(x_t, W.T) + b + anp.dot(h, R.T), 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * anp.tanh(g)
            h = sigmoid(o) * anp.tanh(c)
        return anp.sum(h * h)

    run = grad(loss)
    return lambda: list(run((W, R, b)))


def jax(x: np.ndarray, W: np.ndarray, R: np.ndarray, b: np.ndarray) -> Step:
    import jax as jx
    import jax.numpy as jnp

    H = R.shape[1]

    def loss(weights: Any, x: Any) -> Any:
        W, R, b = weights

        def step(state: Any, x_t: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(x_t @ W.T + b + h @ R.T, 4, axis=1)
            c = jx.nn.sigmoid(f) * c + jx.nn.sigmoid(i) * jnp.tanh(g)
            return (jx.nn.sigmoid(o) * jnp.tanh(c), c), None

        zero = jnp.zeros((x.shape[1], H), jnp.float32)
        (h, _), _ = jx.lax.scan(step, (zero, zero), x)
        return jnp.sum(h * h)

    run = jx.jit(jx.grad(loss))
    return lambda: [np.asarray(g) for g in run((W, R, b), x)]


CONTENDERS: dict[str, tuple[str | None, Callable[..., Step]]] = {
    "tinygrad_rnn": (None, this_library),
    "NumPy by hand": (None, by_hand),
    "PyTorch eager": ("torch", pytorch),
    "MyGrad": ("mygrad", mygrad),
    "autograd": ("autograd", autograd),
    "JAX jit + scan": ("jax", jax),
}


def present() -> tuple[dict[str, Callable[..., Step]], list[str]]:
    """The contenders that can be imported here, and the names of those that cannot."""
    found, missing = {}, []
    for name, (package, make) in CONTENDERS.items():
        try:
            if package:
                importlib.import_module(package)
            found[name] = make
        except ImportError:
            missing.append(name)
    return found, missing


# -- measuring -----------------------------------------------------------------------------------------


def turn(run: Callable[[], Any]) -> list[float]:
    """Seconds of two runs, after one that brings back into the caches what others have driven out."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return taken[1:]


def interleaved(turns: dict[str, Callable[[], list[float]]], rounds: int) -> dict[str, float]:
    """Median seconds of each, all of them in turn in every round."""
    taken: dict[str, list[float]] = {name: [] for name in turns}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, take in turns.items():
                taken[name] += take()
    finally:
        gc.enable()
    return {name: statistics.median(times) for name, times in taken.items()}


def _compete(name: str, pipe: Any) -> None:
    """In a process of its own: send the gradients, then the times of a turn whenever one is asked for."""
    run = CONTENDERS[name][1](**problem(50, 8, 32))
    pipe.send(run())
    gc.collect()
    gc.disable()
    while pipe.recv():
        pipe.send(turn(run))


def unrolled_lstm(rounds: int) -> dict[str, float]:
    """Seconds per forward and backward; every contender's gradients are compared first.

    Each has a process of its own, for a library that leaves the heap in pieces slows down those beside it.
    """
    spawn = multiprocessing.get_context("spawn")
    pipes = {name: spawn.Pipe() for name in present()[0]}
    for name, (_, far) in pipes.items():
        spawn.Process(target=_compete, args=(name, far), daemon=True).start()

    def asked(pipe: Any) -> list[float]:
        pipe.send(True)
        taken: list[float] = pipe.recv()
        return taken

    found = {name: near.recv() for name, (near, _) in pipes.items()}
    for name, gradients in found.items():
        for ours, theirs in zip(found["NumPy by hand"], gradients, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-5, err_msg=name)
    taken = interleaved({name: partial(asked, near) for name, (near, _) in pipes.items()}, rounds)
    for near, _ in pipes.values():
        near.send(False)
    return taken


def elementwise(rounds: int) -> dict[str, float]:
    """Microseconds that recording adds to one elementwise call on (8, 32) float32."""
    a = np.random.default_rng(0).random((8, 32), np.float32) + 0.5
    t = tg.tensor(a, requires_grad=True)
    u = tg.tensor(a, requires_grad=True)
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "tanh(a)": (lambda: ops.tanh(t), lambda: np.tanh(a)),
        "a + b": (lambda: t + u, lambda: a + a),
        "a * b": (lambda: t * u, lambda: a * a),
        "1 - a": (lambda: 1 - t, lambda: 1 - a),
        "2.0 * a": (lambda: 2.0 * t, lambda: 2.0 * a),
    }

    def many(call: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(1000):
                call()

        return run

    runs = {f"{name} {i}": many(call) for name, pair in pairs.items() for i, call in enumerate(pair)}
    taken = interleaved({name: partial(turn, run) for name, run in runs.items()}, rounds)
    return {name: 1e3 * (taken[f"{name} 0"] - taken[f"{name} 1"]) for name in pairs}


def growth(rounds: int, long: int = 10_000) -> dict[str, float]:
    """Cost per step at T = `long`, over that at T = 100."""
    makers, _ = present()
    runs: dict[str, Callable[[], Any]] = {}
    for name in ("tinygrad_rnn", "NumPy by hand", "PyTorch eager"):
        if name in makers:
            short = makers[name](**problem(100, 8, 32))
            runs[f"{name} short"] = short
            runs[f"{name} long"] = makers[name](**problem(long, 8, 32))
    taken = interleaved({name: partial(turn, run) for name, run in runs.items()}, rounds)
    names = [name.removesuffix(" short") for name in runs if name.endswith(" short")]
    return {name: taken[f"{name} long"] / taken[f"{name} short"] * 100 / long for name in names}


def peak_memory() -> dict[str, float]:
    """Megabytes that the peak rises over a 200-step LSTM, B = 32, H = 128, fresh processes (Linux, VmHWM)."""
    code = """
import sys
from benchmarks import engine
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
make = engine.CONTENDERS[sys.argv[1]][1]
make(**engine.problem(2, 32, 128))()
run = make(**engine.problem(200, 32, 128))
before = peak()
run()
print(peak() - before)
"""
    makers, _ = present()
    names = ("tinygrad_rnn", "NumPy by hand", "PyTorch eager")
    return {name: float(_fresh(code, name)) for name in names if name in makers}


def import_time(rounds: int) -> float:
    """`import tinygrad_rnn` over `import numpy`, the interpreter's own start taken off; fresh processes."""
    code = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
    taken: dict[str, list[float]] = {"numpy": [], "tinygrad_rnn": []}
    for _ in range(rounds):
        for name, times in taken.items():
            times.append(float(_fresh(code.format(name))))
    return statistics.median(taken["tinygrad_rnn"]) / statistics.median(taken["numpy"])


def _fresh(code: str, *arguments: str) -> str:
    kept = {
        k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"
    }  # as users have it: compiled
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env=kept
    )
    if found.returncode:
        raise RuntimeError(found.stderr)
    return found.stdout


# -- printing ------------------------------------------------------------------------------------------


def versions() -> str:
    parts = [f"Python {platform.python_version()}", f"NumPy {np.__version__}"]
    for package in ("torch", "mygrad", "autograd", "jax"):
        try:
            parts.append(f"{package} {getattr(importlib.import_module(package), '__version__', '')}".strip())
        except ImportError:
            continue
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100, help="rounds of the LSTM; the others take a share")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    restart_limited(1)
    warnings.simplefilter("ignore")
    few = max(3, given.rounds // 20)
    found: dict[str, Any] = {
        "lstm": unrolled_lstm(given.rounds),
        "elementwise": elementwise(given.rounds),
        "growth": growth(few),
        "memory": peak_memory(),
        "import": import_time(4 * few),
    }
    if given.json:
        print(json.dumps({**found, "missing": present()[1], "versions": versions()}))
        return
    print(f"{versions()}; one BLAS thread; medians of {given.rounds} interleaved rounds")
    for name in present()[1]:
        print(f"{name}: not installed, left out")
    lstm = found["lstm"]
    print("\nLSTM of elementary operations, T=50 B=8 H=32 float32, forward and backward")
    for name, seconds in sorted(lstm.items(), key=lambda item: item[1]):
        against = [
            f"{seconds / lstm[peer]:5.2f} × {peer}"
            for peer in ("PyTorch eager", "NumPy by hand")
            if peer in lstm
        ]
        print(f"  {name:16}{',  '.join(against)}")
    print("\nOne recorded elementwise call, above NumPy's own (µs)")
    print("  " + ",  ".join(f"{name}: {us:.2f}" for name, us in found["elementwise"].items()))
    print("\nCost per step, T=10,000 over T=100")
    print("  " + ",  ".join(f"{name}: {ratio:.2f}" for name, ratio in found["growth"].items()))
    print("\nPeak memory of a 200-step LSTM, B=32 H=128 (rise of VmHWM, fresh process, MB)")
    print("  " + ",  ".join(f"{name}: {mb:.1f}" for name, mb in found["memory"].items()))
    print(f"\nimport tinygrad_rnn: {found['import']:.2f} × import numpy")


if __name__ == "__main__":
    main()
