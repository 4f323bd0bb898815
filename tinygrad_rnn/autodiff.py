"""The backward sweep, and what is built from it.

Reverse mode in one loop: take the recorded nodes from the latest to the earliest, ask each node's plan to
pull its cotangent back to its inputs, and add up what arrives. Broadcasting and dtype are undone here,
once, for every rule. The loop runs on arrays (fast, nothing recorded) or, with `record`, on Tensors: then
the gradient is on the tape itself and can be differentiated again.

Everything else in this file is that loop with different beginnings and ends.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import ContextDecorator, nullcontext
from functools import lru_cache
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_rnn import namespaces
from tinygrad_rnn.namespaces import SPACES, Array
from tinygrad_rnn.primitive import OUTPUT
from tinygrad_rnn.scope import here
from tinygrad_rnn.tensor import Bundle, Node, Origin, Output, Tensor, mode

Watch = Callable[[Node, Any, Sequence[Any]], None]
"""Told, for each node swept: the node, its cotangent, and what it sends to each parent."""


class FreedTapeError(RuntimeError):
    """A second backward through a tape that the first one freed."""


class InPlaceError(RuntimeError):
    """An array that a rule needs was changed in place since it was recorded."""


class AnomalyError(FloatingPointError):
    """A NaN or Inf, found where it first arose."""


# -- the sweep -----------------------------------------------------------------------------------------


def ancestors(roots: Iterable[Node], stop: Iterable[Node] = ()) -> list[Node]:
    """All nodes that the roots depend on, latest first, not looking behind those in `stop`.

    Raises before anything has been done: FreedTapeError, InPlaceError.
    """
    seen = set(roots)
    stack = list(seen)
    halt = set(stop)
    last_write = namespaces.last_write[0]
    while stack:
        node = stack.pop()
        if halt and node in halt:
            continue
        if node.saved is None:
            raise FreedTapeError(
                f"the tape behind this value was freed by an earlier backward (at {_describe(node)}): "
                "pass retain_graph=True to that one to keep it"
            )
        if node.order < last_write:
            _check_unwritten(node)
        for parent in node.parents:
            if parent is not None and type(parent) is not Origin and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=attrgetter("order"), reverse=True)


def sweep(
    roots: dict[Node, Any],
    xp: Any,
    *,
    record: bool = False,
    keep: bool = False,
    targets: Sequence[Node] | None = None,
    stop: Iterable[Node] = (),
    watch: Watch | None = None,
    order: list[Node] | None = None,
) -> dict[Node, Any]:
    """Pull the cotangents of `roots` back to `targets`, or to every leaf; returns them by node.

    All that a sweep knows is local to it: two threads may sweep over shared leaves.

    Args:
        roots: cotangents to start from, arrays (Tensors with `record`).
        xp: what the rules compute with: the arrays' library, or `ops`.
        record: put the gradient itself on the tape.
        keep: leave the tape as it is, for another sweep.
        targets: nodes whose cotangents are wanted; what leads to none of them is left out.
        stop: nodes of somebody else: their cotangents are handed out, their hooks do not run, and nothing
            behind them is swept.
        watch: told of every node and every contribution, in the order of BPTT.
        order: `ancestors(roots, stop)`, where the caller has it already.
    """
    aims, halt = set(targets or ()), set(stop)
    special = aims | halt
    order = ancestors(roots, halt) if order is None else order
    wanted = _leading_to(order, aims) if targets is not None else None
    checking = mode.maker if isinstance(mode.maker, _Anomaly) else None
    cotangents = {node: g for node, g in roots.items() if wanted is None or node in wanted}
    owned: set[Node] = set()  # whose cotangent is a sum made here, so that it may be added to in place
    found: dict[Node, Any] = {}
    kind: type | None = None
    for node in order:
        g = cotangents.pop(node, None)
        if g is None:
            continue
        plan = node.plan
        if plan is None or node.hooks or node.retains or (special and node in special):
            if node in halt:
                found[node] = g if record else _own(g, xp)
                if watch is not None:
                    watch(node, g, ())
                continue
            if node.hooks:
                g = _run_hooks(node, g, record)
                owned.discard(node)
            if node.retains and plan is not None:
                accumulate(node, g if record else _own(g, xp), record)
            if plan is None or node in aims:
                found[node] = g if record or node in owned else _own(g, xp)
            if plan is None or (wanted is not None and wanted.isdisjoint(node.parents)):
                if watch is not None:
                    watch(node, g, ())
                continue
        if type(g) is not kind and not record:
            kind = type(g)
            xp = SPACES.get(kind, xp)
        if type(node) is Output:
            bundle = node.parents[0]
            parts = cotangents.setdefault(bundle, [None] * len(bundle.outputs))
            parts[node.index] = g if parts[node.index] is None else parts[node.index] + g
            if watch is not None:
                watch(node, g, (g,))
            if not keep:
                node.saved, node.parents = None, ()
            continue
        fresh = False
        if type(node) is Bundle:
            fresh = not record and getattr(plan, "fresh", False)  # it hands its arrays over
            g = [
                xp.zeros(*like) if part is None else part for part, like in zip(g, node.outputs, strict=True)
            ]
        pulled = _pull_recorded(node, g, xp) if record else plan.pull(g, node.saved, xp)
        sent: list[Any] = []
        for parent, d in zip(node.parents, pulled):  # noqa: B905 (its check costs as much as the loop)
            if (
                d is None
                or parent is None
                or type(parent) is Origin
                or (wanted is not None and parent not in wanted)
            ):
                if watch is not None:
                    sent.append(None)
                continue
            if d.shape != parent.shape:
                d = _unbroadcast(d, node, parent, xp)
            if d.dtype is not parent.dtype and d.dtype != parent.dtype:
                d = d.astype(parent.dtype)
            if checking is not None:
                checking.check_backward(node, d)
            if watch is not None:
                sent.append(d)
            there = cotangents.get(parent)
            if there is None:
                cotangents[parent] = d
                if fresh:
                    owned.add(parent)
            elif parent in owned:
                there += d
            else:
                cotangents[parent] = there + d
                if not record and there.ndim:
                    owned.add(parent)
        if watch is not None:
            watch(node, g, sent)
        if not keep:
            node.saved, node.parents = None, ()
    return found


def _pull_recorded(node: Node, g: Any, xp: Any) -> Sequence[Any]:
    """What a node sends to its parents, on the tape: new nodes stand where it stands, as its backward."""
    before, here.scope = here.scope, node.scope._replace(backward=True)
    try:
        return node.plan.pull(g, lifted(node), xp)  # type: ignore[union-attr]
    finally:
        here.scope = before


def lifted(node: Node) -> list[Any]:
    """A node's saved values as Tensors with their history, for rules that are to be recorded."""
    values: list[Any] = []
    for value, kind in zip(node.saved or (), node.plan.kinds, strict=True):  # type: ignore[union-attr]
        if kind is None:
            values.append(value)
        elif type(node) is Bundle and kind == OUTPUT:
            values.append(tuple(Tensor(v, Output(node, i, v)) for i, v in enumerate(value)))
        elif kind == OUTPUT:
            values.append(Tensor(value, node))
        elif type(value) is tuple:
            values.append(tuple(_lift_input(v, p) for v, p in zip(value, node.parents, strict=True)))
        else:
            values.append(_lift_input(value, node.parents[kind]))
    return values


def _lift_input(value: Any, parent: Node | Origin | None) -> Any:
    if type(value) not in SPACES:
        return value
    return Tensor(value, parent) if isinstance(parent, Node) else Tensor(value, None, parent)


def _leading_to(order: list[Node], targets: set[Node]) -> set[Node]:
    """The nodes through which a gradient reaches a target."""
    wanted = set(targets)
    for node in reversed(order):
        if any(parent in wanted for parent in node.parents):
            wanted.add(node)
    return wanted


def _unbroadcast(d: Any, node: Node, parent: Node, xp: Any) -> Any:
    """Undo broadcasting: sum over the axes that the parent's value was stretched along."""
    try:
        axes, kept = _stretched(d.shape, parent.shape)
    except ValueError:
        raise ValueError(
            f"expected the rule of {_describe(node)} to give a gradient of shape {parent.shape}, or one that "
            f"it broadcasts to, got {d.shape}"
        ) from None
    if axes:
        d = d.sum(axis=axes)
    if d.shape != kept:
        d = xp.reshape(d, kept)
    return d if kept == parent.shape else xp.broadcast_to(d, parent.shape)


@lru_cache(maxsize=4096)
def _stretched(shape: tuple[int, ...], to: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of `shape` to sum over, and what is then the shape, for it to broadcast to `to`."""
    extra = len(shape) - len(to)
    ends = list(zip(shape[extra:] if extra >= 0 else (1,) * -extra + shape, to, strict=True))
    if any(n != m and 1 not in (n, m) for n, m in ends):
        raise ValueError
    axes = [i + extra for i, (n, m) in enumerate(ends) if m == 1 and n != 1]
    return (*range(extra), *axes), tuple([1 if m == 1 else n for n, m in ends])


def _own(g: Any, xp: Any) -> Any:
    """A copy that nobody else writes to: a rule may have handed on the array of somebody else."""
    return xp.array(g, copy=True)


_adding = threading.Lock()


def accumulate(node: Node, g: Any, record: bool) -> None:
    """Add a cotangent to the node's `.grad`; two threads that share a leaf do not lose each other's."""
    with _adding:
        if record:
            node.grad = g.clone() if node.grad is None else node.grad + g
        else:
            total = g if node.grad is None else node.grad.data + g
            node.grad = Tensor(total if type(total) in SPACES else np.asarray(total))


def _run_hooks(node: Node, g: Any, record: bool) -> Any:
    """The cotangent after the node's hooks, each of which may replace it."""
    for hook in list((node.hooks or {}).values()):
        replaced = hook(g if record else Tensor(g if type(g) in SPACES else np.asarray(g)))
        if replaced is None:
            continue
        if not isinstance(replaced, Tensor) or (replaced.shape, replaced.dtype) != (node.shape, node.dtype):
            came = (
                f"{replaced.dtype} {replaced.shape}"
                if isinstance(replaced, Tensor)
                else type(replaced).__name__
            )
            raise TypeError(
                f"expected a hook to return None or a {node.dtype} Tensor of shape {node.shape}, got {came}"
            )
        g = replaced if record else replaced.data
    return g


def _check_unwritten(node: Node) -> None:
    for value in node.saved or ():
        for array in value if type(value) is tuple else (value,):
            if namespaces.written_after(array, node.order):
                raise InPlaceError(
                    f"expected the arrays saved for {_describe(node)} unchanged, got shape {array.shape} "
                    "that was written to in place since: write to a copy, or call backward first"
                )


def _describe(node: Node) -> str:
    if node.plan is None:
        return f"leaf {node.label or ''}".strip()
    line = _lines.get(node)
    return f"{node.plan.name} ({node.scope})" + (f", recorded at {line}" if line else "")


# -- backward and grad ---------------------------------------------------------------------------------


def _seed(output: Tensor, gradient: Any, what: str) -> Any:
    """The cotangent to start from, checked; a Tensor."""
    if not isinstance(output, Tensor):
        raise TypeError(f"expected a Tensor to differentiate, got {type(output).__name__}")
    if output.node is None:
        raise ValueError(f"expected {what} to depend on a tensor that requires grad, got one that does not")
    if gradient is None:
        if output.size != 1:
            raise ValueError(f"expected a scalar, got shape {output.shape}: pass the gradient of this output")
        xp = namespaces.namespace(output.data)
        return Tensor(xp.ones_like(output.data))
    if not isinstance(gradient, Tensor):
        known = type(gradient) in SPACES
        gradient = Tensor(namespaces.asarray(gradient, output.dtype, None if known else output.device))
    if gradient.shape != output.shape:
        raise ValueError(f"expected a gradient of shape {output.shape}, got {gradient.shape}")
    if gradient.dtype.kind != "f":
        raise TypeError(f"expected a gradient of {output.dtype}, got {gradient.dtype}")
    if namespaces.namespace(gradient.data) is not namespaces.namespace(output.data):
        raise namespaces.DeviceError(f"expected a gradient on {output.device}, got one on {gradient.device}")
    return gradient


def _roots(outputs: Sequence[Tensor], gradients: Sequence[Any], record: bool) -> dict[Node, Any]:
    roots: dict[Node, Any] = {}
    for output, gradient in zip(outputs, gradients, strict=True):
        seed = _seed(output, gradient, "the output")
        value = seed if record else seed.data.astype(output.dtype, copy=False)
        roots[output.node] = value if output.node not in roots else roots[output.node] + value  # type: ignore[index]
    return roots


def _library(output: Tensor, record: bool) -> Any:
    if record:
        from tinygrad_rnn import ops

        return ops
    return namespaces.namespace(output.data)


def backward(
    output: Tensor, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add ∂(gradient·output)/∂leaf to the `.grad` of every leaf that the output depends on.

    Args:
        gradient: cotangent of the output, of its shape; may be left out for a scalar (then 1).
        retain_graph: keep the tape for another backward; by default only if `create_graph`.
        create_graph: record the backward pass too, for higher derivatives.

    Raises:
        ValueError: no gradient is possible, or a shape does not fit. FreedTapeError, InPlaceError.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> (x * x).backward()
    >>> x.grad
    tensor(6.)
    """
    roots = _roots([output], [gradient], create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    with enable_grad() if create_graph else nullcontext():
        found = sweep(roots, _library(output, create_graph), record=create_graph, keep=keep)
        for node, g in found.items():
            accumulate(node, g, create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """∂outputs/∂inputs, as new Tensors; nothing is added to any `.grad`.

    Args:
        outputs: what to differentiate; several are added up.
        inputs: with respect to what; leaves or intermediate values.
        grad_outputs: one cotangent per output; may be left out for scalars.
        retain_graph, create_graph: as in `backward`.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.

    Returns:
        A Tensor for one input, a tuple for a sequence of them.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> dy = tg.grad(x ** 3, x, create_graph=True)
    >>> dy, tg.grad(dy, x)
    (tensor(12., made_by=multiply), tensor(12.))
    """
    outs, ins = _listed(outputs, "outputs"), _listed(inputs, "inputs")
    if not outs or not ins:
        raise ValueError(f"expected at least one output and one input, got {len(outs)} and {len(ins)}")
    if grad_outputs is None:
        grad_outputs = [None] * len(outs)
    elif isinstance(outputs, Tensor) and not (
        isinstance(grad_outputs, list | tuple) and len(grad_outputs) == 1
    ):
        grad_outputs = [grad_outputs]
    if len(grad_outputs) != len(outs):
        raise ValueError(f"expected one cotangent per output ({len(outs)}), got {len(grad_outputs)}")
    for i, x in enumerate(ins):
        if not isinstance(x, Tensor):
            raise TypeError(f"expected inputs to be Tensors, got {type(x).__name__} as input {i}")
        if x.node is None:
            raise ValueError(f"expected inputs that require grad, got input {i} that does not")
    roots = _roots(outs, grad_outputs, create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    targets: list[Any] = [x.node for x in ins]
    order = ancestors(roots)
    if not allow_unused:
        reached = set(order)
        for i, node in enumerate(targets):
            if node not in reached:
                raise ValueError(
                    f"input {i} is not used by the outputs: pass allow_unused=True to get None for it"
                )
    xp = _library(outs[0], create_graph)
    with enable_grad() if create_graph else nullcontext():
        found = sweep(roots, xp, record=create_graph, keep=keep, targets=targets, order=order)
    results = []
    for x, node in zip(ins, targets, strict=True):
        g = found.get(node)
        if g is None and not allow_unused:
            g = namespaces.namespace(x.data).zeros_like(x.data)
        results.append(g if g is None or isinstance(g, Tensor) else Tensor(g))
    return results[0] if isinstance(inputs, Tensor) else tuple(results)


def _listed(tensors: Any, what: str) -> list[Any]:
    if isinstance(tensors, Tensor):
        return [tensors]
    if not isinstance(tensors, list | tuple):
        raise TypeError(
            f"expected {what} to be a Tensor or a sequence of Tensors, got {type(tensors).__name__}"
        )
    return list(tensors)


# -- modes ---------------------------------------------------------------------------------------------


class _Mode(ContextDecorator):
    """A state of this thread, for a `with` block or a decorated function (with or without parentheses)."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """A context, or the function inside one."""
        return super().__new__(cls) if function is None else cls()(function)

    def _recreate_cm(self) -> Any:
        return type(self)()  # one for each call: two threads may run one decorated function

    def _change(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> None:
        self._before = (mode.node, mode.maker)
        self._change()

    def __exit__(self, *exc: object) -> None:
        mode.node, mode.maker = self._before


class no_grad(_Mode):
    """Record nothing inside the `with` block (or the decorated function), in this thread.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(1.0, requires_grad=True)
    >>> with tg.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    def _change(self) -> None:
        mode.node = None


class enable_grad(_Mode):
    """Record inside the `with` block, also where a surrounding `no_grad` had stopped it."""

    def _change(self) -> None:
        mode.node = mode.maker


def is_grad_enabled() -> bool:
    """Whether operations in this thread are being recorded."""
    return mode.node is not None


# -- anomalies -----------------------------------------------------------------------------------------

_lines: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()
_PACKAGE = os.path.dirname(__file__)


def _caller() -> str:
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_PACKAGE, "<recorder")):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class _Anomaly:
    """Makes nodes as `Node` does, and looks at every value."""

    def __call__(self, plan: Any, parents: Any, saved: Any, out: Array) -> Node:
        return self._look(Node(plan, parents, saved, out), (out,))

    def bundle(self, plan: Any, parents: Any, saved: Any, outs: tuple[Array, ...]) -> Bundle:
        return self._look(Bundle(plan, parents, saved, outs), outs)  # type: ignore[return-value]

    def _look(self, node: Node, outs: tuple[Array, ...]) -> Node:
        _lines[node] = _caller()
        for out in outs:
            self._check(out, "forward", lambda: _describe(node))
        return node

    def look(self, primitive: Any, y: Any) -> None:
        """Look at the result of an operation that is not recorded, since nothing asks for its gradient."""
        for out in y if type(y) is tuple else (y,):
            self._check(out, "forward", lambda: f"{primitive.name} ({here.scope}), run at {_caller()}")

    def check_backward(self, node: Node, d: Any) -> None:
        self._check(d.data if isinstance(d, Tensor) else d, "backward", lambda: _describe(node))

    @staticmethod
    def _check(value: Any, when: str, where: Callable[[], str]) -> None:
        if value.dtype.kind == "f" and not abs(value).max(initial=0) < np.inf:
            found = "NaN" if (value != value).any() else "Inf"
            raise AnomalyError(f"{found} first appeared in the {when} of {where()}")


class detect_anomaly(_Mode):
    """Stop at the first NaN or Inf, forward or backward: AnomalyError names operation, place and source line.

    Slow (every value is looked at, except under `no_grad`): for finding a fault, not for training.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(-1.0, requires_grad=True)
    >>> with tg.detect_anomaly(), np.errstate(invalid="ignore"):
    ...     y = tg.ops.sqrt(x)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tinygrad_rnn.autodiff.AnomalyError: NaN first appeared in the forward of sqrt (top level), recorded at ...
    """

    def _change(self) -> None:
        mode.maker = _Anomaly()
        if mode.node is not None:
            mode.node = mode.maker
