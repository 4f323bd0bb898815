"""What a primitive does for one set of inputs that ask for a gradient: what to save, how to go back.

A plan writes its functions from templates, for exactly the rules that it has: names are turned into
positions once, and an operation that runs a million times spends no time on arguments it does not have. To
read one as it stands: `print(ops.tanh.primitive.plan(1).source)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_rnn.broadcasting import fitted
from tinygrad_rnn.modes import describe
from tinygrad_rnn.namespaces import device_of
from tinygrad_rnn.rows import collected
from tinygrad_rnn.tape import Node

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

    __slots__ = ("kinds", "names", "primitive", "pull", "save", "send", "source")
    save: Callable[..., tuple[Any, ...]]
    """(inputs, y, parameters) → the values that the rules need, then the parameters."""
    pull: Callable[..., Sequence[Any]]
    """(g, saved, xp) → one cotangent per input; None for those that do not ask."""
    send: Callable[..., None] | None
    """(g, node, xp, cotangents, owned, wanted): pull, and add what each parent gets to what it has (see
    `sweep`); None where the input is starred."""

    def __init__(self, primitive: Primitive, rules: dict[int, Callable[..., Any]]) -> None:
        """Compile for the inputs that ask, with the rule of each by its position."""
        self.primitive = primitive
        slots = primitive.slots(rules.values())
        self.names, self.kinds = list(slots), list(slots.values())
        places = {"g": "g", "xp": "xp"} | {n: f"s[{k}]" for k, n in enumerate(self.names)}
        calls = {i: f"rule{i}({', '.join([places[n] for n in asked(rule)])})" for i, rule in rules.items()}
        values = ", ".join([p.name for p in primitive.inputs] + ["y"] + [p.name for p in primitive.params])
        pulled = "".join([calls.get(i, "None") + ", " for i in range(len(primitive.inputs))])
        self.source = f"save = lambda {values}: {saving(primitive, self.names, {})}\n"
        self.source += f"pull = lambda g, s, xp: {calls[0] if primitive.variadic else f'({pulled})'}\n"
        if not primitive.variadic:
            self.source += _SEND
            for i, rule in rules.items():
                asks = "".join([places[n] + ", " for n in asked(rule)])
                late = primitive.inputs[i].name in primitive.row_rules
                unless = _IN_ROWS.format(i=i, values=asks) if late else ""
                self.source += _TO_PARENT.format(i=i, rule=calls[i], unless=unless)
        names = {**TOOLS, "fit": fit, "collected": collected, "send": None}
        names |= {f"rule{i}": rule for i, rule in rules.items()}
        exec(self.source, names)
        self.save, self.pull, self.send = names["save"], names["pull"], names["send"]

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


def saving(primitive: Primitive, asked: Iterable[str], arrays: dict[str, str]) -> str:
    """The expression for what is saved of a call; `arrays` says which inputs have another name there."""
    known = {p.name for p in (*primitive.inputs, *primitive.params)} | {"y"}
    written = ""
    for name in asked:
        source, _, what = name.rpartition("_")
        if name in known:
            written += arrays.get(name, name) + ", "
        elif primitive.variadic:
            written += f"tuple([_{what}_of(_a) for _a in {source}]), "
        else:
            written += f"_{what}_of({arrays.get(source, source)}), "
    return f"({written})"


TOOLS: dict[str, Any] = {
    "_shape_of": np.shape, "_dtype_of": lambda a: getattr(a, "dtype", type(a)), "_device_of": device_of,
}  # fmt: skip
"""What such an expression calls."""
