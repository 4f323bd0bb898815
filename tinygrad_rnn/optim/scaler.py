"""Half precision without losing small gradients: the loss is scaled up, the gradients down again.

A float16 below 6e-8 is zero, and gradients often are below. Scaled by S they are not; too large an S makes
some of them infinite. So S is found on the way: halved when that happens (and the step left out), doubled
after a long time without.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.optim.optimizer import Optimizer
from tinygrad_rnn.tensor import Tensor

_LARGEST = float(np.finfo(np.float32).max)


class GradScaler:
    """Dynamic loss scaling, `torch.amp.GradScaler`'s rules   (Micikevicius et al. 2018).

    float16 gradients become float32 ones when they are scaled down, where they cannot vanish; so clip them
    between `unscale_` and `step`. `step` looks once whether all are finite, which waits for a GPU.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0], dtype="float16", requires_grad=True)
    >>> optimizer, scaler = tg.optim.SGD([w], lr=0.5), tg.optim.GradScaler(init_scale=256.0)
    >>> scaler.scale((w * w).sum()).backward()
    >>> w.grad
    tensor([512.], dtype=float16)
    >>> scaler.step(optimizer); scaler.update(); w
    tensor([0.], dtype=float16, requires_grad=True)
    """

    def __init__(
        self, init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if growth_factor <= 1 or not 0 < backoff_factor < 1:
            raise ValueError(
                "expected growth_factor > 1 and backoff_factor between 0 and 1, "
                f"got {growth_factor} and {backoff_factor}"
            )
        self._scale, self._steady = float(init_scale), 0
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval, self._enabled = growth_interval, enabled
        self._finite: dict[int, Any] = {}
        """Optimiser → whether its gradients were, found when they were scaled down."""
        self._stepped: set[int] = set()

    def scale(self, outputs: Any) -> Any:
        """A loss times the scale; or a list or tuple of losses."""
        if isinstance(outputs, list | tuple):
            return type(outputs)(self.scale(each) for each in outputs)
        return outputs * self._scale if self._enabled else outputs

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimiser's parameters by the scale; once between two updates."""
        if not self._enabled:
            return
        if id(optimizer) in self._finite:
            raise RuntimeError("expected unscale_ once since the last update, got a second call")
        if id(optimizer) in self._stepped:
            raise RuntimeError("expected unscale_ before step, got it after")
        finite = []
        for p in (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None):
            xp = namespace(p.grad.data)
            g = p.grad.data.astype(np.promote_types(p.dtype, np.float32)) * (1 / self._scale)
            finite.append(xp.isfinite(g).all())
            p.node.grad = Tensor(g)
        if not finite:
            raise RuntimeError("expected gradients to scale down, got none: call backward first")
        self._finite[id(optimizer)] = namespace(g).stack(finite).all()

    def step(self, optimizer: Optimizer) -> Any:
        """`optimizer.step()`, left out where a gradient is not finite; scales down first, if nobody has."""
        if not self._enabled:
            return optimizer.step()
        if id(optimizer) in self._stepped:
            raise RuntimeError("expected one step since the last update, got a second one")
        if id(optimizer) not in self._finite:
            self.unscale_(optimizer)
        self._finite[id(optimizer)] = self._finite[id(optimizer)].item()
        self._stepped.add(id(optimizer))
        return optimizer.step() if self._finite[id(optimizer)] else None

    def update(self, new_scale: float | None = None) -> None:
        """Halve the scale after an overflow, double it after `growth_interval` steps without; or set it."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._finite:
            raise RuntimeError("expected step or unscale_ before update, got neither")
        elif not all(f if isinstance(f, bool) else f.item() for f in self._finite.values()):
            self._scale, self._steady = self._scale * self._backoff_factor, 0
        else:
            self._steady += 1
            if self._steady == self._growth_interval:
                grown = self._scale * self._growth_factor
                self._scale, self._steady = grown if grown <= _LARGEST else self._scale, 0
        self._finite.clear()
        self._stepped.clear()

    def get_scale(self) -> float:
        """The scale; 1 where disabled."""
        return self._scale if self._enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether anything is scaled."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Scale, settings and how long it has been steady, by PyTorch's names; {} where disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._steady,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another scaler stopped; RuntimeError for an empty state."""
        if not self._enabled:
            return
        if not state:
            raise RuntimeError("expected the state of an enabled scaler, got an empty one")
        self._scale, self._steady = float(state["scale"]), int(state["_growth_tracker"])
        self._growth_factor, self._backoff_factor = state["growth_factor"], state["backoff_factor"]
        self._growth_interval = state["growth_interval"]
