"""Losses as modules; the functions stand in `functional`.

>>> import tinygrad_rnn as tg
>>> tg.nn.MSELoss(reduction="sum")(tg.ones(3), tg.zeros(3))
tensor(3.)
"""

from __future__ import annotations

from typing import Any

from tinygrad_rnn.nn import functional
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.tensor import Tensor


class _Loss(Module):
    """A loss with its reduction, "mean", "sum" or "none"."""

    reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in self.reductions:
            expected = " or ".join([", ".join(map(repr, self.reductions[:-1])), repr(self.reductions[-1])])
            raise ValueError(f"expected reduction {expected}, got {reduction!r}")
        self.reduction = reduction


class _WeightedLoss(_Loss):
    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)


class CrossEntropyLoss(_WeightedLoss):
    """-log softmax(input)[target]: logits (N, C, …) and class numbers (N, …), or probabilities (N, C, …).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.CrossEntropyLoss(ignore_index=0)(tg.zeros(2, 4), tg.tensor([0, 3]))
    tensor(1.3862944)
    """

    def __init__(
        self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(weight, reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Any, target: Any) -> Any:
        """The loss; see `functional.cross_entropy`."""
        return functional.cross_entropy(
            input,
            target,
            self.weight,
            self.ignore_index,
            self.reduction,
            self.label_smoothing,
        )


class NLLLoss(_WeightedLoss):
    """-input[target] of log-probabilities (N, C, …)."""

    def __init__(
        self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Any, target: Any) -> Any:
        """The loss; see `functional.nll_loss`."""
        return functional.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(_Loss):
    """(input - target)²."""

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of an input and a target of one shape."""
        return functional.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """|input - target|."""

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of an input and a target of one shape."""
        return functional.l1_loss(input, target, self.reduction)


class SmoothL1Loss(_Loss):
    """d²/(2·beta) where d = |input - target| < beta, d - beta/2 elsewhere (Girshick 2015)."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of an input and a target of one shape."""
        return functional.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """d²/2 where d = |input - target| < delta, delta·(d - delta/2) elsewhere (Huber 1964)."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of an input and a target of one shape."""
        return functional.huber_loss(input, target, self.reduction, self.delta)


class KLDivLoss(_Loss):
    """target·(log target - input), for log-probabilities `input`; see `functional.kl_div`."""

    reductions = ("mean", "sum", "none", "batchmean")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of log-probabilities and a target of one shape."""
        return functional.kl_div(input, target, self.reduction, self.log_target)


class BCELoss(_WeightedLoss):
    """-(t log p + (1 - t) log(1 - p)) for probabilities p."""

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of probabilities and targets of one shape."""
        return functional.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """-(pos_weight·t log σ(x) + (1 - t) log(1 - σ(x))) for logits x."""

    def __init__(
        self, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None
    ) -> None:
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of logits and targets of one shape."""
        return functional.binary_cross_entropy_with_logits(
            input,
            target,
            self.weight,
            self.reduction,
            self.pos_weight,
        )


class CTCLoss(_Loss):
    """-log of the probability of all paths that read as the target (Graves et al. 2006).

    >>> import tinygrad_rnn as tg
    >>> log_probs = tg.ops.log_softmax(tg.randn(9, 2, 5), axis=-1)
    >>> tg.nn.CTCLoss()(log_probs, [[1, 2, 2], [3, 4, 0]], input_lengths=[9, 7], target_lengths=[3, 2]).shape
    ()
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any) -> Any:
        """The loss; see `functional.ctc_loss`."""
        return functional.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )
