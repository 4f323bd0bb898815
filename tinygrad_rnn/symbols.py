"""The third reading: operations on symbols.

Give an operation or a rule symbols instead of arrays and the same line of Python returns the expression
it stands for. Printed, that is the formula in the picture; walked, it is the straight-line program from
which kernels are made. Equal expressions are one object, so common subexpressions are found by
construction.

>>> x = symbol("x")
>>> print(symbolic.tanh(x) * (1 - x * x))
tanh(x)·(1 - x²)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_table: dict[Any, Symbol] = {}


def _key(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_key(v) for v in value)
    if isinstance(value, dict):
        return tuple((k, _key(v)) for k, v in sorted(value.items()))
    return value if isinstance(value, Symbol) else (type(value).__name__, repr(value))


class Symbol:
    """A name, or an operation on symbols: `op` and `args`, with keyword parameters in `params`."""

    __slots__ = ("args", "op", "params")
    op: str
    args: tuple[Any, ...]
    params: dict[str, Any]

    def __new__(cls, op: str, args: tuple[Any, ...] = (), params: dict[str, Any] | None = None) -> Symbol:
        """The one symbol for this operation on these arguments."""
        key = (op, _key(args), _key(params or {}))
        found = _table.get(key)
        if found is None:
            found = object.__new__(cls)
            found.op, found.args, found.params = op, args, params or {}
            _table[key] = found
        return found

    __array_ufunc__ = None

    def __add__(self, other: Any) -> Symbol:
        return Symbol("add", (self, other))

    def __radd__(self, other: Any) -> Symbol:
        return Symbol("add", (other, self))

    def __sub__(self, other: Any) -> Symbol:
        return Symbol("subtract", (self, other))

    def __rsub__(self, other: Any) -> Symbol:
        return Symbol("subtract", (other, self))

    def __mul__(self, other: Any) -> Symbol:
        return Symbol("multiply", (self, other))

    def __rmul__(self, other: Any) -> Symbol:
        return Symbol("multiply", (other, self))

    def __truediv__(self, other: Any) -> Symbol:
        return Symbol("divide", (self, other))

    def __rtruediv__(self, other: Any) -> Symbol:
        return Symbol("divide", (other, self))

    def __pow__(self, other: Any) -> Symbol:
        return Symbol("power", (self, other))

    def __rpow__(self, other: Any) -> Symbol:
        return Symbol("power", (other, self))

    def __matmul__(self, other: Any) -> Symbol:
        return Symbol("matmul", (self, other))

    def __neg__(self) -> Symbol:
        return Symbol("negative", (self,))

    def __gt__(self, other: Any) -> Symbol:
        return Symbol("greater", (self, other))

    def __ge__(self, other: Any) -> Symbol:
        return Symbol("greater_equal", (self, other))

    def __lt__(self, other: Any) -> Symbol:
        return Symbol("less", (self, other))

    def __le__(self, other: Any) -> Symbol:
        return Symbol("less_equal", (self, other))

    def __getitem__(self, key: Any) -> Symbol:
        return Symbol("getitem", (self,), {"key": key})

    def __len__(self) -> int:
        sections = self._sections()
        return self.ndim if sections is None else sections

    def _sections(self) -> int | None:
        """Into how many parts this splits something, where it does."""
        found = self.params.get("indices_or_sections") if self.op == "split" else None
        return found if isinstance(found, int) else None

    @property
    def mT(self) -> Symbol:
        """The transposed matrix."""
        return Symbol("matrix_transpose", (self,))

    T = mT

    @property
    def shape(self) -> tuple[Any, ...]:
        """Known only while a reader knows the shapes of the names; AttributeError otherwise."""
        if reading.shape_of is None:
            raise AttributeError(f"{self} has no shape of its own")
        return reading.shape_of(self)

    @property
    def ndim(self) -> int:
        """The number of axes; where shapes are not known, a symbol stands for a matrix."""
        return 2 if reading.shape_of is None else len(self.shape)

    def __bool__(self) -> bool:
        raise TypeError(f"a formula cannot branch on the value of {self}")

    def __iter__(self) -> Any:
        sections = self._sections()
        if sections is None:
            raise TypeError(f"{self} has no known number of parts")
        return iter([Symbol("part", (self,), {"index": i}) for i in range(sections)])

    def __str__(self) -> str:
        return _show(self)[0]

    __repr__ = __str__


class _Reading(threading.local):
    shape_of: Callable[[Symbol], tuple[Any, ...]] | None = None


reading = _Reading()
"""Whoever reads a function on symbols may say here, for this thread, what shapes they have."""


def symbol(name: str) -> Symbol:
    """The symbol of that name."""
    return Symbol("name", (name,))


class _Symbolic:
    """A namespace like NumPy's whose every function returns the symbol of its call."""

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        if name.startswith("__") or name == "ndarray":  # which marks an array library
            raise AttributeError(name)
        return lambda *args, **params: Symbol(name, args, params)


symbolic: Any = _Symbolic()

_ATOM, _POWER, _PRODUCT, _SUM, _COMPARISON = 5, 4, 3, 2, 1
_INFIX = {
    "add": (" + ", _SUM, _SUM, _SUM),
    "subtract": (" - ", _SUM, _SUM, _PRODUCT),
    "multiply": ("·", _PRODUCT, _PRODUCT, _PRODUCT),
    "divide": ("/", _PRODUCT, _PRODUCT, _POWER),
    "matmul": (" @ ", _PRODUCT, _POWER, _POWER),
    "power": ("^", _POWER, _ATOM, _ATOM),
    "greater": (" > ", _COMPARISON, _SUM, _SUM),
    "greater_equal": (" ≥ ", _COMPARISON, _SUM, _SUM),
    "less": (" < ", _COMPARISON, _SUM, _SUM),
    "less_equal": (" ≤ ", _COMPARISON, _SUM, _SUM),
    "equal": (" = ", _COMPARISON, _SUM, _SUM),
}
"""Operation → sign, its own binding strength, and the least that its left and right side must have."""


def _show(value: Any) -> tuple[str, int]:
    """The text of an expression, and how strongly it binds."""
    if not isinstance(value, Symbol):
        if isinstance(value, list | tuple):
            return "[" + ", ".join(_show(v)[0] for v in value) + "]", _ATOM
        text = f"{value:g}" if isinstance(value, float) else str(value)
        return text, _ATOM if not text.startswith("-") else _SUM

    def side(part: Any, least: int) -> str:
        text, strength = _show(part)
        return text if strength >= least else f"({text})"

    args = value.args
    if value.op == "name":
        return args[0], _ATOM
    if value.op == "multiply" and args[0] is args[1]:
        return f"{side(args[0], _ATOM)}²", _POWER
    if value.op == "power" and args[1] == 2 and not isinstance(args[1], Symbol):
        return f"{side(args[0], _ATOM)}²", _POWER
    if value.op in _INFIX and len(args) == 2:
        sign, strength, left, right = _INFIX[value.op]
        if strength == _PRODUCT and getattr(args[0], "op", None) == "negative":  # -a·b: the same either way
            left = _SUM
        return side(args[0], left) + sign + side(args[1], right), strength
    if value.op == "negative":
        return f"-{side(args[0], _PRODUCT)}", _SUM
    if value.op == "sqrt":
        return f"√{side(args[0], _ATOM)}", _ATOM
    if value.op == "abs":
        return f"|{_show(args[0])[0]}|", _ATOM
    turned = value.op in ("matrix_transpose", "transpose") and not value.params
    if turned or (value.op == "swapaxes" and args[1:] == (-1, -2)):
        return f"{side(args[0], _ATOM)}ᵀ", _ATOM
    if value.op == "getitem":
        return f"{side(args[0], _ATOM)}[{_show(value.params.get('key', 'key'))[0]}]", _ATOM
    shown = [_show(a)[0] for a in args]
    shown += [f"{k}={_show(v)[0]}" for k, v in value.params.items() if v is not None and v is not False]
    return f"{value.op}({', '.join(shown)})", _ATOM
