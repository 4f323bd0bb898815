"""Standardising what flows through a network: per example over features, or per feature over the batch."""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_rnn import ops
from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.nn import functional, init
from tinygrad_rnn.nn.module import Module, make_parameter
from tinygrad_rnn.tensor import Tensor


class LayerNorm(Module):
    """(x - mean) / √(var + eps) over the last axes, times weight plus bias (Ba et al. 2016).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.LayerNorm(2, eps=0.0)(tg.tensor([[0.0, 2.0]]))
    tensor([[-1.,  1.]], made_by=add)
    """

    def __init__(
        self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True, device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        self.normalized_shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        self.eps, self.elementwise_affine = eps, elementwise_affine
        made = [make_parameter(self.normalized_shape, device, dtype) for _ in range(2)]
        self.weight = init.ones_(made[0]) if elementwise_affine else None
        self.bias = init.zeros_(made[1]) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Any:
        """x (…, *normalized_shape), standardised."""
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The axes' lengths."""
        return f"{self.normalized_shape}, eps={self.eps}"


class _BatchNorm(Module):
    """What both share: running statistics (buffers, in the state dict), weight and bias."""

    shapes: ClassVar[dict[int, str]]
    """Number of axes → the shape that is expected, for messages."""
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        made = [make_parameter((num_features,), device, dtype) for _ in range(2)]
        self.weight = init.ones_(made[0]) if affine else None
        self.bias = init.zeros_(made[1]) if affine else None
        xp, kind = namespace(made[0].data), made[0].dtype
        buffers = [xp.zeros(num_features, kind), xp.ones(num_features, kind), xp.zeros((), "int64")]
        for name, start in zip(("running_mean", "running_var", "num_batches_tracked"), buffers, strict=True):
            self.register_buffer(name, Tensor(start) if track_running_stats else None)

    def forward(self, x: Any) -> Any:
        """x, standardised by the batch's statistics in training, by the running ones in evaluation."""
        if x.ndim not in self.shapes or x.shape[1] != self.num_features:
            expected = " or ".join(self.shapes.values()).replace("C", str(self.num_features))
            raise ValueError(f"expected input {expected}, got {x.shape}")
        momentum = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.copy_(self.num_batches_tracked.data + 1)
            if momentum is None:
                momentum = 1 / self.num_batches_tracked.item()
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or self.running_mean is None, 0.0 if momentum is None else momentum, self.eps,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The number of features, and the settings."""
        names = ("eps", "momentum", "affine", "track_running_stats")
        return f"{self.num_features}, " + ", ".join(f"{name}={getattr(self, name)}" for name in names)


class BatchNorm1d(_BatchNorm):
    """(x - mean) / √(var + eps) per feature, over the batch (and time), times weight plus bias.

    x is (N, C) or (N, C, L). In training by the batch's own mean and variance, which also move the running
    ones: r ← (1 - momentum)·r + momentum·batch, with the unbiased variance; momentum None gives their plain
    average. In evaluation by the running ones. (Ioffe & Szegedy 2015; `torch.nn.BatchNorm1d`)

    Raises ValueError for another shape, and in training for a single value per feature.

    >>> import tinygrad_rnn as tg
    >>> norm = tg.nn.BatchNorm1d(1, affine=False, eps=0.0)
    >>> norm(tg.tensor([[0.0], [2.0]])), norm.running_mean
    (tensor([[-1.],
            [ 1.]]), tensor([0.1]))
    """

    shapes: ClassVar[dict[int, str]] = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(_BatchNorm):
    """BatchNorm1d over the batch and both axes of an image, (N, C, H, W)."""

    shapes: ClassVar[dict[int, str]] = {4: "(N, C, H, W)"}
