"""What PyTorch once computed still comes out: gate order, shapes, states, gradients, without PyTorch here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

CASES = json.loads((Path(__file__).parent.parent / "vectors" / "recurrent.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['kind']}-{len(c['weights'])}")
def test_layers_give_the_recorded_values_and_gradients(case):
    options = {
        k: case[k]
        for k in ("num_layers", "bidirectional", "nonlinearity", "bias", "proj_size", "batch_first")
        if k in case
    }
    net = getattr(nn, case["kind"])(2, 2, dtype="float64", **options)
    assert [name for name, _ in net.named_parameters()] == list(case["weights"])
    net.load_state_dict({name: np.array(w) for name, w in case["weights"].items()})
    x = tg.tensor(np.array(case["x"]), requires_grad=True)
    output, states = net(x, lengths=case.get("lengths"))
    states = states if isinstance(states, tuple) else (states,)
    (sum((s * s).sum() for s in states) + (output * output).sum()).backward()
    near = {"rtol": 1e-9, "atol": 1e-10}
    np.testing.assert_allclose(output.numpy(), case["output"], **near)
    np.testing.assert_allclose(x.grad.numpy(), case["dx"], **near)
    for state, expected in zip(states, case["states"], strict=True):
        np.testing.assert_allclose(state.numpy(), expected, **near)
    for name, parameter in net.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), case["gradients"][name], **near)
