"""What runs when an operation is called: unwrap, compute, and record where a gradient is asked for.

The functions here are written from templates, one for each operation, with exactly its signature: no loop
over arguments, no packing and unpacking, for this is where a small operation spends its time. To read one
as it stands: `print(inspect.getsource(tg.ops.tanh))`.
"""

from __future__ import annotations

import functools
import linecache
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_rnn.namespaces import (
    SCALARS,
    SPACES,
    DeviceError,
    asarray,
    clock,
    device_of,
    namespace,
    out_of_memory,
)
from tinygrad_rnn.scope import here
from tinygrad_rnn.symbols import Symbol
from tinygrad_rnn.tape import Bundle, Node, Origin, Output, mode
from tinygrad_rnn.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_rnn.primitive import Plan, Primitive

REQUIRED: Any = object()
"""The default of an argument that has none."""

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


def recorder(prim: Primitive) -> Callable[..., Any]:
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


def variadic_recorder(prim: Primitive) -> Callable[..., Any]:
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
    if isinstance(error, MemoryError):
        error = out_of_memory(error, next((namespace(a) for a in arrays if type(a) in SPACES), np))
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


# -- what a plan writes ---------------------------------------------------------------------------------

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


def savers(plan: Plan, values: str, saved: str) -> tuple[Callable[..., Any], Callable[..., Tensor]]:
    """`plan.save` and `plan.record`: functions of `values` that keep what `saved` says."""
    names = {**_SAVERS, "plan": plan}
    exec(_RECORD.format(values=values, saved=saved), names)
    return eval(f"lambda {values}: {saved}", names), names["record"]
