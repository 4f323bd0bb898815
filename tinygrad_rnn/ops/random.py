"""Operations that draw from the device's random stream."""

from __future__ import annotations

from typing import Any

from tinygrad_rnn import namespaces
from tinygrad_rnn.ops.index import as_tensor
from tinygrad_rnn.tensor import Tensor

__all__ = ["dropout"]


def dropout(x: Any, p: float = 0.5, training: bool = True) -> Any:
    """Each entry zero with probability p, the others scaled by 1/(1 - p); x itself outside training.

    Raises ValueError unless 0 ≤ p ≤ 1. Source: Srivastava et al. 2014, in its inverted form.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability between 0 and 1, got {p}")
    x = as_tensor(x)
    if not training or p == 0:
        return x
    xp = namespaces.namespace(x.data)
    keep = namespaces.random_stream(x.device).random(x.shape, dtype="float32") >= p
    scale = 0.0 if p == 1 else 1 / (1 - p)
    return x * Tensor(xp.asarray(keep, dtype=x.dtype) * scale)
