"""This library and PyTorch compute the same: values, states, every gradient, fifty steps of training."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make parity")

import tinygrad_rnn as tg
from benchmarks import parity, parity_recurrent
from tinygrad_rnn import nn

SWEEP = [
    (kind, seed, options)
    for kind in parity_recurrent.KINDS
    for seed, options in parity_recurrent.sweep(kind, 1000, 42)
]


def close(errors: dict[str, float], bound: float = 1e-10) -> bool:
    far = {name: error for name, error in errors.items() if not error < bound}
    assert not far, far
    return True


@pytest.mark.parametrize(("kind", "seed", "options"), SWEEP)
def test_recurrent_layers_agree_in_output_states_and_every_gradient(kind, seed, options):
    assert close(parity_recurrent.recurrent(kind, options, seed))
    assert close(parity_recurrent.recurrent(kind, options, seed, "float32"), 1e-5)


@pytest.mark.parametrize(("kind", "options"), parity_recurrent.EXTRAS)
def test_what_pytorch_lacks_agrees_with_the_step_written_out_in_it(kind, options):
    for seed in range(3):
        assert close(parity_recurrent.extra(kind, options, seed))
        assert close(parity_recurrent.extra(kind, options, seed, "float32"), 1e-5)


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("seed", range(4))
def test_cells_agree_over_several_steps(kind, seed):
    assert close(parity.cell(kind, seed))


@pytest.mark.parametrize(("kind", "options"), [(k, o) for k, found in parity.LAYERS.items() for o in found])
def test_layers_agree_in_values_and_gradients(kind, options):
    assert close(parity.layer(kind, options, 3))


@pytest.mark.parametrize("kind", parity.LOSSES)
def test_losses_agree_in_values_and_gradients(kind):
    for seed, options in enumerate(parity.losses(kind)):
        assert close(parity.loss(kind, options, seed)), options


@pytest.mark.parametrize(("rule", "options"), [(k, o) for k, found in parity.RULES.items() for o in found])
def test_optimisers_agree_over_fifty_steps(rule, options):
    assert parity.training(rule, options) < 1e-12


@pytest.mark.parametrize(
    ("kind", "options"), [(k, o) for k, found in parity.SCHEDULES.items() for o in found]
)
def test_schedules_agree_over_fifty_steps(kind, options):
    assert parity.training("SGD", {"lr": 0.01, "momentum": 0.5}, kind, options) < 1e-12
    if kind == "OneCycleLR":
        assert parity.training("Adam", {"lr": 0.01}, kind, options) < 1e-12


@pytest.mark.parametrize("kind", parity_recurrent.KINDS)
def test_in_float32_they_agree_to_its_precision(kind, rng):
    theirs = getattr(torch.nn, kind)(3, 8, 2, bidirectional=True)
    mine = tg.from_torch(theirs)
    x = rng.standard_normal((20, 4, 3)).astype(np.float32)
    expected, came = theirs(torch.from_numpy(x))[0], mine(tg.tensor(x))[0]
    assert came.dtype == np.float32
    assert parity.difference(expected.detach().numpy(), came.numpy()) < 1e-5


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2, batch_first=True),
        lambda: torch.nn.GRU(3, 4, bias=False).double(),
        lambda: torch.nn.RNN(3, 4, nonlinearity="relu"),
        lambda: torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2, bias=False)
        ),
        lambda: torch.nn.ModuleList([torch.nn.LSTMCell(3, 4), torch.nn.LayerNorm(4, bias=False)]),
    ],
)
def test_a_network_goes_to_this_library_and_back_unchanged(make):
    theirs = make().eval()
    mine = tg.from_torch(theirs)
    back = tg.to_torch(mine)
    assert repr(back) == repr(theirs)
    assert not mine.training and not back.training
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
        assert str(mine.state_dict()[name].dtype) == str(value.dtype).removeprefix("torch.")


def test_what_pytorch_does_not_have_is_refused():
    with pytest.raises(TypeError, match="expected GRU as PyTorch has it"):
        tg.to_torch(nn.GRU(3, 4, reset_after=False))
    with pytest.raises(TypeError, match="expected LSTM as PyTorch has it"):
        tg.to_torch(nn.LSTM(3, 4, peephole=True))
    with pytest.raises(TypeError, match="got Bilinear"):
        tg.from_torch(torch.nn.Bilinear(2, 2, 2))


def test_files_written_here_are_read_by_pytorchs_safetensors_and_back(tmp_path):
    loaded = pytest.importorskip("safetensors.torch")
    theirs, path = torch.nn.LSTM(3, 4), tmp_path / "lstm.safetensors"
    loaded.save_file(theirs.state_dict(), path)
    mine = nn.LSTM(3, 4)
    mine.load_state_dict(tg.load(path))
    tg.save(mine.state_dict(), path)
    for name, value in loaded.load_file(path).items():
        assert torch.equal(value, theirs.state_dict()[name])


def test_gradient_clipping_agrees():
    gradients = [np.array([3.0, -4.0]), np.array([[12.0]])]
    for norm_type in (2.0, 1.0, float("inf")):
        theirs = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in gradients]
        mine = [tg.zeros(g.shape, dtype="float64", requires_grad=True) for g in gradients]
        for a, b, g in zip(theirs, mine, gradients, strict=True):
            a.grad, b.grad = torch.from_numpy(g.copy()), tg.tensor(g)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 2.0, norm_type)
        assert nn.utils.clip_grad_norm_(mine, 2.0, norm_type).item() == pytest.approx(expected.item())
        for a, b in zip(theirs, mine, strict=True):
            np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("kind", ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"])
def test_initialisers_have_pytorchs_spread(kind):
    """By quantiles, whose own spread over 60,000 draws is under 0.02 σ; an extreme draw says nothing."""
    theirs = getattr(torch.nn.init, kind)(torch.empty(300, 200)).numpy()
    mine = getattr(nn.init, kind)(tg.empty(300, 200)).numpy()
    levels = np.linspace(0.05, 0.95, 19)
    apart = np.quantile(mine, levels) - np.quantile(theirs, levels)
    assert abs(apart).max() < 0.1 * theirs.std()
    assert mine.std() == pytest.approx(theirs.std(), rel=0.03)
    if "uniform" in kind:
        assert abs(mine).max() == pytest.approx(abs(theirs).max(), rel=0.01)
