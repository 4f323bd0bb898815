"""Dynamic loss scaling goes PyTorch's way, step by step."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, which is not installed (make parity)")

import tinygrad_rnn as tg
from tinygrad_rnn import optim


@pytest.mark.parametrize("settings", [
    {}, {"init_scale": 2.0**126, "growth_interval": 1},
    {"growth_factor": 3.0, "backoff_factor": 0.1, "growth_interval": 2},
])  # fmt: skip
def test_the_scale_and_the_steps_are_pytorchs(settings, rng):
    theirs, ours = torch.ones(3, requires_grad=True), tg.ones(3, requires_grad=True)
    pairs = [
        (theirs, torch.optim.SGD([theirs], lr=0.1), torch.amp.GradScaler("cpu", **settings)),
        (ours, optim.SGD([ours], lr=0.1), optim.GradScaler(**settings)),
    ]
    for number in range(12):
        gradient = rng.standard_normal(3).astype("float32") * (np.inf if number % 5 == 3 else 1)
        found = []
        for w, optimizer, scaler in pairs:
            optimizer.zero_grad()
            factor = torch.from_numpy(gradient) if w is theirs else tg.tensor(gradient)
            with np.errstate(invalid="ignore", over="ignore"):
                scaler.scale((w * factor).sum()).backward()
                scaler.step(optimizer)
            scaler.update()
            found.append((scaler.get_scale(), w.detach().numpy().copy()))
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
        np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-6)
    state = pairs[0][2].state_dict()
    assert pairs[1][2].state_dict() == pytest.approx(state)
