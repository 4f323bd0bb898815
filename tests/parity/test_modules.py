"""Modules beside PyTorch's, over random options: outputs, buffers and every gradient; and back again."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make parity")

import tinygrad_rnn as tg
from benchmarks import parity_modules as sweeps


@pytest.fixture(autouse=True)
def quiet():
    """PyTorch warns of its own detours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("kind", sweeps.SWEEPS)
def test_outputs_buffers_and_gradients_agree(kind):
    for trial in sweeps.sweep(kind, 7, 30):
        far = {name: error for name, error in sweeps.module(kind, trial).items() if not error < 1e-10}
        assert not far, (trial, far)


@pytest.mark.parametrize("kind", sweeps.SWEEPS)
def test_a_module_goes_to_this_library_and_back_unchanged(kind):
    for trial in sweeps.sweep(kind, 8, 6):
        theirs = getattr(torch.nn, kind)(**trial.options).eval()
        mine = tg.from_torch(theirs)
        back = tg.to_torch(mine)
        assert repr(back) == repr(theirs)
        assert list(mine.state_dict()) == list(theirs.state_dict())
        for name, value in theirs.state_dict().items():
            assert torch.equal(back.state_dict()[name], value)
            assert str(mine.state_dict()[name].dtype) == str(value.dtype).removeprefix("torch.")


def test_ctc_losses_and_their_gradients_agree():
    for seed in range(60):
        assert max(sweeps.ctc(seed).values()) < 1e-10, seed


def test_impossible_targets_have_an_infinite_loss_in_both():
    log_probs = np.log(np.full((2, 1, 3), 1 / 3))
    for targets in ([[1, 1]], [[1, 2, 1]]):
        given = np.array(targets), np.array([2]), np.array([len(targets[0])])
        theirs = torch.nn.functional.ctc_loss(*map(torch.tensor, (log_probs, *given)))
        mine = tg.nn.functional.ctc_loss(*map(tg.tensor, (log_probs, *given)))
        assert mine.item() == theirs.item() == np.inf
