"""Gradient checks: derivative rules against finite differences, to any order.

The check is blunt on purpose: it moves every entry of every input a little to both sides, in float64, and
sees what comes out. A rule that is wrong in one entry has nowhere to hide. Order two checks the gradient
function itself in the same way: it too is a function with a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import namespaces
from tinygrad_rnn.autodiff import grad
from tinygrad_rnn.tensor import Tensor, raw

STEP = 2.0 ** (-52 / 3)
"""Half the distance of a central difference, relative to the entry: ∛ε, where its two errors are alike."""


class GradientMismatch(AssertionError):
    """A gradient that differs from the finite difference, at its worst entry.

    `order` (1, 2, …), `input` (its number), `index` (of the entry), `analytic`, `numeric`.
    """

    def __init__(
        self, order: int, input: int, index: tuple[int, ...], analytic: float, numeric: float
    ) -> None:
        super().__init__(
            f"gradient of order {order} with respect to input {input}, entry {index}: "
            f"expected {numeric:.9g} by finite differences, got {analytic:.9g} by the rules"
        )
        self.order, self.input, self.index = order, input, index
        self.analytic, self.numeric = analytic, numeric


def check_grads(
    fn: Callable[..., Any], *inputs: Any, order: int = 2, rtol: float = 1e-5, atol: float = 1e-7
) -> float:
    """Compare the gradients of `fn` at `inputs` with central differences; GradientMismatch where they differ.

    For each order: draw a cotangent v for every output, and compare ∂⟨v, fn(x)⟩/∂xᵢ by the rules with
    (⟨v, fn(x + hᵢ)⟩ - ⟨v, fn(x - hᵢ)⟩) / 2h. The next order checks the map (x, v) → ∂⟨v, fn(x)⟩/∂x.

    Args:
        fn: of Tensors, to a Tensor or a sequence of them; it must give the same values at every call.
        inputs: floating ones are checked, in float64; others (indices, masks) are passed on as they are.
        order: up to which derivative.
        rtol: tolerance relative to the largest entry of that input's gradient.
        atol: tolerance on top.

    Returns:
        The largest error met, relative to the larger of 1 and the largest entry of the gradient it is in.

    >>> import tinygrad_rnn as tg
    >>> error = check_grads(tg.ops.tanh, tg.tensor([0.5, -1.0]))
    >>> wrong = lambda x: x * x.detach()
    >>> check_grads(wrong, [3.0])
    Traceback (most recent call last):
    tinygrad_rnn.check.GradientMismatch: gradient of order 1 with respect to input 0, entry (0,): ...
    """
    if order < 1:
        raise ValueError(f"expected order ≥ 1, got {order}")
    arrays = [_float64(x) for x in inputs]
    if not any(a.dtype.kind == "f" for a in arrays):
        raise ValueError("expected at least one floating input to differentiate by, got none")
    first, second = (_values(fn, arrays) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        if not np.array_equal(a, b, equal_nan=True):
            raise ValueError(
                "expected a function that gives the same values at every call; fix its random seed"
            )
    return _check(fn, arrays, 1, order, rtol, atol, np.random.default_rng(0))


def _check(
    fn: Callable[..., Any], arrays: Sequence[Any], order: int, last: int, rtol: float, atol: float, rng: Any
) -> float:
    """Check `fn`, whose own gradient is the derivative of this order; then the gradient, up to the last."""
    sought = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    cotangents = [
        namespaces.namespace(arrays[0]).asarray(rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1, 1], y.shape))
        for y in _values(fn, arrays)
    ]

    def pulled(*values: Any) -> list[Tensor]:
        """The gradient by the rules, as a function of the inputs and the cotangents."""
        xs, vs = list(values[: len(arrays)]), values[len(arrays) :]
        for i in sought:
            xs[i] = xs[i] if xs[i].node is not None else Tensor(xs[i].data).requires_grad_()
        pairs = [(y, v) for y, v in zip(_outputs(fn(*xs)), vs, strict=True) if y.node is not None]
        found: Sequence[Any] = [None] * len(sought)
        if pairs:
            ys, weights = zip(*pairs, strict=True)
            found = grad(ys, [xs[i] for i in sought], weights, create_graph=order < last, allow_unused=True)
        return [_zeros(xs[i]) if g is None else g for i, g in zip(sought, found, strict=True)]

    worst = 0.0
    for i, by_rules in zip(sought, pulled(*map(Tensor, (*arrays, *cotangents))), strict=True):
        analytic, numeric = by_rules.numpy(), _differences(fn, arrays, i, cotangents)
        error = np.nan_to_num(np.abs(analytic - numeric), nan=np.inf, posinf=np.inf)
        scale = float(np.abs(numeric).max(initial=0.0))
        if not np.all(error <= atol + rtol * scale):
            at = tuple(int(k) for k in np.unravel_index(error.argmax(), error.shape))
            raise GradientMismatch(order, i, at, float(analytic[at]), float(numeric[at]))
        worst = max(worst, float(error.max(initial=0.0)) / max(1.0, scale))
    if order < last:
        worst = max(worst, _check(pulled, [*arrays, *cotangents], order + 1, last, rtol, atol, rng))
    return worst


def _differences(fn: Callable[..., Any], arrays: Sequence[Any], i: int, cotangents: Sequence[Any]) -> Any:
    """Central differences of ⟨cotangents, fn⟩ by every entry of input i, as a NumPy array."""
    xp, host = namespaces.namespace(arrays[i]), namespaces.to_numpy(arrays[i])
    slopes = np.zeros(host.shape)
    for at in np.ndindex(slopes.shape):
        step = STEP * max(1.0, abs(float(host[at])))
        sides = []
        for sign in (1, -1):
            moved = host.copy()
            moved[at] += sign * step
            values = _values(fn, [*arrays[:i], xp.asarray(moved), *arrays[i + 1 :]])
            pairs = zip(cotangents, values, strict=True)
            sides.append(sum(float((namespaces.to_numpy(v) * y).sum()) for v, y in pairs))
        slopes[at] = (sides[0] - sides[1]) / (2 * step)
    return slopes


def _values(fn: Callable[..., Any], arrays: Sequence[Any]) -> list[Any]:
    """The outputs of fn, as NumPy arrays."""
    return [y.numpy() for y in _outputs(fn(*map(Tensor, arrays)))]


def _outputs(result: Any) -> list[Tensor]:
    found = [result] if isinstance(result, Tensor) else list(result)
    for y in found:
        if not isinstance(y, Tensor):
            raise TypeError(f"expected a function that gives Tensors, got {type(y).__name__}")
    return found


def _zeros(x: Tensor) -> Tensor:
    return Tensor(namespaces.namespace(x.data).zeros_like(x.data))


def _float64(x: Any) -> Any:
    """The input's array: floating ones in float64, in the layout they have; data on the default device."""
    device = None if isinstance(x, Tensor) else namespaces.get_default_device()
    array = namespaces.asarray(raw(x), device=device)
    return array.astype("float64") if array.dtype.kind == "f" else array
