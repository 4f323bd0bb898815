"""Activations as modules; the functions are those of `ops`.

>>> import tinygrad_rnn as tg
>>> tg.nn.LeakyReLU(0.1)(tg.tensor([-1.0, 2.0]))
tensor([-0.1,  2. ])
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_rnn import ops
from tinygrad_rnn.nn import functional
from tinygrad_rnn.nn.module import Module


class _Activation(Module):
    """An operation of one tensor, with its parameters."""

    op: Any
    params: ClassVar[dict[str, str]] = {}
    """Parameter of the operation → the attribute that holds it."""

    def forward(self, x: Any) -> Any:
        """The operation, on x."""
        return type(self).op(x, **{name: getattr(self, attribute) for name, attribute in self.params.items()})

    def extra_repr(self) -> str:
        """The parameters."""
        return ", ".join(f"{attribute}={getattr(self, attribute)}" for attribute in self.params.values())


class Tanh(_Activation):
    """tanh x."""

    op = staticmethod(ops.tanh)


class Sigmoid(_Activation):
    """σ(x) = 1 / (1 + e⁻ˣ)."""

    op = staticmethod(ops.sigmoid)


class ReLU(_Activation):
    """max(x, 0)."""

    op = staticmethod(ops.relu)


class SiLU(_Activation):
    """x·σ(x)."""

    op = staticmethod(ops.silu)


class Softplus(_Activation):
    """log(1 + eˣ)."""

    op = staticmethod(ops.softplus)


class SELU(_Activation):
    """λ·elu(x, α), with the λ and α that keep mean 0 and variance 1 (Klambauer et al. 2017)."""

    op = staticmethod(functional.selu)


class Mish(_Activation):
    """x·tanh(log(1 + eˣ))."""

    op = staticmethod(functional.mish)


class Softsign(_Activation):
    """x / (1 + |x|)."""

    op = staticmethod(functional.softsign)


class LogSigmoid(_Activation):
    """log σ(x)."""

    op = staticmethod(functional.logsigmoid)


class ReLU6(_Activation):
    """x, held between 0 and 6."""

    op = staticmethod(functional.relu6)


class Hardtanh(_Activation):
    """x, held between min_val and max_val."""

    op = staticmethod(functional.hardtanh)
    params: ClassVar[dict[str, str]] = {"min_val": "min_val", "max_val": "max_val"}

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val, self.max_val = min_val, max_val


class GLU(_Activation):
    """a·σ(b), where a and b are the halves of x along `dim` (Dauphin et al. 2017)."""

    op = staticmethod(functional.glu)
    params: ClassVar[dict[str, str]] = {"axis": "dim"}

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim


class GELU(_Activation):
    """x·Φ(x), Φ the normal distribution function; approximate="tanh" as in PyTorch."""

    op = staticmethod(ops.gelu)
    params: ClassVar[dict[str, str]] = {"approximate": "approximate"}

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate


class ELU(_Activation):
    """x where positive, alpha·(eˣ - 1) elsewhere."""

    op = staticmethod(ops.elu)
    params: ClassVar[dict[str, str]] = {"alpha": "alpha"}

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha


class LeakyReLU(_Activation):
    """x where positive, negative_slope·x elsewhere."""

    op = staticmethod(ops.leaky_relu)
    params: ClassVar[dict[str, str]] = {"negative_slope": "negative_slope"}

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope


class Softmax(_Activation):
    """eˣ / Σ eˣ along `dim`."""

    op = staticmethod(ops.softmax)
    params: ClassVar[dict[str, str]] = {"axis": "dim"}

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim


class LogSoftmax(_Activation):
    """x - log Σ eˣ along `dim`."""

    op = staticmethod(ops.log_softmax)
    params: ClassVar[dict[str, str]] = {"axis": "dim"}

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim
