"""Learning rates that change with time: `scheduler.step()` after each epoch, or after each batch.

A schedule is a function from a count of steps to the learning rate of each group; the count starts at 0,
when the scheduler is made.

>>> import tinygrad_rnn as tg
>>> optimizer = tg.optim.SGD([tg.ones(1).requires_grad_()], lr=1.0)
>>> scheduler = tg.optim.lr_scheduler.StepLR(optimizer, step_size=2)
>>> rates = []
>>> for _ in range(5):
...     rates.append(scheduler.get_last_lr()[0]); scheduler.step()
>>> [round(rate, 6) for rate in rates]
[1.0, 1.0, 0.1, 0.1, 0.01]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_rnn.optim.optimizer import Optimizer


class LRScheduler:
    """The base of all schedules that depend on the count of steps alone."""

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = -1
        self.step()

    def rate(self, base: float, index: int) -> float:
        """The learning rate of group `index` after `last_epoch` steps, from the one it started with."""
        raise NotImplementedError

    def step(self) -> None:
        """Count one step, and set the learning rates."""
        self.last_epoch += 1
        for index, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self.rate(self.base_lrs[index], index)

    def get_last_lr(self) -> list[float]:
        """The learning rate of every group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on, without the optimiser and without functions."""
        return {k: v for k, v in vars(self).items() if k != "optimizer" and not k.startswith("_")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another scheduler stopped (load the optimiser's state too: the rates are there)."""
        vars(self).update(state)


class LambdaLR(LRScheduler):
    """lr = initial·lr_lambda(step), with one function for all groups or one for each."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]
    ) -> None:
        count = len(optimizer.param_groups)
        self._lambdas = [lr_lambda] * count if callable(lr_lambda) else list(lr_lambda)
        if len(self._lambdas) != count:
            raise ValueError(f"expected one function for each of {count} groups, got {len(self._lambdas)}")
        super().__init__(optimizer)

    def rate(self, base: float, index: int) -> float:
        """initial·lr_lambda(step)."""
        return base * self._lambdas[index](self.last_epoch)


class StepLR(LRScheduler):
    """lr = initial·gamma^⌊step / step_size⌋."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        if step_size < 1:
            raise ValueError(f"expected step_size ≥ 1, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, base: float, index: int) -> float:
        """initial·gamma^⌊step / step_size⌋."""
        return float(base * self.gamma ** (self.last_epoch // self.step_size))


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + ½(initial - eta_min)(1 + cos(π·step/T_max))   (Loshchilov & Hutter 2017)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        if T_max < 1:
            raise ValueError(f"expected T_max ≥ 1, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, base: float, index: int) -> float:
        """eta_min + ½(initial - eta_min)(1 + cos(π·step/T_max))."""
        return (
            self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        )


class OneCycleLR(LRScheduler):
    """Up from max_lr/div_factor to max_lr, then down to a small fraction of where it began (Smith 2018).

    Args:
        max_lr: the peak, a number or one for each group.
        total_steps: how many steps in all; or `epochs` and `steps_per_epoch`.
        pct_start: the share of steps that go up.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: move momentum (or β₁) the other way, from max_momentum to base_momentum and back.
        div_factor, final_div_factor: initial = max_lr/div_factor, final = initial/final_div_factor.
        three_phase: go down to the initial rate first, as fast as it went up.
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | Sequence[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float = 0.85,
        max_momentum: float = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:  # fmt: skip
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise ValueError("expected total_steps, or epochs and steps_per_epoch, got neither")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"expected anneal_strategy 'cos' or 'linear', got {anneal_strategy!r}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"expected pct_start between 0 and 1, got {pct_start}")
        self.total_steps = total_steps if total_steps is not None else (epochs or 0) * (steps_per_epoch or 0)
        if self.total_steps < 1:
            raise ValueError(f"expected at least one step in all, got {self.total_steps}")
        self.anneal_strategy, self.cycle_momentum = anneal_strategy, cycle_momentum
        count = len(optimizer.param_groups)
        peaks = [float(p) for p in max_lr] if isinstance(max_lr, Sequence) else [float(max_lr)] * count
        self.rates = [(p / div_factor, p, p / div_factor / final_div_factor) for p in peaks]
        self.momenta = (max_momentum, base_momentum, max_momentum)
        up, last = pct_start * self.total_steps - 1, self.total_steps - 1
        low, high, final = 0, 1, 2
        self.phases = [(float(up), low, high), (float(last), high, final)]
        if three_phase:
            self.phases = [(float(up), low, high), (float(2 * up), high, low), (float(last), low, final)]
        if cycle_momentum and not {"momentum", "betas"} & optimizer.defaults.keys():
            raise ValueError("expected an optimiser with momentum or betas to cycle, got one without")
        for group, (first, _, _) in zip(optimizer.param_groups, self.rates, strict=True):
            group["initial_lr"] = first
        super().__init__(optimizer)

    def rate(self, base: float, index: int) -> float:
        """The rate on the way between two of: initial, peak, final."""
        return self._between(self.rates[index])

    def step(self) -> None:
        """Count one step; ValueError beyond the last one."""
        if self.last_epoch + 1 > self.total_steps:
            raise ValueError(f"expected at most {self.total_steps} steps, as announced, got one more")
        super().step()
        if self.cycle_momentum:
            now = self._between(self.momenta)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (now, *group["betas"][1:])
                else:
                    group["momentum"] = now

    def _between(self, values: tuple[float, float, float]) -> float:
        start = 0.0
        for i, (end, a, b) in enumerate(self.phases):
            if self.last_epoch <= end or i == len(self.phases) - 1:
                share = (self.last_epoch - start) / (end - start) if end != start else 1.0
                if self.anneal_strategy == "linear":
                    return values[a] + (values[b] - values[a]) * share
                return values[b] + (values[a] - values[b]) / 2 * (1 + math.cos(math.pi * share))
            start = end
        raise AssertionError


class ReduceLROnPlateau:
    """Multiplies the rates by `factor` when a measure has not improved for `patience` steps.

    Args:
        mode: "min" or "max", which way is better.
        threshold, threshold_mode: what counts as better: by a share ("rel") or an amount ("abs").
        cooldown: steps to wait after a reduction. min_lr: never below (one number, or one per group).
        eps: a smaller change is not made.

    >>> import tinygrad_rnn as tg
    >>> optimizer = tg.optim.SGD([tg.ones(1).requires_grad_()], lr=1.0)
    >>> scheduler = tg.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    >>> for loss in (3.0, 3.0, 3.0):
    ...     scheduler.step(loss)
    >>> scheduler.get_last_lr()
    [0.1]
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        if not 0 <= factor < 1:
            raise ValueError(f"expected a factor in [0, 1), got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                "expected mode 'min' or 'max' and threshold_mode 'rel' or 'abs', "
                f"got {mode!r} and {threshold_mode!r}"
            )
        self.optimizer = optimizer
        self.mode, self.factor, self.patience, self.cooldown = mode, factor, patience, cooldown
        self.threshold, self.threshold_mode, self.eps = threshold, threshold_mode, eps
        count = len(optimizer.param_groups)
        self.min_lrs = [float(m) for m in min_lr] if isinstance(min_lr, Sequence) else [float(min_lr)] * count
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def step(self, metrics: Any) -> None:
        """Tell it the measure of one more epoch."""
        value = float(metrics)
        self.last_epoch += 1
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                lower = max(group["lr"] * self.factor, least)
                if group["lr"] - lower > self.eps:
                    group["lr"] = lower
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "abs":
            return sign * (value - self.best) > self.threshold
        margin = self.best * (1 + sign * self.threshold)
        return sign * value > sign * margin

    get_last_lr = LRScheduler.get_last_lr
    state_dict = LRScheduler.state_dict
    load_state_dict = LRScheduler.load_state_dict
