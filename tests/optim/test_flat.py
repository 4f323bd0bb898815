"""On a GPU all parameters are updated together, and each as if it were alone; in float16 precisely."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import strict, strict_device
from tests.optim.test_optim import RULES
from tinygrad_rnn import optim


def trained(device, rule, options, steps=4, missing=()):
    """Parameters of several shapes after some steps; those in `missing` have no gradient at that step."""
    rng = np.random.default_rng(0)
    draw = lambda shape: tg.tensor(rng.standard_normal(shape), device=device)
    params = [draw(shape).requires_grad_() for shape in ((2, 3), (4,), ())]
    optimizer = rule(params, **options)
    for step in range(steps):
        for i, p in enumerate(params):
            gradient = draw(p.shape)
            p.grad = None if (step, i) in missing else gradient
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize(("rule", "options"), [*RULES, (optim.Adam, {"amsgrad": True, "maximize": True})])
def test_together_is_each_alone(rule, options, device):
    missing = {(1, 0), (2, 2)}
    params, optimizer = trained(device, rule, options, missing=missing)
    alone, other = trained("cpu", rule, options, missing=missing)
    for a, b in zip(params, alone, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-14)
    states = (o.state_dict()["state"].values() for o in (optimizer, other))
    for a, b in zip(*states, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_allclose(np.asarray(a[key]), np.asarray(b[key]), rtol=1e-14)


def test_launches_do_not_grow_with_the_number_of_parameters():
    found = []
    with strict.installed():
        for number in (2, 20):
            params = [tg.ones(3, device="cuda", requires_grad=True) for _ in range(number)]
            optimizer = optim.Adam(params)
            for _ in range(3):
                for p in params:
                    p.grad = tg.ones(3, device="cuda")
                with strict_device.counted() as counts:
                    optimizer.step()
            found.append(counts["launch"] - 2 * number)  # `reshape` of each gradient is a view, and its check
    assert found[1] <= found[0] < 25


def test_new_values_and_states_from_outside_are_taken_up(device):
    params, optimizer = trained(device, optim.Adam, {})
    again, other = trained(device, optim.Adam, {})
    other.load_state_dict(optimizer.state_dict())
    for p, q in zip(params, again, strict=True):
        q.data = p.data.copy()
        p.grad = q.grad = tg.ones_like(p)
    optimizer.step()
    other.step()
    for p, q in zip(params, again, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_half_precision_parameters_remember_what_they_round_away(device):
    w = tg.tensor([1.0], dtype="float16", requires_grad=True)
    optimizer = optim.SGD([w], lr=1e-4)
    for _ in range(100):
        w.grad = tg.ones_like(w)
        optimizer.step()  # a ten-thousandth each: nothing in float16
    assert w.item() == pytest.approx(0.99, abs=1e-3)
    master = optimizer.state_dict()["state"][0]["master"]
    assert master.dtype == "float32" and master.item() == pytest.approx(0.99, abs=1e-5)
    v = tg.tensor(w.numpy(), requires_grad=True)
    other = optim.SGD([v], lr=1e-4)
    other.load_state_dict(optimizer.state_dict())
    for p, o in ((w, optimizer), (v, other)):
        p.grad = tg.ones_like(p)
        o.step()
    a, b = (o.state_dict()["state"][0]["master"].item() for o in (optimizer, other))
    assert a == b < 0.99
