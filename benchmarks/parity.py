"""The same networks here and in PyTorch: values, states and every gradient, over random options.

    python -m benchmarks.parity [--count N] [--seed S]

prints one line per module: how many configurations, and the worst difference (relative to the largest entry
where that is above 1), in float64; then, for recurrent layers, the same per option and in both precisions.
`tests/parity` runs the same sweeps and asserts 1e-10, and 1e-5 in float32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from benchmarks import parity_modules, parity_recurrent
from benchmarks.parity_modules import difference
from tinygrad_rnn import nn, optim

Options = dict[str, Any]
LOSSES = (
    "CrossEntropyLoss", "NLLLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "KLDivLoss", "BCELoss",
    "BCEWithLogitsLoss",
)  # fmt: skip
RULES: dict[str, list[Options]] = {
    "SGD": [{"lr": 0.01}, {"lr": 0.01, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1},
            {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
            {"lr": 0.001, "momentum": 0.5, "maximize": True}],
    "Adam": [{}, {"lr": 0.1, "weight_decay": 0.1}, {"lr": 0.1, "amsgrad": True},
             {"betas": (0.8, 0.9), "eps": 1e-3}, {"maximize": True, "amsgrad": True, "weight_decay": 0.1}],
    "AdamW": [{}, {"lr": 0.1, "weight_decay": 0.1, "amsgrad": True}, {"betas": (0.8, 0.9), "maximize": True}],
    "RMSprop": [{}, {"centered": True}, {"momentum": 0.9}, {"weight_decay": 0.1, "maximize": True},
                {"alpha": 0.9, "centered": True, "momentum": 0.9, "weight_decay": 0.1}],
    "Adagrad": [{}, {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-3},
                {"maximize": True}],
}  # fmt: skip
SCHEDULES: dict[str, list[Options]] = {
    "StepLR": [{"step_size": 7, "gamma": 0.5}],
    "CosineAnnealingLR": [{"T_max": 20, "eta_min": 1e-4}],
    "OneCycleLR": [{"max_lr": 0.1, "total_steps": 50}, {"max_lr": [0.1, 0.05], "total_steps": 50},
                   {"max_lr": 0.1, "epochs": 5, "steps_per_epoch": 10, "three_phase": True,
                    "anneal_strategy": "linear"}],
    "ReduceLROnPlateau": [{"patience": 2, "cooldown": 1},
                          {"mode": "max", "threshold_mode": "abs", "patience": 0},
                          {"patience": 0, "min_lr": [1e-3, 2e-3], "factor": 0.3}],
    "LambdaLR": [{"lr_lambda": lambda step: 0.9**step},
                 {"lr_lambda": [lambda step: 0.9**step, lambda step: 1 / (step + 1)]}],
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__.split("\n")[0])
    options.add_argument("--count", type=int, default=100, help="configurations of each module")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args(arguments)
    try:
        import torch
    except ModuleNotFoundError:
        print("parity needs PyTorch, which is not installed: make parity", file=sys.stderr)
        return 2
    print(f"float64, against PyTorch {torch.__version__}; values, states and every gradient\n")
    print(f"{'module':<24} {'configurations':>14} {'worst difference':>17}")
    for name, errors in table(given.seed, given.count).items():
        print(f"{name:<24} {len(errors):>14} {max(errors):>17.1e}")
    print(f"\n{'recurrent layers with':<24} {'configurations':>14} {'worst in float64':>17} {'float32':>8}")
    for aspect, (count, *errors) in parity_recurrent.table(given.seed, given.count).items():
        print(f"{aspect:<24} {count:>14} {errors[0]:>17.1e} {errors[1]:>8.1e}")
    return 0


def table(seed: int, count: int) -> dict[str, list[float]]:
    """Module → the error of every configuration."""
    found: dict[str, list[float]] = {}
    for kind in ("RNNCell", "LSTMCell", "GRUCell"):
        found[kind] = [worst(cell(kind, s)) for s in range(seed, seed + 8)]
    for kind, settings in LAYERS.items():
        found[kind] = [worst(layer(kind, options, seed)) for options in settings]
    for kind in parity_modules.SWEEPS:
        trials = parity_modules.sweep(kind, seed, count)
        found[kind] = [worst(parity_modules.module(kind, trial)) for trial in trials]
    found["CTCLoss"] = [worst(parity_modules.ctc(s)) for s in range(seed, seed + count)]
    for kind in LOSSES:
        found[kind] = [worst(loss(kind, options, s)) for s, options in enumerate(losses(kind))]
    for kind, settings in RULES.items():
        found[kind] = [training(kind, options) for options in settings]
    for kind, settings in SCHEDULES.items():
        found[kind] = [training("SGD", {"lr": 0.01, "momentum": 0.5}, kind, options) for options in settings]
    return found


def worst(errors: dict[str, float]) -> float:
    return max(errors.values())


# -- cells ---------------------------------------------------------------------------------------------


def cell(kind: str, seed: int) -> dict[str, float]:
    """Three steps of a cell, with gradients through all of them."""
    import torch

    rng = np.random.default_rng(seed)
    bias, batch = bool(seed % 2), 1 + seed % 3
    extra = {"nonlinearity": "relu"} if kind == "RNNCell" and seed % 4 == 0 else {}
    theirs = getattr(torch.nn, kind)(3, 4, bias, dtype=torch.float64, **extra)
    mine = getattr(nn, kind)(3, 4, bias, dtype="float64", **extra)
    mine.load_state_dict(theirs.state_dict())
    x = rng.standard_normal((3, batch, 3))

    def run(net: Any, x: Any) -> dict[str, Any]:
        state = None
        for t in range(3):
            state = net(x[t], state)
        total = sum((s**2).sum() for s in (state if isinstance(state, tuple) else (state,)))
        total.backward()
        found = {"x": x.grad, "loss": total} | {name: p.grad for name, p in net.named_parameters()}
        return {k: v.detach().numpy() for k, v in found.items()}

    a, b = run(theirs, torch.tensor(x, requires_grad=True)), run(mine, tg.tensor(x, requires_grad=True))
    return {name: difference(a[name], b[name]) for name in a}


# -- other layers, losses ------------------------------------------------------------------------------

LAYERS: dict[str, list[Options]] = {
    "Linear": [{"in_features": 4, "out_features": 3}, {"in_features": 4, "out_features": 3, "bias": False}],
    "Embedding": [{"num_embeddings": 5, "embedding_dim": 3},
                  {"num_embeddings": 5, "embedding_dim": 3, "padding_idx": 1}],
    "LayerNorm": [{"normalized_shape": (4,)}, {"normalized_shape": (3, 4), "eps": 1e-2},
                  {"normalized_shape": (4,), "elementwise_affine": False}],
    "Tanh": [{}], "Sigmoid": [{}], "ReLU": [{}], "SiLU": [{}], "Softplus": [{}],
    "GELU": [{}, {"approximate": "tanh"}], "ELU": [{"alpha": 0.7}], "LeakyReLU": [{"negative_slope": 0.2}],
    "SELU": [{}], "Mish": [{}], "Softsign": [{}], "LogSigmoid": [{}], "ReLU6": [{}], "GLU": [{}, {"dim": 0}],
    "Hardtanh": [{}, {"min_val": -0.3, "max_val": 0.5}],
    "Softmax": [{"dim": 1}], "LogSoftmax": [{"dim": -1}], "Flatten": [{}, {"start_dim": 0, "end_dim": 1}],
}  # fmt: skip


def layer(kind: str, options: Options, seed: int) -> dict[str, float]:
    """One layer, with a squared output as its loss."""
    import torch

    rng = np.random.default_rng(seed)
    theirs = getattr(torch.nn, kind)(**options).double()
    mine = tg.from_torch(theirs)
    x = rng.integers(0, 5, (2, 3, 4)) if kind == "Embedding" else rng.standard_normal((2, 3, 4))

    def run(net: Any, make: Callable[..., Any]) -> dict[str, Any]:
        xs = make(x) if kind == "Embedding" else make(x, requires_grad=True)
        y = net(xs)
        (y**2).sum().backward()
        found = {"y": y} | {name: p.grad for name, p in net.named_parameters()}
        found |= {} if kind == "Embedding" else {"x": xs.grad}
        return {k: v.detach().numpy() for k, v in found.items()}

    a, b = run(theirs, torch.tensor), run(mine, tg.tensor)
    return {name: difference(a[name], b[name]) for name in a}


def losses(kind: str) -> Iterator[Options]:
    """Options of a loss, and what it is given."""
    for reduction in ("batchmean" if kind == "KLDivLoss" else "mean", "sum", "none"):
        if kind not in ("CrossEntropyLoss", "NLLLoss"):
            yield {"reduction": reduction}
            if kind == "SmoothL1Loss":
                yield {"reduction": reduction, "beta": 0.3}
            if kind == "HuberLoss":
                yield {"reduction": reduction, "delta": 0.3}
            if kind == "KLDivLoss":
                yield {"reduction": reduction, "log_target": True}
            if kind in ("BCELoss", "BCEWithLogitsLoss"):
                yield {"reduction": reduction, "weight": np.array([1.0, 2.0, 0.5])}
            if kind == "BCEWithLogitsLoss":
                yield {"reduction": reduction, "pos_weight": np.array([1.0, 2.0, 0.5])}
            continue
        for shape in ((4, 3), (2, 3, 5), (3,)):
            for extra in ({}, {"ignore_index": 1}, {"weight": np.array([1.0, 2.0, 0.5])}):
                yield {"reduction": reduction, "shape": shape, **extra}
                if kind == "CrossEntropyLoss":
                    yield {"reduction": reduction, "shape": shape, "label_smoothing": 0.2, **extra}
        if kind == "CrossEntropyLoss":
            yield {"reduction": reduction, "shape": (2, 3, 5), "soft": True, "label_smoothing": 0.1}
            yield {"reduction": reduction, "shape": (4, 3), "soft": True, "weight": np.array([1.0, 2.0, 0.5])}


def loss(kind: str, options: Options, seed: int) -> dict[str, float]:
    """A loss and the gradient of its input."""
    import torch

    rng = np.random.default_rng(seed)
    shape = options.get("shape", (4, 3))
    given = {k: v for k, v in options.items() if k not in ("shape", "soft")}
    x = rng.standard_normal(shape)
    axis = 1 if len(shape) > 1 else 0
    target = rng.standard_normal(shape)
    if kind in ("CrossEntropyLoss", "NLLLoss"):
        target = rng.integers(0, 3, shape[:axis] + shape[axis + 1 :])
        target = target * 0 if len(shape) == 1 else target
        if options.get("soft"):
            target = np.exp(x[::-1]) / np.exp(x[::-1]).sum(axis=axis, keepdims=True)
    if kind == "KLDivLoss" and not options.get("log_target"):
        target = np.abs(target)
    if kind.startswith("BCE"):
        target = (target > 0).astype(float)
        x = 1 / (1 + np.exp(-x)) if kind == "BCELoss" else x

    def run(library: Any, make: Callable[..., Any]) -> dict[str, Any]:
        made = {k: make(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
        xs = make(x, requires_grad=True)
        value = getattr(library, kind)(**made)(xs, make(target))
        (value * 1.5).sum().backward()
        return {"loss": value.detach().numpy(), "dx": xs.grad.numpy()}

    a, b = run(torch.nn, torch.tensor), run(nn, tg.tensor)
    return {name: difference(a[name], b[name]) for name in a}


# -- training ------------------------------------------------------------------------------------------


def training(rule: str, options: Options, schedule: str = "", settings: Options | None = None) -> float:
    """Fifty steps on a quadratic form, in two groups: the worst difference of parameters and of rates."""
    import torch

    rng = np.random.default_rng(0)
    starts, root = [rng.standard_normal((4, n)) for n in (3, 2)], rng.standard_normal((4, 4))
    form = root @ root.T
    sides: list[tuple[Any, list[Any], Any, Any]] = []
    for make, library in ((torch.tensor, torch.optim), (tg.tensor, optim)):
        parameters = [make(start, requires_grad=True) for start in starts]
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.003}]
        optimizer = getattr(library, rule)(groups, **options)
        made = getattr(library.lr_scheduler, schedule)(optimizer, **(settings or {})) if schedule else None
        sides.append((make(form), parameters, optimizer, made))
    error = 0.0
    for step in range(50):
        for matrix, parameters, optimizer, scheduler in sides:
            optimizer.zero_grad()
            sum(((matrix @ p) * p).sum() for p in parameters).backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step(*([float(step // 3)] if schedule == "ReduceLROnPlateau" else []))
        (_, theirs, a, _), (_, mine, b, _) = sides
        errors = [difference(p.detach().numpy(), q.numpy()) for p, q in zip(theirs, mine, strict=True)]
        rates = [[group["lr"] for group in side.param_groups] for side in (a, b)]
        error = max(error, *errors, difference(*rates))
    return error


if __name__ == "__main__":
    sys.exit(main())
