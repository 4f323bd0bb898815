"""The tape: how every value was made.

A Node remembers how one array was made: the plan (operation and rules), the Nodes of the inputs and the few
arrays that the rules will need. A Tensor points to its Node and a Node to its parents, never back: so the
tape holds no reference cycle, and what nobody can ask a gradient of any more is freed at once.

A leaf (a parameter, an input that asks for its gradient) has a Node without parents, and its gradient is
kept there. An operation with several outputs has a `Bundle` node and one `Output` for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tinygrad_rnn.namespaces import Array, clock
from tinygrad_rnn.scope import Scope, here

if TYPE_CHECKING:
    from tinygrad_rnn.primitive import Plan
    from tinygrad_rnn.tensor import Tensor

NodeT = TypeVar("NodeT", bound="Node")


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
    shape: tuple[int, ...]
    dtype: Any
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


class Bundle(Node):
    """The node of an operation with several outputs; its cotangent is a list, one entry for each."""

    __slots__ = ("outputs",)
    outputs: list[tuple[tuple[int, ...], Any]]
    """The shape and dtype of each."""


class Output(Node):
    """One output of a Bundle, which is its only parent."""

    __slots__ = ("index",)
    index: int


def note(
    node: NodeT, plan: Plan | None, parents: tuple[Any, ...], saved: tuple[Any, ...], shape: Any, dtype: Any
) -> NodeT:
    """Fill in a new node, here and now; returns it. (An `__init__` would double the cost of making one.)"""
    node.plan, node.parents, node.saved = plan, parents, saved
    node.shape, node.dtype = shape, dtype
    node.scope, node.order = here.scope, next(clock)
    node.label = node.grad = node.hooks = None
    node.retains = False
    return node


def leaf(array: Array) -> Node:
    """The node of a value that nothing was recorded before."""
    node = note(Node(), None, (), (), array.shape, array.dtype)
    node.hooks = {}
    return node


def bundle(
    plan: Plan, parents: tuple[Any, ...], saved: tuple[Any, ...], outs: Iterable[Array]
) -> list[Output]:
    """The nodes of all outputs of one operation."""
    whole = note(Bundle(), plan, parents, saved, (), None)
    whole.outputs = [(out.shape, out.dtype) for out in outs]
    return [output(whole, i) for i in range(len(whole.outputs))]


def output(whole: Bundle, index: int) -> Output:
    """A node for one output of a bundle."""
    node = Output()
    node.plan, node.parents, node.saved = whole.plan, (whole,), ()
    node.shape, node.dtype = whole.outputs[index]
    node.scope, node.order = whole.scope, next(clock)
    node.label = node.grad = node.hooks = None
    node.retains = False
    node.index = index
    return node


class Mode(NamedTuple):
    """Whether operations are recorded, and who looks at every value (see `modes`)."""

    recording: bool = True
    observer: Any = None


RECORDING = Mode()
"""What every thread begins with."""

mode: ContextVar[Mode] = ContextVar("mode", default=RECORDING)
"""The mode of this thread."""
