"""The tape: how every value was made.

A Node remembers how one array was made: the plan (operation and rules), the Nodes of the inputs and the few
arrays that the rules will need. A Tensor points to its Node and a Node to its parents, never back: so the
tape holds no reference cycle, and what nobody can ask a gradient of any more is freed at once.

A leaf (a parameter, an input that asks for its gradient) has a Node without parents, and its gradient is
kept there. An operation with several outputs has one node for all of them, the bundle, and one for each,
whose only parent it is. They are of one class, for the sweep reads them all, and fastest what is alike.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from tinygrad_rnn.namespaces import Array, clock
from tinygrad_rnn.scope import Scope, current

if TYPE_CHECKING:
    from tinygrad_rnn.plan import Plan
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
        "__weakref__", "dtype", "grad", "hooks", "index", "label", "order", "parents",
        "plan", "retains", "saved", "scope", "shape",
    )  # fmt: skip

    plan: Plan | None
    """Operation and rules; None in a leaf."""
    parents: tuple[Any, ...]
    """One per input: its Node; an Origin or None where the input asks for no gradient."""
    saved: tuple[Any, ...] | None
    """The arrays and parameters that the rules need; None once the tape has been freed."""
    shape: tuple[Any, ...]
    """Of a bundle: the shape and dtype of every output."""
    dtype: Any
    """None in a bundle."""
    index: int | None
    """Which output of its parent, the bundle, this is; None in every other node."""
    scope: Scope
    order: int
    """When it was recorded, on the clock of `namespaces`."""
    label: str | None
    grad: Tensor | None
    hooks: dict[int, Callable[[Tensor], Tensor | None]] | None
    """None where the sweep has nothing to do but to go on; a leaf has at least an empty dictionary."""
    retains: bool

    @property
    def is_leaf(self) -> bool:
        """True for a parameter or input: nothing was recorded before it."""
        return self.plan is None

    @property
    def is_bundle(self) -> bool:
        """True for the node of an operation with several outputs; its cotangent is a list, one for each."""
        return self.dtype is None


def note(plan: Plan | None, parents: tuple[Any, ...], saved: tuple[Any, ...], shape: Any, dtype: Any) -> Node:
    """A new node, here and now. (An `__init__` would double the cost of making one.)"""
    node = Node()
    node.plan, node.parents, node.saved = plan, parents, saved
    node.shape, node.dtype = shape, dtype
    node.scope, node.order = current.get(), next(clock)
    node.label = node.grad = node.hooks = node.index = None
    node.retains = False
    return node


def leaf(array: Array) -> Node:
    """The node of a value that nothing was recorded before."""
    node = note(None, (), (), array.shape, array.dtype)
    node.hooks = {}
    return node


class Mode(NamedTuple):
    """Whether operations are recorded, and who looks at every value (see `modes`)."""

    recording: bool = True
    observer: Any = None


RECORDING = Mode()
"""What every thread begins with."""

mode: ContextVar[Mode] = ContextVar("mode", default=RECORDING)
"""The mode of this thread."""
