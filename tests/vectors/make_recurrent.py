"""Records what PyTorch computes, so that gate order and shapes stay under test without it.

    python tests/vectors/make_recurrent.py

writes tests/vectors/recurrent.json: for each case the options, weights, input, output, last states, and the
gradients of Σ output² + Σ states² with respect to input and weights. Numbers are rounded to 12 digits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CASES: list[dict[str, Any]] = [
    {"kind": "RNN", "num_layers": 2, "bidirectional": True},
    {"kind": "RNN", "nonlinearity": "relu", "bias": False},
    {"kind": "LSTM", "num_layers": 2, "bidirectional": True, "lengths": [2, 4, 1]},
    {"kind": "LSTM", "proj_size": 1, "batch_first": True},
    {"kind": "GRU", "num_layers": 2, "bidirectional": True, "lengths": [4, 1, 3]},
    {"kind": "GRU", "bias": False, "batch_first": True},
]
STEPS, BATCH, WIDTH, HIDDEN = 4, 3, 2, 2


def recorded(case: dict[str, Any], seed: int) -> dict[str, Any]:
    import torch

    torch.manual_seed(seed)
    options = {k: v for k, v in case.items() if k not in ("kind", "lengths")}
    net = getattr(torch.nn, case["kind"])(WIDTH, HIDDEN, dtype=torch.float64, **options)
    first = options.get("batch_first", False)
    x = torch.randn((BATCH, STEPS, WIDTH) if first else (STEPS, BATCH, WIDTH), dtype=torch.float64)
    x.requires_grad_()
    if "lengths" in case:
        packing = torch.nn.utils.rnn
        packed = packing.pack_padded_sequence(x, torch.tensor(case["lengths"]), first, enforce_sorted=False)
        output, states = net(packed)
        output, _ = packing.pad_packed_sequence(output, first, total_length=STEPS)
    else:
        output, states = net(x)
    states = list(states) if isinstance(states, tuple) else [states]
    ((output**2).sum() + sum((s**2).sum() for s in states)).backward()

    def plain(value: Any) -> Any:
        return [plain(v) for v in value] if isinstance(value, list) else round(value, 12)

    return {
        **case,
        "weights": {name: plain(p.tolist()) for name, p in net.named_parameters()},
        "x": plain(x.tolist()), "output": plain(output.tolist()),
        "states": [plain(s.tolist()) for s in states],
        "dx": plain(x.grad.tolist()),
        "gradients": {name: plain(p.grad.tolist()) for name, p in net.named_parameters()},
    }  # fmt: skip


if __name__ == "__main__":
    path = Path(__file__).with_name("recurrent.json")
    lines = ",\n".join(json.dumps(recorded(case, seed)) for seed, case in enumerate(CASES))
    path.write_text(f"[\n{lines}\n]\n", "utf-8")
    print(path, path.stat().st_size, "bytes")
