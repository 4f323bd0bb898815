"""The update rules, with PyTorch's defaults and order of operations: equal to it up to rounding.

p is the parameter, g its gradient, θ ← … stands for what is written in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinygrad_rnn.namespaces import Array, namespace
from tinygrad_rnn.optim.optimizer import Group, Optimizer, check_range


class SGD(Optimizer):
    """v ← μv + (1 - τ)g,  θ ← θ - lr·v;  Nesterov: θ ← θ - lr·(g + μv)   (Sutskever et al. 2013).

    `weight_decay` adds λθ to g; `maximize` turns its sign.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.SGD([w], lr=0.5, momentum=0.9)
    >>> w.sum().backward(); optimizer.step(); w
    tensor([0.5], requires_grad=True)
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        check_range(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(
                "expected a momentum and no dampening with nesterov, "
                f"got momentum={momentum}, dampening={dampening}"
            )
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        })  # fmt: skip

    def _update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        mu = group["momentum"]
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if mu:
            v = state.get("momentum_buffer")
            v = g.copy() if v is None else mu * v + (1 - group["dampening"]) * g
            state["momentum_buffer"] = v
            g = g + mu * v if group["nesterov"] else v
        p -= group["lr"] * g


class Adam(Optimizer):
    """m ← β₁m + (1 - β₁)g,  v ← β₂v + (1 - β₂)g²,  θ ← θ - lr·m̂ / (√v̂ + ε)   (Kingma & Ba 2015).

    m̂ and v̂ are divided by 1 - βᵗ. `weight_decay` adds λθ to g; `amsgrad` takes the largest v so far
    (Reddi et al. 2018); `maximize` turns the gradient's sign.
    """

    _decoupled = False

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        check_range(lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"expected betas in [0, 1), got {betas}")
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize,
        })  # fmt: skip

    def _update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        xp = namespace(p)
        beta1, beta2 = group["betas"]
        lr, decay = group["lr"], group["weight_decay"]
        if not state:
            state.update(step=0, exp_avg=xp.zeros_like(p), exp_avg_sq=xp.zeros_like(p))
        if decay and self._decoupled:
            p *= 1 - lr * decay
        elif decay:
            g = g + decay * p
        state["step"] += 1
        t, m, v = state["step"], state["exp_avg"], state["exp_avg_sq"]
        m += (1 - beta1) * (g - m)
        v *= beta2
        v += (1 - beta2) * (g * g)
        if group["amsgrad"]:
            v = state["max_exp_avg_sq"] = xp.maximum(state.get("max_exp_avg_sq", v), v)
        p -= lr / (1 - beta1**t) * (m / (xp.sqrt(v) / (1 - beta2**t) ** 0.5 + group["eps"]))


class AdamW(Adam):
    """Adam, with weight decay apart from the gradient: θ ← θ - lr·λθ first   (Loshchilov & Hutter 2019)."""

    _decoupled = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSprop(Optimizer):
    """v ← αv + (1 - α)g²,  θ ← θ - lr·g / (√v + ε)   (Hinton 2012).

    `centered` subtracts the square of the gradient's running mean from v (Graves 2013); `momentum` averages
    the steps; `weight_decay` adds λθ to g.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        check_range(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        super().__init__(params, {
            "lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
            "centered": centered, "maximize": maximize,
        })  # fmt: skip

    def _update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        xp = namespace(p)
        alpha = group["alpha"]
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        v = state.setdefault("square_avg", xp.zeros_like(p))
        v *= alpha
        v += (1 - alpha) * (g * g)
        if group["centered"]:
            mean = state.setdefault("grad_avg", xp.zeros_like(p))
            mean += (1 - alpha) * (g - mean)
            v = v - mean * mean
        step = g / (xp.sqrt(v) + group["eps"])
        if group["momentum"]:
            u = state.setdefault("momentum_buffer", xp.zeros_like(p))
            u *= group["momentum"]
            u += step
            step = u
        p -= group["lr"] * step


class Adagrad(Optimizer):
    """s ← s + g²,  θ ← θ - lr/(1 + (t - 1)·lr_decay)·g / (√s + ε)   (Duchi et al. 2011)."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0.0, weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0, eps: float = 1e-10, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        start = initial_accumulator_value
        check_range(
            lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps, initial_accumulator_value=start
        )
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
            "initial_accumulator_value": start, "eps": eps, "maximize": maximize,
        })  # fmt: skip

    def _update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        xp = namespace(p)
        if not state:
            state.update(step=0, sum=xp.full_like(p, group["initial_accumulator_value"]))
        state["step"] += 1
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        s = state["sum"]
        s += g * g
        p -= group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"]) * (g / (xp.sqrt(s) + group["eps"]))
