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

How it runs fast: names are turned into positions once. For each set of inputs that ask for a gradient,
`Plan` compiles two one-line functions, what to save and how to pull a cotangent back; and `primitive`
writes, from one template, a recorder with exactly the signature of the operation.
"""

from __future__ import annotations

import functools
import linecache
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from tinygrad_rnn.namespaces import SCALARS, SPACES, DeviceError, asarray, clock, device_of, namespace
from tinygrad_rnn.scope import here
from tinygrad_rnn.symbols import Symbol, symbol, symbolic
from tinygrad_rnn.tensor import Bundle, Node, Origin, Output, Tensor, mode

_VARARGS = 0x04
"""The bit of `co_flags` that says: there is a starred argument (`inspect.CO_VARARGS`)."""

OUTPUT = -1
"""In a plan's `kinds`: the saved value is the operation's output (0, 1, … are its inputs)."""


REQUIRED: Any = object()
"""The default of an argument that has none."""


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


class Op(Protocol):
    """What `@primitive` returns: the operation itself, its rules attached with `.vjp`."""

    primitive: Primitive
    vjp: Callable[..., None]
    within: Callable[[Any], Callable[..., Any]]
    __name__: str

    def __call__(self, *args: Any, **params: Any) -> Any:
        """Run it, and record it where a gradient is asked for."""


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
        arguments = [
            Argument(n, i >= positional, defaults.get(n, REQUIRED)) for i, n in enumerate(names)
        ]
        starred = [Argument(code.co_varnames[len(names)])] if self.variadic else []
        self.inputs = arguments[1:first] + starred
        self.params = arguments[max(first, 1) :]
        self.rules: dict[str, Callable[..., Any]] = {}
        self.plans: list[Plan | Literal[False] | None] = [None] * (1 << len(self.inputs))
        if not self.inputs or (self.variadic and len(self.inputs) > 1):
            raise TypeError(
                f"expected inputs before a slash, or one starred, in primitive {self.name}; got {names}"
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
            self._slots([rule])
            self.rules[name] = rule
        self.plans[:] = [None] * len(self.plans)

    def plan(self, mask: int) -> Plan | Literal[False]:
        """The plan for a bit mask of the inputs that ask for a gradient, made once; False without rules."""
        plan = self.plans[mask]
        if plan is None:
            active = [bool(mask >> i & 1) and p.name in self.rules for i, p in enumerate(self.inputs)]
            plan = self.plans[mask] = any(active) and Plan(self, active)
        return plan

    def _slots(self, rules: Sequence[Callable[..., Any]]) -> dict[str, int | None]:
        """What these rules ask for, beyond g and xp: name → where it comes from (see `Plan.kinds`)."""
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
        return slots

    def within(self, xp: Any) -> Callable[..., Any]:
        """This operation as a rule calls it: on arrays where `xp` is their library, else as `xp` has it."""
        if hasattr(xp, "ndarray"):
            return functools.partial(self.forward, xp)
        return getattr(xp, self.name)  # type: ignore[no-any-return]

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


_SAVERS: dict[str, Any] = {
    "shape_of": np.shape, "dtype_of": lambda a: getattr(a, "dtype", type(a)), "device_of": device_of,
    "new": object.__new__, "Node": Node, "Tensor": Tensor, "here": here, "tick": clock.__next__,
}  # fmt: skip

_RECORD = """\
def record(parents, {values}):
    node = new(Node)
    node.plan = plan
    node.parents = parents
    node.saved = {saved}
    node.shape = y.shape
    node.dtype = y.dtype
    if node.dtype.kind != "f":
        return Tensor(y)
    node.scope = here.scope
    node.order = tick()
    node.label = node.grad = node.hooks = None
    node.retains = False
    made = new(Tensor)
    made.data = y
    made.node = node
    made.origin = None
    return made
"""
"""`Tensor(y, Node(plan, parents, saved, y))`, without the calls: a tenth of a small operation's time."""


class Plan:
    """A primitive for one set of inputs that ask for a gradient: what to save, how to pull back."""

    __slots__ = ("kinds", "names", "primitive", "pull", "pull_source", "record", "save")
    save: Callable[..., tuple[Any, ...]]
    """(inputs, y, parameters) → the values that the rules need, then the parameters."""
    record: Callable[..., Tensor]
    """(parents, inputs, y, parameters) → y as a Tensor with its Node: `record` below, in one call."""
    pull: Callable[..., Sequence[Any]]
    """(g, saved, xp) → one cotangent per input; None for those that do not ask."""

    def __init__(self, primitive: Primitive, active: Sequence[bool]) -> None:
        """Compile for the inputs marked in `active` (one mark in all for a starred input)."""
        self.primitive = primitive
        rules = [
            primitive.rules.get(p.name) if on else None
            for p, on in zip(primitive.inputs, active, strict=True)
        ]
        slots = primitive._slots([r for r in rules if r is not None])
        slots |= {p.name: None for p in primitive.params}
        self.names = list(slots)
        self.kinds = list(slots.values())

        def saving(name: str) -> str:
            source, _, what = name.rpartition("_")
            if name in {p.name for p in (*primitive.inputs, *primitive.params)} or name == "y":
                return name
            return f"tuple(a.{what} for a in {source})" if primitive.variadic else f"{what}_of({source})"

        def pulling(rule: Callable[..., Any] | None, index: int) -> str:
            if rule is None:
                return "None"
            found = {"g": "g", "xp": "xp"} | {n: f"s[{i}]" for i, n in enumerate(self.names)}
            return f"rule{index}({', '.join(found[n] for n in asked(rule))})"

        values = ", ".join([p.name for p in primitive.inputs] + ["y"] + [p.name for p in primitive.params])
        saved = f"({''.join(saving(n) + ', ' for n in self.names)})"
        names = {**_SAVERS, "plan": self}
        self.save = eval(f"lambda {values}: {saved}", names)
        exec(_RECORD.format(values=values, saved=saved), names)
        self.record = names["record"]
        calls = [pulling(rule, i) for i, rule in enumerate(rules)]
        body = calls[0] if primitive.variadic else f"({''.join(c + ', ' for c in calls)})"
        self.pull_source = f"lambda g, s, xp: {body}"
        self.pull = eval(self.pull_source, {f"rule{i}": rule for i, rule in enumerate(rules)})

    @property
    def name(self) -> str:
        """The primitive's name."""
        return self.primitive.name


# -- the recorder --------------------------------------------------------------------------------------

_RECORDER = """\
def recorder({signature}):
    {unwrap}
    xp = np if {on_host} else SETTLED.get(({classes}))
    if xp is None:
        xp, ({arrays}) = agree(primitive, ({arrays}))
    try:
        y = forward(xp, {call})
    except Exception as error:
        raise explain(primitive, error, ({arrays})) from error
    if type(y) is not ndarray and type(y) not in SPACES and type(y) is not tuple:
        y = xp.asarray(y)
    make = mode.node
    mask = {mask}
    plan = plans[mask]
    if plan is None:
        plan = primitive.plan(mask)
    if make is None or not plan:
        return plain(primitive, make, y)
    parents = ({nodes})
    if mask != {full}:
        parents = origins(parents, ({originals}))
    if make is Node and type(y) is not tuple:
        return plan.record(parents, {saves})
    return record(make, plan, parents, plan.save({saves}), y)
"""

_UNWRAP = """\
if isinstance({x}, Tensor):
        {x}_ = {x}.data; {x}n = {x}.node
    elif isinstance({x}, Symbol):
        return Symbol(primitive.name, ({originals}), {params})
    else:
        {x}_ = {x} if type({x}) in SCALARS else lift({x}); {x}n = None"""


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
    op: Any = _variadic_recorder(prim) if prim.variadic else _recorder(prim)
    op.__doc__, op.__module__ = forward.__doc__, forward.__module__
    op.primitive, op.vjp, op.within = prim, prim.vjp, prim.within
    return op  # type: ignore[no-any-return]


def _recorder(prim: Primitive) -> Callable[..., Any]:
    """The recorder of `prim`: a function that writes itself, from the template, when it is first called."""
    names: dict[str, Any] = {**_TOOLS, "forward": prim.forward, "primitive": prim, "plans": prim.plans}

    def become() -> Any:
        written = _written(prim, names)
        made.__code__, made.__defaults__ = written.__code__, written.__defaults__
        made.__kwdefaults__ = written.__kwdefaults__
        return made

    names["become"] = become
    made = FunctionType(_unwritten.__code__, names)
    made.__name__ = made.__qualname__ = prim.name
    return made


def _unwritten(*args: Any, **params: Any) -> Any:
    return become()(*args, **params)  # type: ignore[name-defined]  # noqa: F821 (its own globals)


def _written(prim: Primitive, names: dict[str, Any]) -> Any:
    """The recorder of `prim` from the template, for its number of inputs."""
    xs = [p.name for p in prim.inputs]
    params = [p.name for p in prim.params]
    every = (*prim.inputs, *prim.params)
    defaults = {f"default_{p.name}": p.default for p in every if p.default is not REQUIRED}
    spelled = [f"{p.name}=default_{p.name}" * (p.default is not REQUIRED) or p.name for p in every]
    keyword_only = next((i for i, p in enumerate(every) if p.keyword_only), None)
    if keyword_only is not None:
        spelled.insert(keyword_only, "*")
    originals = "".join(f"{x}, " for x in xs)
    kinds = "{" + ", ".join(f"{p!r}: {p}" for p in params) + "}"
    source = _RECORDER.format(
        signature=", ".join(spelled),
        unwrap="\n    ".join(_UNWRAP.format(x=x, originals=originals, params=kinds) for x in xs),
        on_host=" and ".join(f"type({x}_) is ndarray" for x in xs),
        classes="".join(f"type({x}_), " for x in xs),
        arrays="".join(f"{x}_, " for x in xs),
        call=", ".join([f"{x}_" for x in xs] + [f"{p}={p}" for p in params]),
        mask=" | ".join(
            f"({x}n is not None) << {i}" if i else f"({x}n is not None)" for i, x in enumerate(xs)
        ),
        nodes="".join(f"{x}n, " for x in xs),
        full=(1 << len(xs)) - 1,
        originals=originals,
        saves=", ".join([f"{x}_" for x in xs] + ["y"] + params),
    )
    names |= defaults
    exec(_compiled(source), names)
    return names["recorder"]


@functools.cache
def _compiled(source: str) -> Any:
    """The code of a recorder, shared by all operations of one signature; debuggers can show it."""
    filename = f"<recorder {_compiled.cache_info().currsize}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    return compile(source, filename, "exec")


def _variadic_recorder(prim: Primitive) -> Callable[..., Any]:
    """The recorder of a primitive with one starred input (concatenate, einsum): the same, in a loop."""
    defaults = {p.name: p.default for p in prim.params if p.default is not REQUIRED}

    def recorder(*inputs: Any, **given: Any) -> Any:
        params = {**defaults, **given}
        if any(isinstance(x, Symbol) for x in inputs):
            return Symbol(prim.name, inputs, params)
        raw = tuple([x.data if isinstance(x, Tensor) else lift(x) for x in inputs])
        xp, arrays = agree(prim, raw)
        try:
            y = prim.forward(xp, *arrays, **params)
        except Exception as error:
            raise explain(prim, error, arrays) from error
        if type(y) not in SPACES and type(y) is not tuple:
            y = xp.asarray(y)
        nodes = tuple([x.node if isinstance(x, Tensor) else None for x in inputs])
        plan = prim.plan(int(any(n is not None for n in nodes)))
        make = mode.node
        if make is None or not plan:
            return plain(prim, make, y)
        saved = plan.save(arrays, y, *(params[p.name] for p in prim.params))
        return record(make, plan, origins(nodes, inputs), saved, y)

    recorder.__name__ = prim.name
    return recorder


def lift(value: Any) -> Any:
    """An operand as its operation takes it: arrays and Python scalars as they are, the rest as an array.

    Raises TypeError for a list of Tensors that ask for a gradient, which would be lost.
    """
    if type(value) in SPACES or type(value) in SCALARS or value is None:
        return value
    if isinstance(value, list | tuple) and any(t.node is not None for t in _tensors(value)):
        raise TypeError(
            f"expected an operand that keeps its gradient, got a {type(value).__name__} of tensors that "
            "require grad: join them with stack() or concatenate()"
        )
    return asarray(value)


def _tensors(values: Any) -> Iterator[Tensor]:
    """The Tensors in nested lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


SETTLED: dict[tuple[type, ...], Any] = {}
"""The operands' classes → their library, where that is settled by the classes alone (NumPy: one device)."""


def agree(prim: Primitive, operands: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The one library of all operands; Python scalars stay weak, unless there is nothing else."""
    found = [a for a in operands if a is not None and type(a) not in SCALARS]
    if not found:
        operands = tuple(a if a is None else asarray(a) for a in operands)
        found = [a for a in operands if a is not None]
    if not found:
        raise TypeError(f"{prim.name}: expected at least one array, got none")
    xp = namespace(found[0])
    if len({type(a) for a in found}) > 1 or xp is not np:
        devices = list(dict.fromkeys(map(device_of, found)))
        if len(devices) > 1:
            raise DeviceError(f"{prim.name}: expected all inputs on one device, got {' and '.join(devices)}")
    elif len(operands) <= _ARITY:
        SETTLED[tuple(map(type, operands))] = np
    return xp, operands


_ARITY = 4
"""Operand lists longer than this (a concatenation's) are not worth remembering."""


def explain(prim: Primitive, error: Exception, arrays: tuple[Any, ...]) -> Exception:
    """The library's error, with the operation and what came; of its kind, so that `except` still works."""
    came = ", ".join(f"{a.dtype}{list(a.shape)}" if hasattr(a, "dtype") else repr(a) for a in arrays)
    kind = next((k for k in _KINDS if isinstance(error, k)), None)
    text = str(error).removeprefix(f"{prim.name}: ")
    return error if kind is None else kind(f"{prim.name}: {text} (got {came})")


_KINDS = (np.exceptions.AxisError, IndexError, ValueError, TypeError, MemoryError)


def origins(nodes: tuple[Any, ...], inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The parents, with what is known of those inputs that ask for no gradient."""
    parents = list(nodes)
    for i, x in enumerate(inputs):
        if parents[i] is None and isinstance(x, Tensor):
            if x.origin is None:
                x.origin = Origin("", here.scope, False, next(clock))
            parents[i] = x.origin
    return tuple(parents)


def record(make: Any, plan: Plan, parents: tuple[Any, ...], saved: tuple[Any, ...], y: Any) -> Any:
    """What `Plan.record` does, for any maker of nodes; several outputs get a Bundle, and an Output each."""
    if type(y) is not tuple:
        return Tensor(y, make(plan, parents, saved, y) if y.dtype.kind == "f" else None)
    bundle = Bundle(plan, parents, saved, y) if make is Node else make.bundle(plan, parents, saved, y)
    return tuple([Tensor(part, Output(bundle, i, part)) for i, part in enumerate(y)])


def plain(prim: Primitive, make: Any, y: Any) -> Any:
    """The result of a call that is not recorded."""
    if make is not None and make is not Node:
        make.look(prim, y)
    return Tensor(y) if type(y) is not tuple else tuple([Tensor(part) for part in y])


_TOOLS: dict[str, Any] = {
    "Tensor": Tensor, "Symbol": Symbol, "SPACES": SPACES, "SCALARS": frozenset(SCALARS), "SETTLED": SETTLED,
    "mode": mode, "lift": lift, "agree": agree, "explain": explain, "origins": origins, "record": record,
    "plain": plain, "np": np, "ndarray": np.ndarray, "Node": Node,
}  # fmt: skip
