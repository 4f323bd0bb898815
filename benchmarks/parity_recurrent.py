"""Recurrent layers beside PyTorch's, over random options; `benchmarks.parity` prints it, tests assert it.

What PyTorch does not have (peepholes, coupled gates, …) is compared with the same step written out in it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from benchmarks.parity_modules import difference
from tinygrad_rnn import nn
from tinygrad_rnn.nn.utils import rnn as ours

Options = dict[str, Any]
KINDS = ("RNN", "LSTM", "GRU")
EXTRAS: list[tuple[str, Options]] = [
    ("LSTM", {"peephole": True}), ("LSTM", {"coupled": True}), ("LSTM", {"peephole": True, "coupled": True}),
    ("LSTM", {"layer_norm": True}), ("LSTM", {"forget_bias": 1.0}), ("GRU", {"reset_after": False}),
]  # fmt: skip


def table(seed: int, count: int) -> dict[str, list[float]]:
    """Option → how many configurations have it, and the worst error in float64 and in float32."""
    found: dict[str, list[float]] = {}

    def note(names: Iterator[str] | list[str], errors: list[float]) -> None:
        for name in names:
            number, *before = found.get(name, [0, 0.0, 0.0])
            found[name] = [number + 1, *map(max, before, errors)]

    for kind in KINDS:
        for s, options in sweep(kind, seed, count):
            errors = [max(recurrent(kind, options, s, dtype).values()) for dtype in ("float64", "float32")]
            note(aspects(kind, options), errors)
    for kind, options in EXTRAS:
        for s in range(seed, seed + 8):
            errors = [max(extra(kind, options, s, dtype).values()) for dtype in ("float64", "float32")]
            note([" and ".join(options)], errors)
    return found


def aspects(kind: str, options: Options) -> Iterator[str]:
    """What there is to say of a configuration."""
    yield kind
    layouts = {"single": "unbatched", "lengths": "lengths=", "packed": "packed", "sorted": "packed, sorted"}
    yield layouts.get(options["layout"], "batch")
    yield {"none": "no initial states", "given": "initial states"}.get(
        options["states"], "initial states, grads"
    )
    yield f"num_layers={options['num_layers']}"
    for name in ("bidirectional", "batch_first", "proj_size"):
        if options.get(name):
            yield name
    if not options["bias"]:
        yield "bias=False"
    if options.get("nonlinearity") == "relu":
        yield "nonlinearity=relu"
    if options.get("dropout"):
        yield "dropout"


def sweep(kind: str, seed: int, count: int) -> Iterator[tuple[int, Options]]:
    """Random options, each with a seed of its own; the first ones are sure to hold the corners."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        options: Options = {
            "num_layers": int(rng.integers(1, 4)), "bidirectional": bool(rng.integers(2)),
            "batch_first": bool(rng.integers(2)), "bias": bool(rng.integers(4)),
            "sizes": (int(rng.integers(1, 7)), int(rng.integers(1, 5)), int(rng.integers(1, 5)),
                      int(rng.integers(2, 6))),
            "layout": ("batch", "batch", "single", "lengths", "lengths", "packed", "sorted")[number % 7],
            "states": ("none", "given", "wanted")[number % 3],
        }  # fmt: skip
        if options["num_layers"] > 1:
            options["dropout"] = (0.0, 0.5, 1.0)[int(rng.integers(3))]
        if kind == "RNN":
            options["nonlinearity"] = ("tanh", "relu")[int(rng.integers(2))]
        if kind == "LSTM" and rng.integers(2):
            options["proj_size"] = 1
        yield seed + number, options


def recurrent(kind: str, options: Options, seed: int, dtype: str = "float64") -> dict[str, float]:
    """The difference of output, states and all gradients for one configuration, by name.

    A dropout of 1 is on, and zeroes all; one of ½ is off (no two libraries draw the same mask). In float32
    weights are spread as PyTorch starts them: larger ones amplify its rounding, and ours, from step to step.
    """
    import torch

    rng = np.random.default_rng(seed)
    steps, batch, width, hidden = options["sizes"]
    warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")  # PyTorch's own
    spread = 1.0 if dtype == "float64" else hidden**-0.5
    made = {k: v for k, v in options.items() if k not in ("sizes", "layout", "states")}
    theirs = getattr(torch.nn, kind)(width, hidden, dtype=getattr(torch, dtype), **made)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.from_numpy(rng.standard_normal(tuple(p.shape)) * spread))
    mine = getattr(nn, kind)(width, hidden, dtype=dtype, **made)
    mine.load_state_dict(theirs.state_dict())
    for net in (theirs, mine):
        net.train(options.get("dropout") != 0.5)

    layout, first = options["layout"], options["batch_first"]
    shape = (
        (steps, width) if layout == "single" else (batch, steps, width) if first else (steps, batch, width)
    )
    x = rng.standard_normal(shape).astype(dtype)
    lengths = rng.integers(1, steps + 1, batch) if layout not in ("single", "batch") else None
    if layout == "sorted" and lengths is not None:
        lengths = np.sort(lengths)[::-1].copy()
    rows = options["num_layers"] * (1 + options["bidirectional"])
    middle = () if layout == "single" else (batch,)
    sizes = [made.get("proj_size") or hidden] + [hidden] * (kind == "LSTM")
    states = [rng.standard_normal((rows, *middle, size)).astype(dtype) for size in sizes]

    def run(library: Any) -> dict[str, Any]:
        torchly = library is torch
        net = theirs if torchly else mine
        packing = torch.nn.utils.rnn if torchly else ours
        wanted = options["states"] == "wanted"
        if torchly:
            xs, hx = (
                torch.tensor(x, requires_grad=True),
                [torch.tensor(s, requires_grad=wanted) for s in states],
            )
        else:
            xs, hx = tg.tensor(x, requires_grad=True), [tg.tensor(s, requires_grad=wanted) for s in states]
        start = None if options["states"] == "none" else tuple(hx) if len(hx) > 1 else hx[0]
        if lengths is None:
            output, final = net(xs, start)
        elif layout == "lengths" and not torchly:
            output, final = net(xs, start, lengths=lengths.tolist())
        else:
            packed = packing.pack_padded_sequence(
                xs,
                torch.from_numpy(lengths) if torchly else lengths,
                first,
                enforce_sorted=layout == "sorted",
            )
            output, final = net(packed, start)
            output, _ = packing.pad_packed_sequence(output, first, total_length=steps)
        ends = list(final) if isinstance(final, tuple) else [final]
        weigh = np.random.default_rng(seed)
        total: Any = 0.0
        for value in [output, *ends]:
            w = weigh.standard_normal(tuple(value.shape)).astype(dtype)
            total = total + (value * (torch.from_numpy(w) if torchly else tg.tensor(w))).sum()
        net.zero_grad()
        total.backward()
        found = {"output": output, **dict(zip(("h", "c"), ends, strict=False)), "dx": xs.grad}
        if start is not None and wanted:
            found |= {f"d{name}_0": s.grad for name, s in zip("hc", hx, strict=False)}
        found |= {f"d{name}": p.grad for name, p in net.named_parameters()}
        return {k: v.detach().numpy() for k, v in found.items()}

    expected, came = run(torch), run(tg)
    assert expected.keys() == came.keys()
    return {name: difference(expected[name], came[name]) for name in expected}


def extra(kind: str, options: Options, seed: int, dtype: str = "float64") -> dict[str, float]:
    """What PyTorch lacks, in one layer: the difference of output, last states and all gradients, by name."""
    import torch

    rng = np.random.default_rng(seed)
    net = getattr(nn, kind)(3, 4, dtype=dtype, **options)
    with tg.no_grad():
        for p in net.parameters():
            p.copy_(rng.standard_normal(p.shape))
    x = rng.standard_normal((5, 2, 3)).astype(dtype)
    w = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in net.named_parameters()}
    theirs, mine = torch.tensor(x, requires_grad=True), tg.tensor(x, requires_grad=True)
    state = [torch.zeros(2, 4, dtype=theirs.dtype) for _ in range(1 + (kind == "LSTM"))]
    hs = []
    for x_t in theirs:
        state = written_out({name.removesuffix("_l0"): p for name, p in w.items()}, x_t, state, options)
        hs.append(state[0])
    expected = {"output": torch.stack(hs), **dict(zip("hc", state, strict=False))}
    output, last = net(mine)
    ends = last if isinstance(last, tuple) else (last,)
    found = {"output": output, **{name: s[0] for name, s in zip("hc", ends, strict=False)}}
    for values in (expected, found):
        sum((v * v).sum() for v in values.values()).backward()
    expected |= {"dx": theirs.grad} | {f"d{name}": p.grad for name, p in w.items()}
    found |= {"dx": mine.grad} | {f"d{name}": p.grad for name, p in net.named_parameters()}
    return {name: difference(v.detach().numpy(), found[name].numpy()) for name, v in expected.items()}


def written_out(w: dict[str, Any], x: Any, state: list[Any], options: Options) -> list[Any]:
    """One step with PyTorch's operations, as the papers have it."""
    import torch

    h, (sigmoid, tanh) = state[0], (torch.sigmoid, torch.tanh)
    a, b = x @ w["weight_ih"].T, h @ w["weight_hh"].T
    if "reset_after" in options:
        W_r, W_z, W_n = w["weight_hh"].chunk(3)
        xs, bs = (a + w["bias_ih"]).chunk(3, -1), w["bias_hh"].chunk(3)
        r, z = sigmoid(xs[0] + h @ W_r.T + bs[0]), sigmoid(xs[1] + h @ W_z.T + bs[1])
        n = tanh(xs[2] + (r * h) @ W_n.T + bs[2])
        return [(1 - z) * n + z * h]
    c = state[1]
    norm = lambda v: torch.nn.functional.layer_norm(v, v.shape[-1:])
    if "layer_norm" in options:
        a, b = norm(a) * w["gain_ih"], norm(b) * w["gain_hh"]
    i, *gates = (a + b + w["bias_ih"] + w["bias_hh"]).chunk(3 if "coupled" in options else 4, -1)
    f, g, o = (i, *gates) if "coupled" in options else gates
    see = lambda name, c: w[name] * c if "peephole" in options else 0
    f = sigmoid(f + see("weight_cf", c))
    i = 1 - f if "coupled" in options else sigmoid(i + see("weight_ci", c))
    c = f * c + i * tanh(g)
    o = sigmoid(o + see("weight_co", c))
    return [o * tanh(norm(c) * w["gain_c"] + w["shift_c"] if "layer_norm" in options else c), c]
