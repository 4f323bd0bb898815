"""Optimisers follow their equations, keep their state, and are noticed by the tape."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.optim import lr_scheduler

RULES = [
    (optim.SGD, {"lr": 0.05, "momentum": 0.9}), (optim.Adam, {"lr": 0.1}), (optim.AdamW, {"lr": 0.1}),
    (optim.RMSprop, {"lr": 0.1}), (optim.Adagrad, {"lr": 0.5}),
]  # fmt: skip


def start(values=(1.0, -2.0)):
    return tg.tensor(np.array(values), requires_grad=True)


def descend(optimizer, w, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        (w * w * tg.tensor(np.array([1.0, 3.0]))).sum().backward()
        optimizer.step()
    return w.numpy().copy()


@pytest.mark.parametrize(("rule", "options"), RULES)
def test_every_rule_goes_downhill(rule, options):
    w = start()
    assert abs(descend(rule([w], **options), w, 200)).max() < 0.1


@pytest.mark.parametrize(("rule", "options"), RULES)
@pytest.mark.parametrize("travel", [lambda s: s, lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy])
def test_a_saved_state_goes_on_exactly_where_it_stopped(rule, options, travel):
    a, b = start(), start()
    one, other = rule([a], **options), rule([b], lr=0.7)
    descend(one, a, 7)
    b.copy_(a)
    other.load_state_dict(travel(one.state_dict()))
    np.testing.assert_array_equal(descend(one, a, 7), descend(other, b, 7))


def by_the_book(rule, x, gradients, lr, **o):
    """One number's way, by the equations of the rule's paper, written out without an array in sight."""
    decay, sign, path = o.get("weight_decay", 0.0), -1 if o.get("maximize") else 1, []
    m = top = mean = velocity = 0.0
    v = o.get("initial_accumulator_value", 0.0)
    b1, b2 = o.get("betas", (0.9, 0.999))
    for t, gradient in enumerate(gradients, start=1):
        g = sign * gradient + (decay * x if rule != "AdamW" else 0)
        if rule == "SGD":
            mu = o.get("momentum", 0.0)
            velocity = g if t == 1 else mu * velocity + (1 - o.get("dampening", 0.0)) * g
            x -= lr * (g + mu * velocity if o.get("nesterov") else velocity)
        elif rule in ("Adam", "AdamW"):
            x -= lr * decay * x if rule == "AdamW" else 0
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
            top = max(top, v)
            used = top if o.get("amsgrad") else v
            x -= lr * (m / (1 - b1**t)) / ((used / (1 - b2**t)) ** 0.5 + o.get("eps", 1e-8))
        elif rule == "RMSprop":
            alpha = o.get("alpha", 0.99)
            v, mean = alpha * v + (1 - alpha) * g * g, alpha * mean + (1 - alpha) * g
            used = v - mean**2 if o.get("centered") else v
            velocity = o.get("momentum", 0.0) * velocity + g / (used**0.5 + o.get("eps", 1e-8))
            x -= lr * velocity
        else:
            v += g * g
            x -= lr / (1 + (t - 1) * o.get("lr_decay", 0.0)) * g / (v**0.5 + o.get("eps", 1e-10))
        path.append(x)
    return path


OPTIONS = {
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.3}, {"momentum": 0.9, "nesterov": True}],
    "Adam": [{}, {"amsgrad": True}, {"betas": (0.5, 0.8), "eps": 0.1}],
    "AdamW": [{"weight_decay": 0.0}, {"weight_decay": 0.0, "amsgrad": True}],
    "RMSprop": [{}, {"alpha": 0.8, "eps": 0.1}, {"centered": True}, {"momentum": 0.9, "centered": True}],
    "Adagrad": [{}, {"lr_decay": 0.3}, {"initial_accumulator_value": 0.2, "eps": 0.1}],
}


@pytest.mark.parametrize("extra", [{}, {"weight_decay": 0.3}, {"maximize": True, "weight_decay": 0.1}])
@pytest.mark.parametrize(("rule", "options"), [(rule, o) for rule, some in OPTIONS.items() for o in some])
def test_every_rule_and_option_is_its_equation(rule, options, extra, rng):
    gradients, options = rng.standard_normal((20, 2)), {"lr": 0.1, **options, **extra}
    w = start()
    optimizer, path = getattr(optim, rule)([w], **options), []
    for gradient in gradients:
        w.grad = tg.tensor(gradient)
        optimizer.step()
        path.append(w.numpy().copy())
    expected = [by_the_book(rule, x, gradients[:, k], **options) for k, x in enumerate((1.0, -2.0))]
    np.testing.assert_allclose(np.array(path).T, expected, rtol=1e-10, atol=1e-13)


def test_adams_first_step_is_the_learning_rate_whatever_the_gradients_size():
    w = start((1e-3, 1e3))
    descend(optim.Adam([w], lr=0.5), w, 1)
    np.testing.assert_allclose(w.numpy(), [1e-3 - 0.5, 1e3 - 0.5], rtol=1e-4)


def test_momentum_is_the_sum_of_decayed_gradients():
    w = start((0.0, 0.0))
    optimizer = optim.SGD([w], lr=1.0, momentum=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()
    np.testing.assert_allclose(w.numpy(), -(1 + 1.5 + 1.75))


def test_groups_have_settings_of_their_own():
    a, b = start(), start()
    optimizer = optim.SGD([{"params": [a], "lr": 0.1}, {"params": [b]}], lr=0.0)
    (a.sum() + b.sum()).backward()
    optimizer.step()
    assert a.tolist() == [0.9, -2.1] and b.tolist() == [1.0, -2.0]


def test_parameters_without_a_gradient_stay():
    a, b = start(), start()
    optimizer = optim.Adam([a, b])
    a.sum().backward()
    optimizer.step()
    assert b.tolist() == [1.0, -2.0] and a.tolist() != [1.0, -2.0]


def test_a_step_between_forward_and_backward_is_noticed():
    net = nn.RNN(2, 3)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    output, _ = net(tg.randn(4, 1, 2))
    output.sum().backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(tg.InPlaceError):
        output.sum().backward()


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda w: optim.SGD([], lr=0.1), ValueError, "at least one parameter"),
        (lambda w: optim.SGD(w, lr=0.1), TypeError, "an iterable of parameters"),
        (lambda w: optim.SGD([w * 2], lr=0.1), TypeError, "got the result of an operation"),
        (lambda w: optim.SGD([w, w], lr=0.1), ValueError, "each parameter once"),
        (lambda w: optim.SGD([w], lr=-1), ValueError, "lr ≥ 0, got -1"),
        (lambda w: optim.SGD([w], nesterov=True), ValueError, "a momentum and no dampening"),
        (lambda w: optim.Adam([w], betas=(1.0, 0.9)), ValueError, r"betas in \[0, 1\)"),
        (lambda w: optim.SGD([{"params": [w], "speed": 3}]), TypeError, r"got \['speed'\]"),
        (
            lambda w: optim.Adam([w]).load_state_dict(optim.Adam([w, start()]).state_dict()),
            ValueError,
            "groups of",
        ),
        (
            lambda w: lr_scheduler.OneCycleLR(optim.SGD([w]), 0.1),
            ValueError,
            "expected total_steps, or epochs",
        ),
        (
            lambda w: lr_scheduler.OneCycleLR(optim.Adagrad([w]), 0.1, 5),
            ValueError,
            "momentum or betas to cycle",
        ),
        (lambda w: lr_scheduler.StepLR(optim.SGD([w]), 0), ValueError, "step_size ≥ 1"),
        (
            lambda w: lr_scheduler.LambdaLR(optim.SGD([w]), []),
            ValueError,
            "one function for each of 1 groups",
        ),
        (lambda w: lr_scheduler.ReduceLROnPlateau(optim.SGD([w]), factor=1.0), ValueError, "factor in"),
    ],
)
def test_a_wrong_call_is_refused_in_one_sentence(call, kind, said):
    with pytest.raises(kind, match=said):
        call(start())


def rates(make, steps):
    optimizer = optim.SGD([start()], lr=1.0, momentum=0.5)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        scheduler.step()
    return np.array(found)


def test_schedules_are_their_formulas():
    np.testing.assert_allclose(rates(lambda o: lr_scheduler.StepLR(o, 2, 0.1), 5), [1, 1, 0.1, 0.1, 0.01])
    np.testing.assert_allclose(
        rates(lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (t + 1)), 3), [1, 1 / 2, 1 / 3]
    )
    t = np.arange(11)
    cosine = rates(lambda o: lr_scheduler.CosineAnnealingLR(o, 10, 0.2), 11)
    np.testing.assert_allclose(cosine, 0.2 + 0.4 * (1 + np.cos(np.pi * t / 10)))


@pytest.mark.parametrize("options", [{}, {"anneal_strategy": "linear"}, {"three_phase": True}])
def test_one_cycle_goes_up_and_down_once_and_refuses_a_step_too_many(options):
    found = rates(lambda o: lr_scheduler.OneCycleLR(o, 2.0, 20, **options), 20)
    top = int(found.argmax())
    assert found[top] == pytest.approx(2.0) and found[0] == pytest.approx(0.08)
    assert (np.diff(found[: top + 1]) > 0).all() and (np.diff(found[top:]) < 0).all()
    assert found[-1] == pytest.approx(0.08 / 1e4)
    with pytest.raises(ValueError, match="at most 20 steps"):
        rates(lambda o: lr_scheduler.OneCycleLR(o, 2.0, 20), 22)


def test_a_plateau_lowers_the_rate_after_patience_and_rests_in_cooldown():
    optimizer = optim.SGD([start()], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, cooldown=2, min_lr=0.05)
    found = []
    for loss in [1.0] * 12:
        scheduler.step(loss)
        found.append(round(optimizer.param_groups[0]["lr"], 6))
    assert found == [1, 1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05]


def test_a_schedule_goes_on_from_its_state():
    a, b = optim.SGD([start()], lr=1.0), optim.SGD([start()], lr=1.0)
    one, other = lr_scheduler.StepLR(a, 2), lr_scheduler.StepLR(b, 5)
    for _ in range(3):
        one.step()
    other.load_state_dict(one.state_dict())
    b.load_state_dict(a.state_dict())
    one.step()
    other.step()
    assert one.get_last_lr() == other.get_last_lr()
