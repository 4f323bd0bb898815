"""What a primitive does for one set of inputs that ask for a gradient: what to save, how to go back.

A plan writes its functions from templates, for exactly the rules that it has: names are turned into
positions once, and an operation that runs a million times spends no time on arguments it does not have. To
read one as it stands: `print(ops.tanh.primitive.plan(1).source)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_rnn.broadcasting import fitted
from tinygrad_rnn.modes import describe
from tinygrad_rnn.namespaces import clock, device_of
from tinygrad_rnn.rows import collected
from tinygrad_rnn.scope import current
from tinygrad_rnn.tape import Node
from tinygrad_rnn.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_rnn.primitive import Primitive

REQUIRED: Any = object()
"""The default of an argument that has none."""

OUTPUT = -1
"""In a plan's `kinds`: the saved value is the operation's output (0, 1, … are its inputs)."""


class Argument(NamedTuple):
    """One argument of an operation's forward function."""

    name: str
    keyword_only: bool = False
    default: Any = REQUIRED


def asked(rule: Callable[..., Any]) -> tuple[str, ...]:
    """The names that a rule asks for, in order (`inspect.signature` would cost more than the import)."""
    if not isinstance(rule, FunctionType) or rule.__dict__:  # a wrapper may say another signature
        import inspect

        return tuple(inspect.signature(rule).parameters)
    return rule.__code__.co_varnames[: rule.__code__.co_argcount + rule.__code__.co_kwonlyargcount]


_RECORD = """\
def record(_parents, {values}):
    _node = _Node()
    _node.plan = _plan
    _node.parents = _parents
    _node.saved = {saved}
    _node.shape = y.shape
    _node.dtype = _dtype = y.dtype
    if _dtype is not _float32 and _dtype.kind != "f":
        return _Tensor(y)
    _node.scope = _scope()
    _node.order = _tick()
    _node.label = _node.grad = _node.hooks = _node.index = None
    _node.retains = False
    _made = _new(_Tensor)
    _made.data = y
    _made.node = _node
    _made.origin = None
    return _made
"""
"""`Tensor(y, note(…))` without the calls, which take as long as a small operation."""

_SEND = """\
def send(g, node, xp, cotangents, owned, wanted):
    s = node.saved
    parents = node.parents
"""

_TO_PARENT = """\
    parent = parents[{i}]
    if (wanted is None or parent in wanted){unless}:
        d = {rule}
        if d.shape != parent.shape or d.dtype is not parent.dtype:
            d = fit(d, node, parent, xp)
        there = cotangents.get(parent)
        if there is None:
            cotangents[parent] = d
        elif parent in owned:
            there += d
        else:
            cotangents[parent] = there + d
            if d.ndim:
                owned.add(parent)
"""
"""The same that `sweep` does with what `pull` gives, for one input; a rule nobody waits for does not run."""

_IN_ROWS = " and not collected(cotangents, parent, rule{i}, xp, g, ({values}))"


class Plan:
    """A primitive for one set of inputs that ask for a gradient: what to save, how to pull back."""

    __slots__ = ("kinds", "names", "primitive", "pull", "record", "save", "send", "source")
    save: Callable[..., tuple[Any, ...]]
    """(inputs, y, parameters) → the values that the rules need, then the parameters."""
    record: Callable[..., Tensor]
    """(parents, inputs, y, parameters) → y as a Tensor with its Node, which keeps what `save` says."""
    pull: Callable[..., Sequence[Any]]
    """(g, saved, xp) → one cotangent per input; None for those that do not ask."""
    send: Callable[..., None] | None
    """(g, node, xp, cotangents, owned, wanted): pull, and add what each parent gets to what it has (see
    `sweep`); None where the input is starred."""

    def __init__(self, primitive: Primitive, active: Sequence[bool]) -> None:
        """Compile for the inputs marked in `active` (one mark in all for a starred input)."""
        self.primitive = primitive
        rules = {
            i: primitive.rules[p.name]
            for i, (p, on) in enumerate(zip(primitive.inputs, active, strict=True))
            if on
        }
        slots = primitive.slots(rules.values()) | {p.name: None for p in primitive.params}
        self.names, self.kinds = list(slots), list(slots.values())
        places = {"g": "g", "xp": "xp"} | {n: f"s[{k}]" for k, n in enumerate(self.names)}
        calls = {i: f"rule{i}({', '.join([places[n] for n in asked(rule)])})" for i, rule in rules.items()}
        values = ", ".join([p.name for p in primitive.inputs] + ["y"] + [p.name for p in primitive.params])
        saved = f"({''.join([self._saving(n) + ', ' for n in self.names])})"
        pulled = "".join([calls.get(i, "None") + ", " for i in range(len(active))])
        self.source = _RECORD.format(values=values, saved=saved)
        self.source += f"save = lambda {values}: {saved}\n"
        self.source += f"pull = lambda g, s, xp: {calls[0] if primitive.variadic else f'({pulled})'}\n"
        if not primitive.variadic:
            self.source += _SEND
            for i, rule in rules.items():
                asks = "".join([places[n] + ", " for n in asked(rule)])
                late = primitive.inputs[i].name in primitive.row_rules
                unless = _IN_ROWS.format(i=i, values=asks) if late else ""
                self.source += _TO_PARENT.format(i=i, rule=calls[i], unless=unless)
        names = {**_TOOLS, "_plan": self, "send": None} | {f"rule{i}": rule for i, rule in rules.items()}
        exec(self.source, names)
        self.save, self.record, self.pull, self.send = (names[n] for n in ("save", "record", "pull", "send"))

    def _saving(self, name: str) -> str:
        """How a value that a rule asks for is taken from the call."""
        source, _, what = name.rpartition("_")
        if name in {p.name for p in (*self.primitive.inputs, *self.primitive.params)} or name == "y":
            return name
        each = f"tuple([_{what}_of(_a) for _a in {source}])"
        return each if self.primitive.variadic else f"_{what}_of({source})"

    @property
    def name(self) -> str:
        """The primitive's name."""
        return self.primitive.name


def fit(d: Any, node: Node, parent: Node, xp: Any) -> Any:
    """What a node sends to a parent, in the parent's shape and dtype."""
    try:
        return fitted(d, parent.shape, parent.dtype, xp)
    except ValueError:
        raise ValueError(
            f"expected the rule of {describe(node)} to give a gradient of shape {parent.shape}, or one that "
            f"it broadcasts to, got {d.shape}"
        ) from None


_TOOLS: dict[str, Any] = {
    "_shape_of": np.shape, "_dtype_of": lambda a: getattr(a, "dtype", type(a)), "_device_of": device_of,
    "_Node": Node, "_Tensor": Tensor, "_new": object.__new__, "_scope": current.get, "_tick": clock.__next__,
    "_float32": np.dtype("float32"), "fit": fit, "collected": collected,
}  # fmt: skip
