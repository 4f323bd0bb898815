"""What runs when an operation is called: unwrap, compute, and record where a gradient is asked for.

The functions here are written from templates, one for each operation, with exactly its signature: no loop
over arguments, no packing and unpacking, for this is where a small operation spends its time. To read one
as it stands: `print(inspect.getsource(tg.ops.tanh))`.
"""

from __future__ import annotations

import functools
import linecache
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from tinygrad_rnn.plan import REQUIRED, TOOLS, saving
from tinygrad_rnn.scope import current, here
from tinygrad_rnn.symbols import Symbol
from tinygrad_rnn.tape import RECORDING, Node, Origin, mode, note
from tinygrad_rnn.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_rnn.plan import Plan
    from tinygrad_rnn.primitive import Primitive

_RECORDER = """\
def recorder({signature}):
    {unwrap}
    _xp = _np if {on_host} else _SETTLED.get(({classes}))
    if _xp is None:
        _xp, ({arrays}) = _agree(_primitive, ({arrays}))
        if _xp is None:
            return _Symbol(_primitive.name, ({inputs}), {kinds})
    try:
        _y = _forward(_xp, {call})
    except Exception as _error:
        raise _explain(_primitive, _error, ({arrays})) from _error
    _mask = {mask}
    _plan = _plans[_mask]
    if _plan and _mode() is _RECORDING:
        if type(_y) is _ndarray:
            return _recorded(_plan, ({parents}), {saved}, _y)
        if type(_y) is tuple:
            return _several(_plan, ({parents}), {saved}, _y)
    return _finish(_primitive, _xp, _mask, ({nodes}), ({inputs}), ({arrays}), _y, ({params}))
"""

_UNWRAP = """\
if type({x}) is _Tensor:
        _x{i} = {x}.data; _n{i} = {x}.node
    elif type({x}) in _SCALARS:
        _x{i} = {x}; _n{i} = None
    else:
        _x{i}, _n{i} = _operand({x})"""


def recorder(prim: Primitive) -> Callable[..., Any]:
    """The recorder of `prim`: a function that writes itself, from the template, when it is first called."""
    names = {**TOOLS, **_TOOLS, "_forward": prim.forward, "_primitive": prim, "_plans": prim.plans}

    def become() -> Any:
        written = _written(prim, names)
        made.__code__, made.__defaults__ = written.__code__.replace(co_name=prim.name), written.__defaults__
        made.__kwdefaults__ = written.__kwdefaults__
        return made

    def change() -> None:
        made.__code__, made.__defaults__, made.__kwdefaults__ = _unwritten.__code__, None, None

    names["_become"], prim.changed = become, change
    made = FunctionType(_unwritten.__code__, names)
    made.__name__ = made.__qualname__ = prim.name
    return made


def _unwritten(*args: Any, **params: Any) -> Any:
    return _become()(*args, **params)  # type: ignore[name-defined]  # noqa: F821 (its own globals)


def _written(prim: Primitive, names: dict[str, Any]) -> Any:
    """The recorder of `prim` from the template, for its number of inputs."""
    xs = [p.name for p in prim.inputs]
    params = [p.name for p in prim.params]
    every = (*prim.inputs, *prim.params)
    names |= {f"_default_{p.name}": p.default for p in every if p.default is not REQUIRED}
    spelled = [f"{p.name}=_default_{p.name}" * (p.default is not REQUIRED) or p.name for p in every]
    keyword_only = next((i for i, p in enumerate(every) if p.keyword_only), None)
    if keyword_only is not None:
        spelled.insert(keyword_only, "*")

    def each(text: str) -> str:
        return "".join(text.format(x=x, i=i) for i, x in enumerate(xs))

    inputs = each("{x}, ")
    kinds = "{" + ", ".join(f"{p!r}: {p}" for p in params) + "}"
    source = _RECORDER.format(
        signature=", ".join(spelled),
        unwrap="\n    ".join(_UNWRAP.format(x=x, i=i) for i, x in enumerate(xs)),
        kinds=kinds,
        on_host=_on_host(prim),
        classes=each("type(_x{i}), "),
        arrays=each("_x{i}, "),
        call=each("_x{i}, ") + ", ".join(f"{p}={p}" for p in params),
        mask=" + ".join(f"({1 << i} if _n{i} is not None else 0)" for i in range(len(xs))),
        parents=each("_n{i} or (None if _x{i} is {x} else _origin({x})), "),
        nodes=each("_n{i}, "),
        inputs=inputs,
        params="".join(f"{p}, " for p in params),
        saved=_saved(prim),
    )
    exec(_compiled(source), names)
    return names["recorder"]


def _on_host(prim: Primitive) -> str:
    """Whether all is NumPy's: arrays, one of them beside a number, and None where that is a default."""
    arrays = [
        f"type(_x{i}) is _ndarray" if p.default is not None else f"(type(_x{i}) is _ndarray or _x{i} is None)"
        for i, p in enumerate(prim.inputs)
    ]
    if len(arrays) != 2:
        return " and ".join(arrays)
    a, b = arrays
    return f"({a} and ({b} or type(_x1) in _SCALARS) or {b} and type(_x0) in _SCALARS)"


def _saved(prim: Primitive) -> str:
    """What the plan would save, for each `_mask`: written out, it costs no call."""
    names = {p.name: f"_x{i}" for i, p in enumerate(prim.inputs)} | {"y": "_y"}
    cases: dict[str, list[int]] = {}
    for mask in reversed(range(len(prim.plans))):
        if rules := prim.rules_of(mask):
            cases.setdefault(saving(prim, prim.slots(rules.values()), names), []).append(mask)
    *others, last = cases or {"()": []}
    return "".join(f"{case} if _mask in {tuple(cases[case])} else " for case in others) + last


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
        raw, nodes = zip(*map(operand, inputs), strict=True) if inputs else ((), ())
        xp, arrays = agree(prim, raw)
        if xp is None:
            return Symbol(prim.name, inputs, params)
        try:
            y = prim.forward(xp, *arrays, **params)
        except Exception as error:
            raise explain(prim, error, arrays) from error
        mask = int(any(n is not None for n in nodes))
        return finish(prim, xp, mask, nodes, inputs, arrays, y, tuple([params[p.name] for p in prim.params]))

    recorder.__name__ = prim.name
    return recorder


def operand(value: Any) -> tuple[Any, Node | None]:
    """The array of an operand, and its node."""
    return (value.data, value.node) if isinstance(value, Tensor) else (lift(value), None)


def lift(value: Any) -> Any:
    """An operand as its operation takes it: arrays and Python scalars as they are, the rest as an array.

    Raises TypeError for a list of Tensors that ask for a gradient, which would be lost.
    """
    if type(value) in SPACES or type(value) in SCALARS or value is None or isinstance(value, Symbol):
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
    """The one library of all operands, None for symbols; Python scalars stay weak, if not alone."""
    if any(isinstance(a, Symbol) for a in operands):
        return None, operands
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


def origin(x: Any) -> Origin | None:
    """What is known of an input that asks for no gradient: it stands among the parents in a Node's place."""
    if not isinstance(x, Tensor):
        return None
    if x.origin is None:
        x.origin = Origin("", here.scope, False, next(clock))
    return x.origin


def origins(nodes: Iterable[Node | None], inputs: Iterable[Any]) -> tuple[Any, ...]:
    """The parents: every input's Node or Origin."""
    return tuple([n or origin(x) for n, x in zip(nodes, inputs, strict=True)])


def finish(
    prim: Primitive, xp: Any, mask: int, nodes: Sequence[Node | None], inputs: Sequence[Any],
    arrays: tuple[Any, ...], y: Any, params: tuple[Any, ...],
) -> Any:  # fmt: skip
    """The result of a call that is not one NumPy array to be recorded, or is looked at by an observer."""
    if type(y) is not tuple and type(y) not in SPACES:
        y = xp.asarray(y)
    recording, observer = mode.get()
    plan = recording and prim.plan(mask)
    values = (arrays,) if prim.variadic else arrays
    made: Any
    if not plan:
        made = Tensor(y) if type(y) is not tuple else tuple([Tensor(part) for part in y])
    elif type(y) is not tuple:
        made = recorded(plan, origins(nodes, inputs), plan.save(*values, y, *params), y)
    else:
        made = several(plan, origins(nodes, inputs), plan.save(*values, y, *params), y)
    if observer is not None and recording:
        observer.look(prim, made)
    return made


def recorded(plan: Plan, parents: tuple[Any, ...], saved: tuple[Any, ...], y: Any) -> Tensor:
    """The output of an operation, with its node: `Tensor(y, note(…))` without the calls, for most need it."""
    dtype = y.dtype
    if dtype is not _FLOAT32 and dtype.kind != "f":
        return Tensor(y)
    node, tensor = Node(), _new(Tensor)
    node.plan, node.parents, node.saved = plan, parents, saved
    node.shape, node.dtype = y.shape, dtype
    node.scope, node.order = _scope(), _tick()
    node.label = node.grad = node.hooks = node.index = None
    node.retains = False
    tensor.data, tensor.node, tensor.origin = y, node, None
    return tensor


def several(
    plan: Plan, parents: tuple[Any, ...], saved: tuple[Any, ...], ys: Sequence[Any]
) -> tuple[Tensor, ...]:
    """The outputs of one operation, recorded."""
    return outputs(note(plan, parents, saved, (), None), ys)


def outputs(whole: Node, ys: Sequence[Any]) -> tuple[Tensor, ...]:
    """A Tensor for each output of a bundle, with a node of its own."""
    plan, above, scope = whole.plan, (whole,), whole.scope
    made: list[Tensor] = []
    kinds = []
    for y in ys:
        node, tensor = Node(), _new(Tensor)
        shape, dtype = y.shape, y.dtype
        node.plan, node.parents, node.saved = plan, above, ()
        node.shape, node.dtype = shape, dtype
        node.scope, node.order, node.index = scope, _tick(), len(made)
        node.label = node.grad = node.hooks = None
        node.retains = False
        tensor.data, tensor.node, tensor.origin = y, node, None
        kinds.append((shape, dtype))
        made.append(tensor)
    whole.shape = tuple(kinds)
    return tuple(made)


_FLOAT32 = np.dtype("float32")
_new, _scope, _tick = object.__new__, current.get, clock.__next__

_TOOLS: dict[str, Any] = {
    "_Tensor": Tensor, "_Symbol": Symbol, "_SCALARS": frozenset((*SCALARS, type(None))),
    "_SETTLED": SETTLED, "_np": np, "_ndarray": np.ndarray, "_RECORDING": RECORDING, "_mode": mode.get,
    "_operand": operand, "_agree": agree, "_explain": explain, "_origin": origin, "_finish": finish,
    "_recorded": recorded, "_several": several,
}  # fmt: skip
