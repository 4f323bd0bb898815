"""Layers and losses as functions, under the names of `torch.nn.functional`.

A loss takes `reduction`: "mean" (the default), "sum", or "none" for one loss per entry. Activations, products
and normalisation are those of `ops`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.modes import no_grad
from tinygrad_rnn.namespaces import asarray, namespace, on_host
from tinygrad_rnn.nn.ctc import ctc_beam_decode, ctc_greedy_decode, ctc_loss
from tinygrad_rnn.ops import (
    avg_pool1d,
    avg_pool2d,
    conv1d,
    conv2d,
    dropout,
    elu,
    gelu,
    layer_norm,
    leaky_relu,
    linear,
    log_softmax,
    max_pool1d,
    max_pool2d,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)  # fmt: skip
from tinygrad_rnn.tensor import Tensor, label, raw

__all__ = [
    "linear", "embedding", "dropout", "layer_norm", "batch_norm", "normalize", "one_hot",
    "conv1d", "conv2d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d",
    "relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "logsigmoid", "tanh", "softplus", "selu", "mish",
    "softsign", "hardtanh", "relu6", "glu",
    "softmax", "log_softmax", "scaled_dot_product_attention",
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "ctc_loss", "ctc_greedy_decode", "ctc_beam_decode",
]  # fmt: skip


def embedding(input: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Row `input[…]` of the weight (V, D): (…, D); the row `padding_idx` gets no gradient.

    Raises TypeError for indices that are no integers, IndexError for one outside 0…V - 1.
    """
    at = raw(input) if isinstance(input, Tensor) else asarray(input, device=weight.device)
    if at.dtype.kind not in "iu":
        raise TypeError(f"expected integer indices, got {at.dtype}")
    found: Tensor = ops.embedding(Tensor(at), weight, padding_idx)
    return found


def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """Integers (…) as rows of the identity, (…, C); C is one more than the largest by default.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.one_hot(tg.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    at = raw(tensor) if isinstance(tensor, Tensor) else asarray(tensor)
    classes = at.max().item() + 1 if num_classes < 0 else num_classes
    found: Tensor = (Tensor(at[..., None]) == namespace(at).arange(classes)).astype(np.int64)
    return found


def normalize(x: Any, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Any:
    """x / max(‖x‖_p, eps) along `axis`."""
    return x / ops.maximum(ops.norm(x, ord=p, axis=axis, keepdims=True), eps)


def batch_norm(
    input: Any, running_mean: Tensor | None, running_var: Tensor | None, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """(x - mean) / √(var + eps) per feature, times weight plus bias: input (N, C, …).

    In training by the statistics of the batch, of which the running ones then take their share, in place;
    else by the running ones. ValueError where a feature has only one value to train on.
    """
    axes = (0, *range(2, input.ndim))
    count = math.prod(input.shape[a] for a in axes)
    along = (-1,) + (1,) * (input.ndim - 2)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("expected running statistics outside training, got None")
        scale = 1 / ops.sqrt(running_var + eps)
        y = (input - ops.reshape(running_mean, along)) * ops.reshape(scale, along)
    elif count < 2:
        raise ValueError(f"expected more than one value per feature in training, got input {input.shape}")
    else:
        y = ops.standardize(input, axes, eps)
        with no_grad():
            for running, batch in (
                (running_mean, ops.mean(input, axes)), (running_var, ops.var(input, axes, correction=1)),
            ):  # fmt: skip
                if running is not None:
                    running.copy_((1 - momentum) * running + momentum * batch)
    y = y if weight is None else y * ops.reshape(weight, along)
    return y if bias is None else y + ops.reshape(bias, along)


# -- activations that are not operations of their own --------------------------------------------------


def logsigmoid(x: Any) -> Any:
    """log σ(x), without underflow."""
    return -ops.softplus(-x)


def selu(x: Any) -> Any:
    """λ·elu(x, α), with the λ and α that keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    return 1.0507009873554805 * ops.elu(x, 1.6732632423543772)


def mish(x: Any) -> Any:
    """x·tanh(log(1 + eˣ)) (Misra 2019)."""
    return x * ops.tanh(ops.softplus(x))


def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    return x / (1 + ops.abs(x))


def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """x, held between min_val and max_val."""
    return ops.clip(x, min_val, max_val)


def relu6(x: Any) -> Any:
    """x, held between 0 and 6."""
    return ops.clip(x, 0.0, 6.0)


def glu(x: Any, axis: int = -1) -> Any:
    """a·σ(b), where a and b are the halves of x along `axis` (Dauphin et al. 2017).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.glu(tg.tensor([3.0, 0.0]))
    tensor([1.5])
    """
    if x.shape[axis] % 2:
        raise ValueError(f"expected an even length along axis {axis} of {x.shape}")
    a, b = ops.split(x, 2, axis=axis)
    return a * ops.sigmoid(b)


# -- attention -----------------------------------------------------------------------------------------


def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None,
) -> Any:  # fmt: skip
    """softmax(Q Kᵀ·scale + mask) V: (…, L, d), (…, S, d), (…, S, e) → (…, L, e); scale is 1/√d by default.

    A boolean mask is True where a query may look (in `nn.MultiheadAttention` it is True where not: PyTorch's
    conventions). Zeros where it may look nowhere. Source: Vaswani et al. 2017, equation 1.

    >>> import tinygrad_rnn as tg
    >>> x = tg.eye(2)
    >>> tg.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)[0]
    tensor([1., 0.])
    """
    if attn_mask is not None and raw(attn_mask).dtype.kind == "b":
        attn_mask = ~raw(attn_mask)
    elif attn_mask is None and is_causal:
        attn_mask = causal_mask(query.shape[-2], key.shape[-2], query)
    mask = None if attn_mask is None else additive_mask(attn_mask, query, "attn_mask")
    return attend(query, key, value, mask, dropout_p, scale)[0]


def attend(
    query: Any, key: Any, value: Any, mask: Any = None, dropout: float = 0.0, scale: float | None = None
) -> tuple[Any, Any]:
    """softmax(Q Kᵀ/√d + mask) V, and the weights: (…, L, d), (…, S, d), (…, S, e) → (…, L, e), (…, L, S).

    Source: Vaswani et al. 2017, equation 1.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = ops.matmul(query * scale, key.mT)
    weights = label(attention=ops.softmax(scores if mask is None else scores + mask, axis=-1))
    weights = ops.dropout(weights, dropout)
    return ops.matmul(weights, value), weights


def additive_mask(mask: Any, like: Any, name: str) -> Any:
    """A mask to be added to scores of `like`: -inf where a boolean one is True, a floating one as it is."""
    found = mask if isinstance(mask, Tensor) else Tensor(asarray(mask, device=like.device))
    if found.dtype.kind == "f":
        return found
    if found.dtype.kind != "b":
        raise TypeError(f"expected {name} to be boolean or floating, got {found.dtype}")
    return Tensor(namespace(found.data).where(found.data, -math.inf, 0.0).astype(like.dtype))


def causal_mask(targets: int, sources: int, like: Tensor) -> Tensor:
    """(L, S), on `like`'s device: True above the diagonal, so that no query looks ahead."""
    xp = namespace(like.data)
    return Tensor(xp.triu(xp.ones((targets, sources), dtype=bool), 1))


# -- losses --------------------------------------------------------------------------------------------


def cross_entropy(
    input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    """-log softmax(input)[target], averaged: input (N, C), (C) or (N, C, …), target (N), () or (N, …).

    Args:
        input: logits; classes on axis 1 (on the only axis of a single sample).
        target: class numbers; or probabilities, floats of the input's shape.
        weight: one factor per class, (C); the mean is then taken over the weights.
        ignore_index: targets that count for nothing, in the mean too.
        label_smoothing: in [0, 1], the share that goes to all classes evenly (Szegedy et al. 2016).

    Raises ValueError or TypeError where shapes, dtypes or class numbers do not fit.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.cross_entropy(tg.zeros(2, 4), tg.tensor([0, 3]))
    tensor(1.3862944)
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"expected label_smoothing between 0 and 1, got {label_smoothing}")
    axis = 0 if input.ndim == 1 else 1
    if isinstance(target, Tensor) and target.dtype.kind == "f":
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing, axis)
    logp = ops.log_softmax(input, axis=axis)
    if not label_smoothing:
        return nll_loss(logp, target, weight, ignore_index, reduction)
    at, there, factor = _classes(input, target, weight, ignore_index, axis)
    picked = -_pick(logp, at, axis) * factor
    spread = -logp if weight is None else -logp * _per_class(weight, input, axis)
    evenly = ops.sum(spread, axis=axis) * there / input.shape[axis]
    loss = (1 - label_smoothing) * picked + label_smoothing * evenly
    return ops.sum(loss) / _total(factor) if reduction == "mean" else _reduced(loss, reduction)


def _soft_cross_entropy(
    input: Any, target: Any, weight: Any, reduction: str, smoothing: float, axis: int
) -> Any:
    _same_shape(input, target)
    target = target * (1 - smoothing) + smoothing / input.shape[axis]
    factors = target if weight is None else target * _per_class(weight, input, axis)
    loss = -ops.sum(factors * ops.log_softmax(input, axis=axis), axis=axis)
    count = max(loss.size, 1)
    return ops.sum(loss) / count if reduction == "mean" else _reduced(loss, reduction)


def nll_loss(
    input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    """-input[target] of log-probabilities (N, C), (C) or (N, C, …); arguments as in `cross_entropy`."""
    axis = 0 if input.ndim == 1 else 1
    at, there, factor = _classes(input, target, weight, ignore_index, axis)
    picked = _pick(input, at, axis)
    if weight is None and on_host(there.data) and there.data.all():
        return _reduced(-picked, reduction)
    loss = -picked * factor
    return ops.sum(loss) / _total(factor) if reduction == "mean" else _reduced(loss, reduction)


def _classes(input: Any, target: Any, weight: Any, ignore_index: int, axis: int) -> tuple[Any, Any, Any]:
    """Class numbers (zero where ignored), where they count, and how much."""
    at = raw(target) if isinstance(target, Tensor) else asarray(target, device=input.device)
    expected = input.shape[:axis] + input.shape[axis + 1 :]
    if at.dtype.kind not in "iu":
        raise TypeError(f"expected integer class numbers, or probabilities as a Tensor, got {at.dtype}")
    if tuple(at.shape) != expected:
        raise ValueError(
            f"expected targets of shape {expected} for input {input.shape}, got {tuple(at.shape)}"
        )
    there = at != ignore_index
    wrong = there & ((at < 0) | (at >= input.shape[axis]))
    if on_host(at) and wrong.any():
        raise ValueError(
            f"expected class numbers from 0 to {input.shape[axis] - 1}, got {int(at[wrong][0])}"
        )
    at = at * (there & ~wrong)
    counted = namespace(input.data).where(wrong, math.nan, there).astype(input.dtype)
    return at, Tensor(counted), Tensor(counted if weight is None else counted * raw(weight)[at])


def _pick(input: Any, at: Any, axis: int) -> Any:
    """input at one class number per position."""
    xp, ndim = namespace(input.data), at.ndim
    where = [xp.arange(n).reshape((-1,) + (1,) * (ndim - i - 1)) for i, n in enumerate(at.shape)]
    return ops.getitem(input, (*where[:axis], at, *where[axis:]))


def _per_class(weight: Any, input: Any, axis: int) -> Any:
    """The class weights, shaped to multiply `input`."""
    return ops.reshape(weight, (-1,) + (1,) * (input.ndim - axis - 1))


def _total(factor: Any) -> Any:
    return Tensor(factor.data.sum())


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """(input - target)²."""
    _same_shape(input, target)
    return _reduced(ops.square(input - target), reduction)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """|input - target|."""
    _same_shape(input, target)
    return _reduced(ops.abs(input - target), reduction)


def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Any:
    """d²/(2·beta) where d = |input - target| < beta, d - beta/2 elsewhere (Girshick 2015)."""
    if beta < 0:
        raise ValueError(f"expected beta ≥ 0, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction)
    _same_shape(input, target)
    d = ops.abs(input - target)
    return _reduced(ops.where(d < beta, d * d * (0.5 / beta), d - 0.5 * beta), reduction)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    """d²/2 where d = |input - target| < delta, delta·(d - delta/2) elsewhere (Huber 1964)."""
    if delta <= 0:
        raise ValueError(f"expected delta > 0, got {delta}")
    return delta * smooth_l1_loss(input, target, reduction, delta)


def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Any:
    """target·(log target - input), for log-probabilities `input`; 0 where the target is.

    With log_target it is the logarithm of the target that is given. "batchmean" is the divergence as in the
    textbook: the sum over all entries, divided by the size of the first axis; "mean" divides by all.
    """
    _same_shape(input, target)
    if log_target:
        loss = ops.exp(target) * (target - input)
    else:
        there = target > 0
        loss = ops.where(there, target * (ops.log(ops.where(there, target, 1.0)) - input), 0.0)
    return ops.sum(loss) / input.shape[0] if reduction == "batchmean" else _reduced(loss, reduction)


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Any:
    """-(t log p + (1 - t) log(1 - p)) for probabilities p; each logarithm is held at -100, as in PyTorch."""
    _same_shape(input, target)
    loss = -(target * _held_log(input) + (1 - target) * _held_log(1 - input))
    return _reduced(loss if weight is None else loss * weight, reduction)


def _held_log(p: Any) -> Any:
    """log p, not below -100, and without gradient there."""
    return ops.maximum(ops.log(ops.maximum(p, float(np.finfo(p.dtype).smallest_subnormal))), -100.0)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Any:
    """-(pos_weight·t log σ(x) + (1 - t) log(1 - σ(x))), from logits, without overflow.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.binary_cross_entropy_with_logits(tg.tensor([0.0, 1e4]), tg.tensor([0.0, 1.0]))
    tensor(0.3465736)
    """
    _same_shape(input, target)
    gain = 1.0 if pos_weight is None else pos_weight
    loss = (1 - target) * input + (1 + (gain - 1) * target) * ops.softplus(-input)
    return _reduced(loss if weight is None else loss * weight, reduction)


def _reduced(loss: Any, reduction: str) -> Any:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
    return loss if reduction == "none" else ops.mean(loss) if reduction == "mean" else ops.sum(loss)


def _same_shape(input: Any, target: Any) -> None:
    if tuple(np.shape(raw(target))) != tuple(input.shape):
        raise ValueError(
            f"expected a target of the input's shape {input.shape}, got {tuple(np.shape(raw(target)))}"
        )
