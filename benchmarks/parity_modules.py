"""Modules beside PyTorch's, over random options: what `benchmarks.parity` prints of them, and tests assert.

A sweep yields (options, inputs, arguments) of a module; `module` makes it in PyTorch, brings it here with
`tg.from_torch`, and compares outputs, buffers and every gradient.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg

Options = dict[str, Any]
Draw = Any
"""A random generator."""


class Trial(NamedTuple):
    """One configuration of a module."""

    options: Options
    inputs: tuple[np.ndarray[Any, Any], ...]
    arguments: Mapping[str, Any] = MappingProxyType({})
    """What else the module is called with, by name. Floating arrays are differentiated, here too."""
    training: bool = True


def pick(rng: Draw, *values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


# -- convolution, pooling, normalisation ---------------------------------------------------------------


def sized(rng: Draw, dims: int, low: int, high: int) -> Any:
    """One number for all axes, or a tuple."""
    several = tuple(int(n) for n in rng.integers(low, high + 1, dims))
    return pick(rng, several, int(several[0]))


def convolution(rng: Draw, dims: int) -> Trial:
    groups = pick(rng, 1, 1, 2)
    mode = pick(rng, "zeros", "zeros", "reflect", "replicate", "circular")
    padding = pick(rng, "same", "valid", sized(rng, dims, 0, 2))
    options = {
        "in_channels": 2 * groups, "out_channels": int(rng.integers(1, 3)) * groups,
        "kernel_size": sized(rng, dims, 1, 3), "groups": groups, "bias": bool(rng.integers(2)),
        "stride": 1 if padding == "same" else sized(rng, dims, 1, 3),
        "padding": padding, "dilation": sized(rng, dims, 1, 2), "padding_mode": mode,
    }  # fmt: skip
    shape = (2 * groups, *rng.integers(5, 9, dims))
    return Trial(options, (rng.standard_normal(shape if rng.random() < 0.2 else (2, *shape)),))


def pooling(rng: Draw, dims: int, highest: bool) -> Trial:
    kernel = sized(rng, dims, 1, 3)
    options = {
        "kernel_size": kernel, "stride": pick(rng, None, sized(rng, dims, 1, 3)),
        "padding": int(np.min(kernel)) // 2, "ceil_mode": bool(rng.integers(2)),
    }  # fmt: skip
    if highest:
        options |= {"dilation": sized(rng, dims, 1, 2), "return_indices": bool(rng.integers(2))}
    else:
        options["count_include_pad"] = bool(rng.integers(2))
    if dims == 2 and not highest:
        options["divisor_override"] = pick(rng, None, 3)
    shape = (2, *rng.integers(5, 9, dims))
    return Trial(options, (rng.standard_normal(shape if rng.random() < 0.2 else (2, *shape)),))


def batch_norm(rng: Draw, dims: tuple[int, ...]) -> Trial:
    options = {
        "num_features": 3, "eps": pick(rng, 1e-5, 1e-2), "momentum": pick(rng, 0.1, 0.7, None),
        "affine": bool(rng.integers(2)), "track_running_stats": bool(rng.integers(4)),
    }  # fmt: skip
    shape = (4, 3, *rng.integers(2, 5, pick(rng, *dims)))
    return Trial(options, (rng.standard_normal(shape),), training=bool(rng.integers(3)))


# -- attention -----------------------------------------------------------------------------------------


def blocking(rng: Draw, shape: tuple[int, ...]) -> Any:
    """A mask that leaves the first key of every row to look at; boolean, floating, or none."""
    mask = rng.random(shape) < 0.4
    mask[..., 0] = False
    return pick(rng, None, mask, np.where(mask, -np.inf, rng.standard_normal(shape)))


def batches(rng: Draw, first: bool, *shapes: tuple[int, int, int]) -> tuple[np.ndarray[Any, Any], ...]:
    """Inputs (T, N, E) in the layout that is asked for."""
    return tuple(rng.standard_normal((n, t, e) if first else (t, n, e)) for t, n, e in shapes)


def attention(rng: Draw) -> Trial:
    heads, n, targets, sources = (int(k) for k in rng.integers(1, 4, 4))
    width, alone, same = 2 * heads, rng.random() < 0.2, bool(rng.integers(2))
    kdim, vdim = (None, None) if same else (3, 5)
    options = {
        "embed_dim": width, "num_heads": heads, "bias": bool(rng.integers(2)),
        "batch_first": bool(rng.integers(2)), "kdim": kdim, "vdim": vdim,
        "add_bias_kv": not rng.integers(3), "add_zero_attn": not rng.integers(3),
    }  # fmt: skip
    shapes = ((targets, n, width), (sources, n, kdim or width), (sources, n, vdim or width))
    inputs = batches(rng, options["batch_first"], *shapes)
    if alone:
        inputs = tuple(rng.standard_normal((t, e)) for t, _, e in shapes)
    each = (heads if alone else n * heads, targets, sources)
    padding = blocking(rng, (sources,) if alone else (n, sources))
    mask = blocking(rng, pick(rng, (targets, sources), each))
    if mask is not None and padding is not None and mask.dtype != padding.dtype:
        padding = None  # PyTorch warns of masks that are not alike
    arguments = {
        "key_padding_mask": padding, "attn_mask": mask, "need_weights": bool(rng.integers(3)),
        "average_attn_weights": bool(rng.integers(2)),
    }  # fmt: skip
    return Trial(options, inputs, arguments)


def layer_options(rng: Draw) -> Options:
    heads = int(rng.integers(1, 3))
    return {
        "d_model": 3 * heads, "nhead": heads, "dim_feedforward": 5, "dropout": 0.0,
        "activation": pick(rng, "relu", "gelu"), "layer_norm_eps": pick(rng, 1e-5, 1e-2),
        "batch_first": bool(rng.integers(2)), "norm_first": bool(rng.integers(2)),
        "bias": bool(rng.integers(4)),
    }  # fmt: skip


def stacked(rng: Draw, options: Options, part: str) -> Options:
    """The options of a layer as those of a stack of it, with a last norm or without."""
    import torch

    norm = pick(rng, None, torch.nn.LayerNorm(options["d_model"]))
    made = getattr(torch.nn, f"Transformer{part.title()}Layer")(**options)
    plainly = {"enable_nested_tensor": False} if part == "encoder" else {}
    return {f"{part}_layer": made, "num_layers": int(rng.integers(1, 3)), "norm": norm, **plainly}


def encoder(rng: Draw, deep: bool) -> Trial:
    options, (n, steps) = layer_options(rng), (int(k) for k in rng.integers(1, 5, 2))
    mask = blocking(rng, (steps, steps))
    causal = mask is not None and bool(rng.integers(2))
    if causal:
        mask = np.triu(np.ones((steps, steps), dtype=bool), 1)
    padding = blocking(rng, (n, steps))
    if mask is not None and padding is not None and mask.dtype != padding.dtype:
        padding = None
    name = "mask" if deep else "src_mask"
    arguments = {name: mask, "src_key_padding_mask": padding, "is_causal": causal}
    inputs = batches(rng, options["batch_first"], (steps, n, options["d_model"]))
    return Trial(stacked(rng, options, "encoder") if deep else options, inputs, arguments)


def decoder(rng: Draw, deep: bool) -> Trial:
    options, (n, targets, sources) = layer_options(rng), (int(k) for k in rng.integers(1, 5, 3))
    arguments = {
        "tgt_mask": pick(rng, None, np.triu(np.ones((targets, targets), dtype=bool), 1)),
        "memory_mask": blocking(rng, (targets, sources)),
    }
    if arguments["memory_mask"] is None:
        arguments["memory_key_padding_mask"] = blocking(rng, (n, sources))
    width = options["d_model"]
    inputs = batches(rng, options["batch_first"], (targets, n, width), (sources, n, width))
    return Trial(stacked(rng, options, "decoder") if deep else options, inputs, arguments)


def transformer(rng: Draw) -> Trial:
    part = decoder(rng, False)
    tgt, src = part.inputs
    depths = {f"num_{name}_layers": int(rng.integers(1, 3)) for name in ("encoder", "decoder")}
    return Trial({**part.options, **depths}, (src, tgt), part.arguments)


# -- connectionist temporal classification -------------------------------------------------------------


def ctc(seed: int) -> dict[str, float]:
    """A loss behind a log_softmax, and the gradient of the logits: repeats, empty and impossible targets."""
    import torch

    rng = np.random.default_rng(seed)
    steps, n, classes = (int(k) for k in rng.integers((1, 1, 2), (9, 4, 5)))
    blank, reduction = int(rng.integers(classes)), pick(rng, "mean", "sum", "none")
    ends, lengths = rng.integers(1, steps + 1, n), rng.integers(0, 5, n)
    others = [c for c in range(classes) if c != blank]
    targets = rng.choice(others, (n, max(int(lengths.max()), 1)))
    if rng.integers(2):
        targets = np.concatenate([row[:length] for row, length in zip(targets, lengths, strict=True)])
    logits = rng.standard_normal((steps, n, classes))
    if n == 1 and rng.integers(2):
        logits, targets, ends, lengths = logits[:, 0], targets.reshape(-1)[: lengths[0]], ends[0], lengths[0]

    def run(library: Any, make: Callable[..., Any]) -> dict[str, Any]:
        x = make(logits, requires_grad=True)
        criterion = library.CTCLoss(blank, reduction, zero_infinity=True)
        loss = criterion(x.log_softmax(-1), make(targets), make(ends), make(lengths))
        (loss * 1.5).sum().backward()
        return {"loss": loss.detach().numpy(), "dlogits": x.grad.numpy()}

    a, b = run(torch.nn, torch.tensor), run(tg.nn, tg.tensor)
    return {name: difference(a[name], b[name]) for name in a}


SWEEPS: dict[str, Callable[[Draw], Trial]] = {
    "Conv1d": lambda rng: convolution(rng, 1),
    "Conv2d": lambda rng: convolution(rng, 2),
    "MaxPool1d": lambda rng: pooling(rng, 1, True),
    "MaxPool2d": lambda rng: pooling(rng, 2, True),
    "AvgPool1d": lambda rng: pooling(rng, 1, False),
    "AvgPool2d": lambda rng: pooling(rng, 2, False),
    "BatchNorm1d": lambda rng: batch_norm(rng, (0, 1)),
    "BatchNorm2d": lambda rng: batch_norm(rng, (2,)),
    "MultiheadAttention": attention,
    "TransformerEncoderLayer": lambda rng: encoder(rng, False),
    "TransformerEncoder": lambda rng: encoder(rng, True),
    "TransformerDecoderLayer": lambda rng: decoder(rng, False),
    "TransformerDecoder": lambda rng: decoder(rng, True),
    "Transformer": transformer,
}


def sweep(kind: str, seed: int, count: int) -> Iterator[Trial]:
    """Random configurations of a module."""
    for number in range(count):
        yield SWEEPS[kind](np.random.default_rng([seed, number, zlib.crc32(kind.encode())]))


def difference(a: Any, b: Any) -> float:
    """The largest |a - b|, relative to the largest |a| where that is above 1; infinite for other shapes."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or not np.isfinite(b).all():
        return float("inf")
    return float(np.abs(a - b).max(initial=0) / max(1.0, np.abs(a).max(initial=0)))


def module(kind: str, trial: Trial) -> dict[str, float]:
    """The difference of every output, buffer and gradient, by name, over two calls of one module."""
    import torch

    theirs = getattr(torch.nn, kind)(**trial.options).double().train(trial.training)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.from_numpy(rng.standard_normal(tuple(p.shape))))
    mine = tg.from_torch(theirs)

    def run(net: Any, make: Callable[..., Any]) -> dict[str, Any]:
        weigh = np.random.default_rng(1)
        given = {
            name: make(a, requires_grad=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a
            for name, a in {**dict(enumerate(trial.inputs)), **trial.arguments}.items()
        }
        inputs = [given[n] for n in range(len(trial.inputs))]
        arguments = {name: given[name] for name in trial.arguments}
        total: Any = 0.0
        found = {}
        for call in range(2):
            result = net(*inputs, **arguments)
            outputs = [y for y in (result if isinstance(result, tuple) else (result,)) if y is not None]
            for number, y in enumerate(outputs):
                total = total + (y * make(weigh.standard_normal(tuple(y.shape)))).sum()
                found[f"output {number} of call {call}"] = y
        total.backward()
        found |= {f"d{name}": a.grad for name, a in given.items() if getattr(a, "grad", None) is not None}
        found |= {f"d{name}": p.grad for name, p in net.named_parameters()}
        found |= dict(net.named_buffers())
        return {name: value.detach().numpy() for name, value in found.items()}

    expected, came = run(theirs, torch.tensor), run(mine, tg.tensor)
    assert expected.keys() == came.keys()
    return {name: difference(expected[name], came[name]) for name in expected}
