"""The backward sweep.

Reverse mode in one loop: take the recorded nodes from the latest to the earliest, ask each node's plan to
pull its cotangent back to its inputs, and add up what arrives. Broadcasting and dtype are undone here,
once, for every rule. The loop runs on arrays (fast, nothing recorded) or, with `record`, on Tensors: then
the gradient is on the tape itself and can be differentiated again.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_rnn import namespaces
from tinygrad_rnn.modes import describe
from tinygrad_rnn.namespaces import SPACES, device_of, on_device
from tinygrad_rnn.plan import OUTPUT, fit
from tinygrad_rnn.recorder import outputs
from tinygrad_rnn.rows import Rows
from tinygrad_rnn.scope import here
from tinygrad_rnn.tape import Node, Origin, mode
from tinygrad_rnn.tensor import Tensor, raw

Watch = Callable[[Node, Any, Sequence[Any]], None]
"""Told, for each node swept: the node, its cotangent, and what it sends to each parent."""


class FreedTapeError(RuntimeError):
    """A second backward through a tape that the first one freed."""


class InPlaceError(RuntimeError):
    """An array that a rule needs was changed in place since it was recorded."""


def ancestors(roots: Iterable[Node], stop: Iterable[Node] = ()) -> list[Node]:
    """All nodes that the roots depend on, latest first, not looking behind those in `stop`.

    Raises before anything has been done: FreedTapeError, InPlaceError.
    """
    seen = set(roots)
    found = list(seen)
    halt = set(stop)
    for node in found:  # which grows meanwhile
        if halt and node in halt:
            continue
        if node.saved is None:
            raise FreedTapeError(
                f"the tape behind this value was freed by an earlier backward (at {describe(node)}): "
                "pass retain_graph=True to that one to keep it"
            )
        for parent in node.parents:
            if type(parent) is Node and parent not in seen:
                seen.add(parent)
                found.append(parent)
    found.sort(key=attrgetter("order"), reverse=True)
    for node in reversed(found):
        if node.order > namespaces.last_write[0]:
            break
        if node not in halt:
            _check_unwritten(node)
    return found


@namespaces.explaining_memory
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
    wanted = None if targets is None else _leading_to(order, aims)  # None: whoever can be reached
    observer = mode.get().observer
    plain = not record and watch is None and observer is None
    cotangents = {node: g for node, g in roots.items() if wanted is None or node in wanted}
    owned: set[Node] = set()  # whose cotangent is a sum made here, so that it may be added to in place
    found: dict[Node, Any] = {}
    joined: dict[int, Any] = {}
    kind: type | None = None
    get, pop = cotangents.get, cotangents.pop
    for node in order:
        g = pop(node, None)
        if g is None:
            continue
        if node.dtype is None:
            g = _completed(g, node)
        elif type(g) is not kind or (xp is not np and not record):
            if type(g) is Rows:
                g = g.now(joined)
            kind = type(g)
            xp = namespaces.namespace(g) if kind in SPACES else xp
        if node.hooks is not None or (special and node in special):
            if node in halt:
                found[node] = g if record else _own(g, xp)
                if watch is not None:
                    watch(node, g, ())
                continue
            if node.hooks:
                g = _run_hooks(node, g, record)
                owned.discard(node)
            if node.retains and node.plan is not None:
                accumulate(node, g if record else _own(g, xp), record)
            if node.plan is None or node in aims:
                found[node] = g if record or node in owned else _own(g, xp)
            if node.plan is None or (wanted is not None and wanted.isdisjoint(node.parents)):
                if watch is not None:
                    watch(node, g, ())
                continue
        plan: Any = node.plan
        if node.index is not None:  # one of several outputs: it waits for the others
            whole = node.parents[0]
            parts = get(whole)
            if parts is None:
                parts = cotangents[whole] = [None] * len(whole.shape)
            before = parts[node.index]
            parts[node.index] = g if before is None else before + g
            if watch is not None:
                watch(node, g, (g,))
        elif plain and plan.send is not None:
            plan.send(g, node, xp, cotangents, owned, wanted)
        else:
            pulled = _pull_recorded(node, g, xp) if record else plan.pull(g, node.saved, xp)
            sent = _settled(pulled, node, wanted, xp)
            if observer is not None:
                observer.look_back(node, sent)
            if watch is not None:
                watch(node, g, sent)
            fresh = not record and getattr(plan, "fresh", False)  # it hands its arrays over
            for parent, d in zip(node.parents, sent):  # noqa: B905 (a rule may give less than there are)
                if d is None:
                    continue
                there = get(parent)
                if there is None:
                    cotangents[parent] = d
                    if fresh:
                        owned.add(parent)
                elif parent in owned:
                    there += d
                else:
                    cotangents[parent] = there + d
                    if not record and d.ndim:
                        owned.add(parent)
        if not keep:
            node.saved, node.parents = None, ()
    return found


def _pull_recorded(node: Node, g: Any, xp: Any) -> Sequence[Any]:
    """What a node sends to its parents, on the tape: new nodes stand where it stands, as its backward."""
    before, here.scope = here.scope, node.scope._replace(backward=True)
    try:
        return node.plan.pull(g, lifted(node), xp)  # type: ignore[union-attr]  # no leaf
    finally:
        here.scope = before


def lifted(node: Node) -> list[Any]:
    """A node's saved values as Tensors with their history, for rules that are to be recorded."""
    values: list[Any] = []
    for value, kind in zip(node.saved or (), node.plan.kinds, strict=True):  # type: ignore[union-attr]  # no leaf
        if kind is None:
            values.append(value)
        elif node.is_bundle and kind == OUTPUT:
            values.append(outputs(node, value))
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


def _settled(pulled: Sequence[Any], node: Node, wanted: set[Node] | None, xp: Any) -> list[Any]:
    """What a node sends to each parent, as it arrives; None where nobody waits for it."""
    return [
        fit(d, node, parent, xp)
        if d is not None and type(parent) is Node and (wanted is None or parent in wanted)
        else None
        for parent, d in zip(node.parents, pulled, strict=False)
    ]


def _completed(parts: list[Any], whole: Node) -> list[Any]:
    """The cotangents of all outputs: zeros for those that nobody used, on the device of the others."""
    unused = [i for i, part in enumerate(parts) if part is None]
    if unused:
        some = next(part for part in parts if part is not None)
        for i in unused:
            shape, dtype = whole.shape[i]
            parts[i] = on_device(device_of(raw(some)), functools.partial(_zeros, shape, dtype))
            if isinstance(some, Tensor):
                parts[i] = Tensor(parts[i])
    return parts


def _zeros(shape: Any, dtype: Any, xp: Any) -> Any:
    return xp.zeros(shape, dtype)


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
            if node.grad is not None:
                namespaces.namespace(node.grad.data)  # makes its device the current one
                g = node.grad.data + g
            node.grad = Tensor(g if type(g) in SPACES else np.asarray(g))


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
                    f"expected the arrays saved for {describe(node)} unchanged, got shape {array.shape} "
                    "that was written to in place since: write to a copy, or call backward first"
                )
