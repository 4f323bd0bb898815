"""Truncated backpropagation through time.

Every k1 steps the losses of those steps are sent back through the last k2 steps (Williams & Peng 1990). With
k1 < k2 the windows overlap: a step is then swept several times, for the losses of several windows, and each
loss counts once. The state at the beginning of a window is a value, not a computation: gradients stop there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

from tinygrad_rnn import ops
from tinygrad_rnn.modes import no_grad
from tinygrad_rnn.namespaces import clock
from tinygrad_rnn.scope import at, here
from tinygrad_rnn.tape import Origin
from tinygrad_rnn.tensor import Tensor


class Truncated(NamedTuple):
    """The loss of every window, as numbers; and the last state, detached, to go on from."""

    losses: list[float]
    state: Any


def tbptt(
    module: Any,
    x: Tensor,
    targets: Tensor,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    k1: int,
    k2: int,
    *,
    state: Any = None,
    optimizer: Any = None,
) -> Truncated:
    """Add the truncated gradients of a whole sequence to the parameters' `.grad`, window by window.

    Args:
        module: a recurrent layer, or anything with `module(x, state)` → (output, state), reading forward.
        x: the input, time first (or second where the module says batch_first).
        targets: what belongs to each step of the output, time on the same axis.
        loss_fn: (output, targets) → a scalar, for the k1 steps of a window.
        k1: how many steps from one backward to the next.
        k2: how many steps each of them goes back; of a loss further back than that only the value is taken.
        state: where to start, as the module's own second argument.
        optimizer: if given, it steps after each window, and the gradients start anew for each. A window is
            then computed with the weights as they are by now.

    Returns:
        `Truncated(losses, state)`.

    Raises:
        ValueError: k1 or k2 below 1, targets of another length, a bidirectional module.

    >>> import tinygrad_rnn as tg
    >>> rnn, x, y = tg.nn.RNN(3, 5), tg.randn(10, 2, 3), tg.randn(10, 2, 5)
    >>> losses, state = tg.tbptt(rnn, x, y, tg.nn.MSELoss(), k1=4, k2=6)
    >>> len(losses), state.shape
    (3, (1, 2, 5))
    """
    axis = 1 if getattr(module, "batch_first", False) else 0
    steps = x.shape[axis]
    if k1 < 1 or k2 < 1:
        raise ValueError(f"expected k1 and k2 of at least 1, got k1={k1}, k2={k2}")
    if targets.shape[axis : axis + 1] != (steps,):
        raise ValueError(f"expected targets for {steps} steps on axis {axis}, got shape {targets.shape}")
    if getattr(module, "bidirectional", False):
        raise ValueError(
            "expected a module that reads forward, got a bidirectional one: it needs the whole sequence"
        )

    def part(values: Tensor, begin: int, end: int) -> Tensor:
        return values[begin:end] if axis == 0 else values[:, begin:end]

    ends = [*range(k1, steps, k1), steps]
    starts = [max(0, end - max(k2, end - previous)) for previous, end in zip([0, *ends], ends, strict=False)]
    known = {0: detached(state)}
    losses = []
    for number, (begin, end) in enumerate(zip(starts, ends, strict=True)):
        previous = ends[number - 1] if number else 0
        cut = max(begin, end - k2)
        marks = sorted({cut, end, previous, *(s for s in starts[number + 1 :] if begin < s <= end)} - {begin})
        outputs, now, state = [], begin, known[begin]
        for mark in marks:
            with at(start=now), no_grad() if mark <= cut else nullcontext():
                output, state = module(part(x, now, mark), state)
            known[mark] = detached(state)
            if mark <= cut:
                state = known[mark]
            if now >= previous:
                outputs.append(output)
            now = mark
        joined = outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, axis=axis)
        loss = loss_fn(joined, part(targets, previous, end))
        if optimizer is not None:
            optimizer.zero_grad()
        loss.backward()
        if optimizer is not None:
            optimizer.step()
        losses.append(float(loss.item()))
    return Truncated(losses, known[steps])


def detached(state: Any) -> Any:
    """The same state, cut off from how it came to be, whether or not that was recorded."""
    if isinstance(state, tuple | list):
        return tuple(detached(s) for s in state)
    if state is None:
        return None
    origin = state.detach().origin or Origin("", here.scope, key=next(clock))
    return Tensor(state.data, None, origin._replace(cut=True))
