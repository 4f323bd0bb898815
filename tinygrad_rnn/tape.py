"""The tape: how every value was made.

A Node remembers how one array was made: the plan (operation and rules), the Nodes of the inputs and the few
arrays that the rules will need. A Tensor points to its Node and a Node to its parents, never back: so the
tape holds no reference cycle, and what nobody can ask a gradient of any more is freed at once.

A leaf (a parameter, an input that asks for its gradient) has a Node without parents, and its gradient is
kept there. An operation with several outputs has a `Bundle` node and one `Output` for each of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tinygrad_rnn.namespaces import Array, clock
from tinygrad_rnn.scope import Scope, here

if TYPE_CHECKING:
    from tinygrad_rnn.primitive import Plan
    from tinygrad_rnn.tensor import Tensor


class Origin(NamedTuple):
    """What is known of a value that has no Node: an input's name, or the place where it was detached."""

    name: str
    scope: Scope
    cut: bool = False
    key: int = 0
    """Tells two unnamed origins apart."""


class Node:
    """One recorded operation: how a value was made, and what its gradient needs."""

    __slots__ = (
        "__weakref__", "dtype", "grad", "hooks", "label", "order", "parents",
        "plan", "retains", "saved", "scope", "shape",
    )  # fmt: skip

    plan: Plan | None
    """Operation and rules; None in a leaf."""
    parents: tuple[Any, ...]
    """One per input: its Node; an Origin or None where the input asks for no gradient."""
    saved: tuple[Any, ...] | None
    """The arrays and parameters that the rules need; None once the tape has been freed."""
    label: str | None
    grad: Tensor | None
    hooks: dict[int, Callable[[Tensor], Tensor | None]] | None

    def __init__(
        self, plan: Plan | None, parents: tuple[Any, ...], saved: tuple[Any, ...], out: Array
    ) -> None:
        """Record the operation that made `out`."""
        self.plan = plan
        self.parents = parents
        self.saved = saved
        self.shape = out.shape
        self.dtype = out.dtype
        self.scope = here.scope
        self.order = next(clock)
        self.label = self.grad = self.hooks = None
        self.retains = False

    @property
    def is_leaf(self) -> bool:
        """True for a parameter or input: nothing was recorded before it."""
        return self.plan is None


class _Nothing:
    shape = ()
    dtype = None


class Bundle(Node):
    """The node of an operation with several outputs; its cotangent is a list, one entry for each."""

    __slots__ = ("outputs",)

    def __init__(self, plan: Plan, parents: tuple[Any, ...], saved: tuple[Any, ...], outs: tuple[Array, ...]):
        """Record the operation that made `outs`."""
        Node.__init__(self, plan, parents, saved, _Nothing)  # super() would cost as much as the rest
        self.outputs = [(out.shape, out.dtype) for out in outs]


class Output(Node):
    """One output of a Bundle, which is its only parent."""

    __slots__ = ("index",)

    def __init__(self, of: Bundle, index: int, out: Array) -> None:
        """Output number `index` of `of`."""
        Node.__init__(self, of.plan, (of,), (), out)
        self.index = index


class _Mode(threading.local):
    node: Any = Node
    maker: Any = Node


mode = _Mode()
"""What makes nodes in this thread: `mode.node` is `mode.maker` (Node, or a watchful stand-in for it), or None
under `no_grad`."""
