"""Gradients that grew too long, cut down in place before the optimiser sees them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinygrad_rnn import namespaces
from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.tensor import Tensor


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    found = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in found if p.grad is not None]


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> Tensor:
    """Scale all gradients together so that their norm is at most `max_norm`; returns the norm before.

    ‖g‖ is taken over all entries of all gradients, as if they were one vector; `norm_type` may be inf.
    Source: Pascanu et al. 2013; `torch.nn.utils.clip_grad_norm_`.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([0.0, 0.0], requires_grad=True)
    >>> (3 * w[0] + 4 * w[1]).backward()
    >>> tg.nn.utils.clip_grad_norm_(w, 1.0), tg.nn.utils.clip_grad_norm_(w, 1.0).item() <= 1
    (tensor(5.), True)
    """
    gradients = _gradients(parameters)
    if not gradients:
        return Tensor(namespaces.asarray(0.0))
    xp = namespace(gradients[0].data)
    sizes = xp.stack([xp.linalg.norm(g.data.ravel(), ord=norm_type) for g in gradients])
    total = xp.linalg.norm(sizes, ord=norm_type)
    scale = xp.minimum(max_norm / (total + 1e-6), 1.0)
    for g in gradients:
        g.copy_((g.data * scale).astype(g.dtype))
    return Tensor(xp.asarray(total, dtype=gradients[0].dtype))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Hold every entry of every gradient between -clip_value and clip_value."""
    for g in _gradients(parameters):
        limit: Any = abs(clip_value)
        g.copy_(namespace(g.data).clip(g.data, -limit, limit))
