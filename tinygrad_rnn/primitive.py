"""Operations and their derivative rules.

A primitive is a function over a namespace `xp`. Arrays stand before the slash, metadata after it; the
rules stand right below, one per input that has a gradient:

    @primitive
    def tanh(xp, x, /):
        return xp.tanh(x)

    tanh.vjp(x=lambda g, y: g * (1 - y * y))

A rule asks by name for what it needs: the cotangent `g`, the output `y`, any input or parameter, `xp`, or
only an input's `x_shape`, `x_dtype` or `x_device`. Nothing else is saved: addition keeps no array at all,
tanh keeps its output and lets its input go. Rules may return any shape that broadcasts from the input's;
the sweep sums it back. Run on arrays a rule gives the gradient, on Tensors (`xp` is then `ops`) a gradient
that is itself recorded, on symbols its formula.

How it runs fast: names are turned into positions once. For each set of inputs that ask for a gradient a
`plan` says what to save and how to pull a cotangent back; and `recorder` writes, from one template, a
function with exactly the signature of the operation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol

from tinygrad_rnn.plan import OUTPUT, REQUIRED, Argument, Plan, asked
from tinygrad_rnn.recorder import recorder, variadic_recorder
from tinygrad_rnn.symbols import Symbol, symbol, symbolic

_VARARGS = 0x04
"""The bit of `co_flags` that says: there is a starred argument (`inspect.CO_VARARGS`)."""


class Primitive:
    """An operation: its forward function over `xp`, and one rule per differentiable input."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        """Read the signature: `xp` first, inputs before the slash (or starred), parameters after."""
        self.forward = forward
        self.name = forward.__name__.strip("_")
        code, names = forward.__code__, asked(forward)
        first, positional = code.co_posonlyargcount, code.co_argcount
        self.variadic = bool(code.co_flags & _VARARGS)
        if names[:1] != ("xp",):
            raise TypeError(f"expected the first argument of primitive {self.name} to be xp, got {names}")
        defaults = dict(zip(names[:positional][::-1], (forward.__defaults__ or ())[::-1], strict=False))
        defaults |= forward.__kwdefaults__ or {}
        arguments = [Argument(n, i >= positional, defaults.get(n, REQUIRED)) for i, n in enumerate(names)]
        starred = [Argument(code.co_varnames[len(names)])] if self.variadic else []
        self.inputs = arguments[1:first] + starred
        self.params = arguments[max(first, 1) :]
        self.rules: dict[str, Callable[..., Any]] = {}
        self.row_rules: set[str] = set()
        self.plans: list[Plan | Literal[False] | None] = [None] * (1 << len(self.inputs))
        self.changed: Callable[[], None] = lambda: None  # the recorder's, which knows the rules
        if not self.inputs or (self.variadic and len(self.inputs) > 1):
            raise TypeError(
                f"expected inputs before a slash, or one starred, in primitive {self.name}; got {names}"
            )
        if taken := [p.name for p in (*self.inputs, *self.params) if p.name in "gy" or p.name[0] == "_"]:
            raise TypeError(
                f"expected inputs and parameters of {self.name} with names of their own (g and y are the "
                f"rules', _… the recorder's), got {', '.join(taken)}"
            )

    def vjp(self, **rules: Callable[..., Any]) -> None:
        """Attach the rule of each named input: `vjp(x=lambda g, y: …)`.

        A rule takes the cotangent g of the output (a list, one for each, if there are several outputs) and
        gives the input's (a sequence, one for each, if the input is starred). TypeError for a name unknown.
        """
        known = {p.name for p in self.inputs}
        for name, rule in rules.items():
            if name not in known:
                raise TypeError(
                    f"expected rules for the inputs {sorted(known)} of {self.name}, got one for {name!r}"
                )
            self.slots([rule])
            self.rules[name] = rule
        self.plans[:] = [None] * len(self.plans)
        self.changed()

    def by_rows(self, *names: str) -> None:
        """Say of the rules of these inputs that they sum over rows: of g, and of each input they ask for.

        What they would give for many calls is then computed in one (see `rows`).
        """
        self.row_rules |= set(names)

    def plan(self, mask: int) -> Plan | Literal[False]:
        """The plan for a bit mask of the inputs that ask for a gradient, made once; False without rules."""
        plan = self.plans[mask]
        if plan is None:
            rules = self.rules_of(mask)
            plan = self.plans[mask] = bool(rules) and Plan(self, rules)
        return plan

    def rules_of(self, mask: int) -> dict[int, Callable[..., Any]]:
        """The rules of the inputs in a bit mask, by the inputs' positions."""
        named = enumerate(p.name for p in self.inputs)
        return {i: self.rules[name] for i, name in named if mask >> i & 1 and name in self.rules}

    def slots(self, rules: Iterable[Callable[..., Any]]) -> dict[str, int | None]:
        """What to save for these rules: name → where it comes from (see `Plan.kinds`); parameters last."""
        inputs = {p.name: i for i, p in enumerate(self.inputs)}
        sources: dict[str, int | None] = {"y": OUTPUT, **inputs}
        sources |= {f"{name}_{what}": None for name in inputs for what in ("shape", "dtype", "device")}
        sources |= {p.name: None for p in self.params}
        slots = {}
        for rule in rules:
            for name in asked(rule):
                if name in ("g", "xp"):
                    continue
                if name not in sources:
                    raise TypeError(
                        f"a rule of {self.name} may ask for {['g', 'xp', *sources]}, not for {name!r}"
                    )
                slots[name] = sources[name]
        return slots | {p.name: None for p in self.params}

    def within(self, xp: Any) -> Callable[..., Any]:
        """This operation as a rule calls it: on arrays where `xp` is their library, else as `xp` has it."""
        if hasattr(xp, "ndarray"):
            return functools.partial(self.forward, xp)
        found: Callable[..., Any] = getattr(xp, self.name)
        return found

    def formula(self, **params: Any) -> str:
        """The operation, printed from itself: "tanh(x)"."""
        inputs = [symbol(p.name) for p in self.inputs]
        kept = {k: v for k, v in params.items() if k in {p.name for p in self.params}}
        try:
            return str(self.forward(symbolic, *inputs, **kept))
        except Exception:  # what asks for a shape or a value has no formula shorter than its name
            return str(Symbol(self.name, tuple(inputs), kept))

    def rule_formulas(self) -> dict[str, str]:
        """Every rule, printed from itself: {"x": "g·(1 - y²)"}."""
        shown = {}
        for name, rule in self.rules.items():
            values = {n: symbol(n) for n in asked(rule) if n != "xp"}
            if "xp" in asked(rule):
                values["xp"] = symbolic
            try:
                shown[name] = str(rule(**values))
            except Exception:  # a rule that looks at shapes: named, not printed
                shown[name] = f"∂{self.name}/∂{name}(g)"
        return shown


class Op(Protocol):
    """What `@primitive` returns: the operation itself, its rules attached with `.vjp`."""

    primitive: Primitive
    vjp: Callable[..., None]
    within: Callable[[Any], Callable[..., Any]]
    __name__: str

    def __call__(self, *args: Any, **params: Any) -> Any:
        """Run it, and record it where a gradient is asked for."""


def primitive(forward: Callable[..., Any]) -> Op:
    """Make an operation of a function over `xp`; attach its derivative rules with `.vjp`.

    Inputs that may have a gradient stand before the slash (or are starred), parameters after it. The
    result is an array, a scalar, or a tuple of arrays; it must not be one of the inputs, changed in place.

    >>> import tinygrad_rnn as tg
    >>> @tg.primitive
    ... def cube(xp, x, /):
    ...     return x * x * x
    >>> cube.vjp(x=lambda g, x: 3 * g * x * x)
    >>> x = tg.tensor([2.0], requires_grad=True)
    >>> tg.grad(cube(x).sum(), x)
    tensor([12.])
    >>> cube.primitive.rule_formulas()
    {'x': '3·g·x·x'}
    """
    prim = Primitive(forward)
    op: Any = variadic_recorder(prim) if prim.variadic else recorder(prim)
    op.__doc__, op.__module__ = forward.__doc__, forward.__module__
    op.primitive, op.vjp, op.within = prim, prim.vjp, prim.within
    return op  # type: ignore[no-any-return]  # a function that has been given attributes
