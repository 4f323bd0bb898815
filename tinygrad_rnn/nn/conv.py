"""Convolution and pooling as modules; the arithmetic is that of `ops.conv`: a view of windows, one product.

Input is (N, C, L) or (N, C, H, W), or one example without N. Sizes are one int, or one for each axis; they
are kept as tuples, under PyTorch's names.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from tinygrad_rnn import ops
from tinygrad_rnn.nn import init
from tinygrad_rnn.nn.module import Module, make_parameter
from tinygrad_rnn.ops.conv import Sizes, each, margins

PADDINGS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""PyTorch's padding_mode → NumPy's mode."""


class _Conv(Module):
    """What both convolutions share: sizes, weights (O, C/groups, *kernel_size), padding of other kinds."""

    dims: ClassVar[int]
    op: ClassVar[Any]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1,
        padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if groups < 1 or in_channels % groups or out_channels % groups:
            came = f"{in_channels} and {out_channels}, groups={groups}"
            raise ValueError(f"expected channels that groups divide, got {came}")
        if padding_mode not in PADDINGS:
            raise ValueError(f"expected padding_mode among {sorted(PADDINGS)}, got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        sizes = (each(size, self.dims, type(self).__name__) for size in (kernel_size, stride, dilation))
        self.kernel_size, self.stride, self.dilation = sizes
        self._margins = margins(padding, self.kernel_size, self.stride, self.dilation, type(self).__name__)
        self.padding = padding if isinstance(padding, str) else tuple(before for before, _ in self._margins)
        self.padding_mode = padding_mode
        self.weight = make_parameter((out_channels, in_channels // groups, *self.kernel_size), device, dtype)
        self.bias = make_parameter((out_channels,), device, dtype) if bias else None
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Any) -> Any:
        """The convolution of x (N, C, …) or (C, …); ValueError for another number of axes or channels."""
        channels = x.shape[-self.dims - 1] if x.ndim in (self.dims + 1, self.dims + 2) else None
        if channels != self.in_channels:
            axes = "L" if self.dims == 1 else "H, W"
            raise ValueError(f"expected input (N, {self.in_channels}, {axes}) or one example, got {x.shape}")
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            widths = [(0, 0)] * (x.ndim - self.dims) + list(self._margins)
            x, padding = ops.pad(x, widths, mode=PADDINGS[self.padding_mode]), 0
        return type(self).op(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Channels and sizes, and what is not by default."""
        said = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        said += f", stride={self.stride}"
        if self.padding != (0,) * self.dims:
            said += f", padding={self.padding}"
        if self.dilation != (1,) * self.dims:
            said += f", dilation={self.dilation}"
        said += f", groups={self.groups}" if self.groups != 1 else ""
        said += ", bias=False" if self.bias is None else ""
        return said + (f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "")


class Conv1d(_Conv):
    """yₒ[t] = biasₒ + Σ_c Σ_k weight[o, c, k]·x_c[stride·t + dilation·k - padding]: (N, C, L) → (N, O, L′).

    `padding` may be "same" or "valid", `padding_mode` "zeros", "reflect", "replicate" or "circular".
    Weights and bias start at U(±1/√fan_in). ValueError where sizes do not fit. (`torch.nn.Conv1d`)

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Conv1d(3, 8, kernel_size=5, padding="same")(tg.zeros(2, 3, 20)).shape
    (2, 8, 20)
    """

    dims = 1
    op = staticmethod(ops.conv1d)


class Conv2d(_Conv):
    """Conv1d over two axes: (N, C, H, W) → (N, O, H′, W′). (`torch.nn.Conv2d`)

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Conv2d(1, 4, kernel_size=3, stride=(1, 2), padding=1)(tg.zeros(2, 1, 8, 8)).shape
    (2, 4, 8, 4)
    """

    dims = 2
    op = staticmethod(ops.conv2d)


class _Pool(Module):
    """An operation over windows, with its sizes."""

    op: ClassVar[Any]
    settings: ClassVar[tuple[str, ...]]

    def forward(self, x: Any) -> Any:
        """One number for every window of x (N, C, …) or (C, …)."""
        return type(self).op(x, *(getattr(self, name) for name in self.settings))

    def extra_repr(self) -> str:
        """The sizes."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.settings)


class _MaxPool(_Pool):
    settings = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode
        self.return_indices = return_indices


class MaxPool1d(_MaxPool):
    """The largest entry of every window of the last axis; `stride` is the window's size by default.

    With `return_indices` also where it stands in x.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.MaxPool1d(2, return_indices=True)(tg.tensor([[[1.0, 3.0, 2.0, 0.0]]]))
    (tensor([[[3., 2.]]]), tensor([[[1, 2]]]))
    """

    op = staticmethod(ops.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest entry of every window of the last two axes."""

    op = staticmethod(ops.max_pool2d)


class _AvgPool(_Pool):
    settings: ClassVar[tuple[str, ...]] = (
        "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
    )  # fmt: skip

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad


class AvgPool1d(_AvgPool):
    """The mean of every window of the last axis; the padding counts as zeros, or not at all.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.AvgPool1d(2)(tg.tensor([[[1.0, 3.0, 2.0, 0.0]]]))
    tensor([[[2., 1.]]])
    """

    op = staticmethod(ops.avg_pool1d)


class AvgPool2d(_AvgPool):
    """The mean of every window of the last two axes; `divisor_override` divides their sums instead."""

    op = staticmethod(ops.avg_pool2d)
    settings: ClassVar[tuple[str, ...]] = (*_AvgPool.settings, "divisor_override")

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override
