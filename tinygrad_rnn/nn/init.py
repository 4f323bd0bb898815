"""Where weights start. Every function writes into its tensor and returns it, as in `torch.nn.init`.

Numbers come from the device's random stream (`tg.manual_seed`); nothing here is recorded.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

from tinygrad_rnn import namespaces
from tinygrad_rnn.tensor import Tensor

T = TypeVar("T", bound=Tensor)


def _fill(tensor: T, values: Any) -> T:
    tensor.copy_(values)
    return tensor


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0) -> T:
    """U(a, b).

    >>> import tinygrad_rnn as tg
    >>> w = tg.nn.init.uniform_(tg.empty(100), -0.5, 0.5)
    >>> bool((abs(w) <= 0.5).all())
    True
    """
    return _fill(tensor, a + (b - a) * namespaces.random_stream(tensor.device).random(tensor.shape))


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0) -> T:
    """N(mean, std²)."""
    return _fill(tensor, mean + std * namespaces.random_stream(tensor.device).standard_normal(tensor.shape))


def constant_(tensor: T, value: float) -> T:
    """The same value everywhere."""
    return _fill(tensor, value)


def zeros_(tensor: T) -> T:
    """Zeros."""
    return _fill(tensor, 0.0)


def ones_(tensor: T) -> T:
    """Ones."""
    return _fill(tensor, 1.0)


def eye_(tensor: T) -> T:
    """The identity matrix; ValueError unless there are two axes."""
    rows, columns = _matrix(tensor)
    return _fill(tensor, namespaces.namespace(tensor.data).eye(rows, columns))


def orthogonal_(tensor: T, gain: float = 1.0) -> T:
    """gain·Q with orthonormal rows or columns (whichever are fewer), drawn uniformly (Saxe et al. 2014)."""
    rows, columns = _matrix(tensor)
    xp = namespaces.namespace(tensor.data)
    a = namespaces.random_stream(tensor.device).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = xp.linalg.qr(a)
    q = q * xp.sign(xp.diagonal(r))
    return _fill(tensor, gain * (q if rows >= columns else q.T))


def xavier_uniform_(tensor: T, gain: float = 1.0) -> T:
    """U(±gain·√(6/(fan_in + fan_out))) (Glorot & Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: T, gain: float = 1.0) -> T:
    """N(0, gain²·2/(fan_in + fan_out)) (Glorot & Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))))


def kaiming_uniform_(tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """U(±gain·√(3/fan)) (He et al. 2015); `a` is leaky ReLU's negative slope."""
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """N(0, gain²/fan) (He et al. 2015); `a` is leaky ReLU's negative slope."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a nonlinearity's input should be scaled, PyTorch's table.

    >>> from tinygrad_rnn import nn
    >>> nn.init.calculate_gain("tanh")
    1.6666666666666667
    """
    slope = 0.01 if param is None else param
    gains = {
        "linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75,
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
    }  # fmt: skip
    if nonlinearity not in gains:
        raise ValueError(f"expected a nonlinearity among {sorted(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, *receptive field)."""
    if tensor.ndim < 2:
        raise ValueError(f"expected a weight with at least two axes, got shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"expected mode 'fan_in' or 'fan_out', got {mode!r}")
    return fans(tensor)[mode == "fan_out"]


def _matrix(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim != 2:
        raise ValueError(f"expected a matrix, got shape {tensor.shape}")
    return tensor.shape[0], tensor.shape[1]
