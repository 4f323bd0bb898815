"""Memory for time: keep the inputs of a stretch of computation, and compute its inside again when needed.

`checkpoint` runs a function and keeps nothing of what it recorded, only one Node that knows the function
and its inputs. In the backward sweep that Node runs the function again, recorded this time, and sweeps
through it. `checkpoint_sequence` does so for stretches of √T steps of a recurrence: √T states are kept, and
inside one stretch at a time √T steps, instead of T.

What the function uses besides its arguments, parameters above all, gets its gradient too: these are the
nodes under the recorded function that are older than the call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_rnn import namespaces
from tinygrad_rnn.modes import enable_grad
from tinygrad_rnn.namespaces import clock
from tinygrad_rnn.primitive import primitive
from tinygrad_rnn.recorder import origins, several
from tinygrad_rnn.scope import at, here
from tinygrad_rnn.sweep import InPlaceError, sweep
from tinygrad_rnn.tape import Node, Origin, mode
from tinygrad_rnn.tensor import Tensor


def checkpoint(fn: Callable[..., Any], *args: Any) -> Any:
    """fn(*args), recorded as one Node that computes fn again in the backward pass.

    Args:
        fn: a function of its arguments and of Tensors that it closes over (a module's parameters), with the
            same result at every call; random numbers are drawn again as they were.
        args: Tensors, tuples, lists or dicts of them, or anything else, which is passed on.

    Returns:
        What fn returns: a Tensor, or tuples, lists and dicts with Tensors.

    Raises:
        RuntimeError: in the backward pass, if fn then uses other Tensors than it did before.
        InPlaceError: there too, if a Tensor that it uses was written to since.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(2.0, requires_grad=True)
    >>> y = tg.checkpoint(lambda x: tg.ops.exp(tg.ops.sin(w * x)), tg.tensor(0.0))
    >>> y.backward()
    >>> w.grad
    tensor(0.)
    """
    if not mode.get().recording:
        return fn(*args)
    inputs, packed = _flatten(args)
    run = _Run(fn, packed)
    outputs, unpack = _flatten(fn(*args))
    run.recorded = [i for i, y in enumerate(outputs) if y.node is not None]
    if not run.recorded:
        return unpack(outputs)
    nodes = [x.node for x in inputs]
    closed_over = [n for n in _older([outputs[i].node for i in run.recorded], run.began) if n not in nodes]
    run.nodes = [*nodes, *closed_over]
    run.sums = [outputs[i].data.sum() for i in run.recorded]

    plan: Any = again.primitive.plan(1)
    parents = origins(tuple(nodes), inputs) + tuple(closed_over)
    arrays = tuple([x.data for x in inputs]) + (None,) * len(closed_over)
    values = tuple([outputs[i].data for i in run.recorded])
    made = several(plan, parents, plan.save(arrays, values, run), values)
    for i, y in zip(run.recorded, made, strict=True):
        outputs[i] = y
    return unpack(outputs)


def checkpoint_sequence(
    step: Callable[[Any, Any], tuple[Any, Any]], state: Any, xs: Any, *, chunk: int | None = None
) -> tuple[Any, Any]:
    """Run `state, y_t = step(state, x_t)` over the first axis of xs, in O(√T) memory.

    Args:
        step: (state, x_t) → (state, y_t); it may close over parameters.
        state: a Tensor, or tuples, lists and dicts of them, such as (h, c).
        xs: a Tensor (T, …), or a sequence of T values.
        chunk: how many steps are computed again at a time; ⌈√T⌉ by default.

    Returns:
        The last state, and all y_t stacked along a new first axis (each part of a tuple by itself; None
        where the steps return None).

    Source: T. Chen et al., "Training deep nets with sublinear memory cost" (2016).

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> last, every = tg.checkpoint_sequence(lambda h, x: (w * h + x,) * 2, tg.tensor(0.0), tg.ones(4))
    >>> last, every
    (tensor(1.875, made_by=again), tensor([1.   , 1.5  , 1.75 , 1.875], made_by=stack))
    """
    from tinygrad_rnn import ops

    length = len(xs)
    if length == 0:
        raise ValueError("expected a sequence of at least one step, got none")
    size = math.isqrt(length - 1) + 1 if chunk is None else chunk
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"expected a chunk of at least one step, got {size!r}")
    starts = range(0, length, size)
    if isinstance(xs, Tensor):
        pieces: Sequence[Any] = ops.split(xs, list(starts[1:]), axis=0)
    else:
        pieces = [list(xs[i : i + size]) for i in starts]

    def stretch(state: Any, piece: Any, start: int) -> tuple[Any, list[Any]]:
        steps = (
            [part[0] for part in ops.split(piece, len(piece), axis=0)] if isinstance(piece, Tensor) else piece
        )
        ys = []
        for t, x in enumerate(steps, start):
            with at(time=t):
                state, y = step(state, x)
            ys.append(y)
        return state, ys

    ys: list[Any] = []
    for start, piece in zip(starts, pieces, strict=True):
        state, more = checkpoint(stretch, state, piece, start)
        ys += more
    return state, _stack(ys)


def _stack(ys: list[Any]) -> Any:
    from tinygrad_rnn import ops

    first = ys[0]
    if isinstance(first, tuple | list):
        return type(first)(_stack(list(part)) for part in zip(*ys, strict=True))
    return ops.stack(ys) if isinstance(first, Tensor) else None if first is None else ys


# -- the node ------------------------------------------------------------------------------------------


class _Run:
    """A function, how its arguments are packed, and where and with what randomness it ran."""

    nodes: list[Node | None]
    """One per input: the arguments', then those closed over."""
    recorded: list[int]
    """Which outputs have a gradient."""
    sums: list[Any]
    """The sum of each of those, by which a changed result is known."""

    def __init__(self, fn: Callable[..., Any], unpack: Callable[[Sequence[Any]], Any]) -> None:
        self.fn, self.unpack = fn, unpack
        self.scope = here.scope
        self.random = namespaces.random_state()
        self.began = next(clock)

    def __repr__(self) -> str:
        return getattr(self.fn, "__name__", type(self.fn).__name__)

    def pull(self, g: Sequence[Any], xp: Any, inputs: Sequence[Any]) -> list[Any]:
        """One cotangent per input: fn is run again from the same inputs, recorded, and swept through."""
        recording = not hasattr(xp, "ndarray")
        arrays = [x.data if isinstance(x, Tensor) else x for x in inputs]
        args = self.unpack([Tensor(a, node) for a, node in zip(arrays, self.nodes, strict=True)])
        before, here.scope = here.scope, self.scope
        began = next(clock)
        try:
            with enable_grad(), namespaces.random_replayed(self.random):
                outputs, _ = _flatten(self.fn(*args))
        finally:
            here.scope = before
        roots: dict[Node, Any] = {}
        for i, part, total in zip(self.recorded, g, self.sums, strict=True):
            y = outputs[i]
            assert y.node is not None  # it is among the recorded
            if namespaces.last_write[0] > self.began and y.data.sum().item() != total.item() == total.item():
                raise InPlaceError(
                    f"expected what {self!r} uses unchanged since the forward pass, got another result now: "
                    "a Tensor that it closes over was written to in place; call backward first"
                )
            roots[y.node] = part if y.node not in roots else roots[y.node] + part
        nodes = [node for node in self.nodes if node is not None]
        if not set(_older(roots, began)) <= set(nodes):
            raise RuntimeError(
                f"expected {self!r} to use the Tensors that it used in the forward pass, got others: "
                "pass to checkpoint what changes between two calls as an argument"
            )
        found = sweep(roots, xp, record=recording, keep=recording, targets=nodes, stop=nodes)
        return [None if node is None else found.pop(node, None) for node in self.nodes]


@primitive
def again(xp: Any, *inputs: Any, run: Any) -> Any:
    """A checkpointed run, which is computed again in the backward pass; recorded by `checkpoint` alone."""
    raise NotImplementedError


again.vjp(inputs=lambda g, xp, inputs, run: run.pull(g, xp, inputs))


def _older(roots: Any, began: int) -> list[Node]:
    """The nodes that those recorded since `began` were made from."""
    found: dict[Node, None] = {}
    seen, stack = set(roots), list(roots)
    while stack:
        node = stack.pop()
        if node.order < began:
            found[node] = None
            continue
        for parent in node.parents:
            if parent is not None and type(parent) is not Origin and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return list(found)


def _flatten(value: Any) -> tuple[list[Tensor], Callable[[Sequence[Any]], Any]]:
    """The Tensors in nested tuples, lists and dicts, and the function that puts others in their places."""
    leaves: list[Tensor] = []

    def take(part: Any) -> Callable[[Sequence[Any]], Any]:
        if isinstance(part, Tensor):
            leaves.append(part)
            i = len(leaves) - 1
            return lambda new: new[i]
        if isinstance(part, tuple | list):
            parts = [take(p) for p in part]
            if hasattr(part, "_fields"):
                return lambda new: type(part)(*[p(new) for p in parts])
            return lambda new: type(part)(p(new) for p in parts)
        if isinstance(part, dict):
            named = {k: take(p) for k, p in part.items()}
            return lambda new: {k: p(new) for k, p in named.items()}
        return lambda new: part

    put = take(value)
    return leaves, put
