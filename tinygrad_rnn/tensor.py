"""Tensors: an array and, if a gradient may be asked of it, the Node that tells how it was made.

The methods and operators of a Tensor are the functions of `ops`; they are attached there, next to their
definition, and declared here in `TYPE_CHECKING` so that editors know them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_rnn import namespaces
from tinygrad_rnn.namespaces import Array
from tinygrad_rnn.scope import here
from tinygrad_rnn.tape import Node, Origin, leaf, mode


class Tensor:
    """An array that knows how it was made.

    `Tensor(data)` wraps a backend array as it is; `tg.tensor` takes any data and copies it.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> w.grad
    tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "data", "node", "origin")

    def __init__(self, data: Array, node: Node | None = None, origin: Origin | None = None) -> None:
        self.data = data
        self.node = node
        self.origin = origin

    # -- what it is ------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self.data.shape  # type: ignore[no-any-return]  # of any library's array

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim  # type: ignore[no-any-return]  # of any library's array

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.data.size  # type: ignore[no-any-return]  # of any library's array

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the entries, a NumPy dtype on every device."""
        return self.data.dtype  # type: ignore[no-any-return]  # of any library's array

    @property
    def device(self) -> str:
        """Where the array lives: "cpu", "cuda:0", …"""
        return namespaces.device_of(self.data)

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient can be asked of it."""
        return self.node is not None

    @property
    def is_leaf(self) -> bool:
        """True unless it was made by a recorded operation."""
        return self.node is None or self.node.is_leaf

    @property
    def grad(self) -> Tensor | None:
        """∂L/∂self, added up over the backward passes so far; None before the first."""
        return None if self.node is None else self.node.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is None:
            if self.node is not None:
                self.node.grad = None
            return
        if self.node is None:
            raise ValueError("expected a tensor that requires grad, got one that does not; no .grad to set")
        if not isinstance(value, Tensor) or value.shape != self.shape or value.dtype != self.dtype:
            found = f"{value.dtype} {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"expected a gradient tensor of {self.dtype} {self.shape}, got {found}")
        self.node.grad = value

    @property
    def name(self) -> str | None:
        """What pictures call it: a parameter's name, a gate, an input."""
        if self.node is not None:
            return self.node.label
        return self.origin.name if self.origin is not None else None

    @name.setter
    def name(self, value: str) -> None:
        if self.node is not None:
            self.node.label = value
        else:
            self.origin = Origin(value, here.scope)

    # -- asking for gradients --------------------------------------------------------------------------

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask (or stop asking) for this leaf's gradient, in place; returns self."""
        if not requires_grad:
            if not self.is_leaf:
                raise ValueError("expected a leaf, got the result of an operation: use detach()")
            self.node = None
        elif self.node is None:
            if self.dtype.kind != "f":
                raise TypeError(f"expected a floating dtype to take gradients of, got {self.dtype}")
            name = self.name
            self.node = leaf(self.data)
            self.node.label = name
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate value in `.grad` at the next backward."""
        if self.node is None:
            raise ValueError("expected a tensor that requires grad, got one that does not: nothing to retain")
        self.node.retains = True
        if self.node.hooks is None:
            self.node.hooks = {}

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHook:
        """Call `hook(grad)` when this value's gradient is ready; what it returns replaces it, unless None."""
        if self.node is None:
            raise ValueError(
                "expected a tensor that requires grad, got one that does not: no gradient to hook"
            )
        if not callable(hook):
            raise TypeError(f"expected a function to call with the gradient, got {type(hook).__name__}")
        if self.node.hooks is None:
            self.node.hooks = {}
        key = next(namespaces.clock)
        self.node.hooks[key] = hook
        return RemovableHook(self.node.hooks, key)

    def detach(self) -> Tensor:
        """The same array, cut off from the tape: BPTT stops here (and pictures show the cut)."""
        if self.node is None:
            return Tensor(self.data, None, self.origin)
        cut = Origin(self.node.label or "", self.node.scope, cut=True, key=self.node.order)
        return Tensor(self.data, None, cut)

    # -- out of the library ----------------------------------------------------------------------------

    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as a NumPy array: shared on the CPU, copied from other devices."""
        return namespaces.to_numpy(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        host = self.numpy()
        if copy is None:
            return host if dtype is None else host.astype(dtype, copy=False)
        return np.array(host, dtype=dtype, copy=copy)

    __array_ufunc__ = None

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()  # type: ignore[no-any-return]  # of any library's array

    def item(self) -> Any:
        """The one entry as a Python number; ValueError where there is not exactly one."""
        if self.size != 1:
            raise ValueError(f"expected exactly one entry, got shape {self.shape}")
        return self.data.item()

    def tolist(self) -> Any:
        """The entries as nested lists of Python numbers."""
        return self.data.tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.size != 1:
            raise TypeError(f"expected one integer to index with, got {self.dtype} {self.shape}")
        return int(self.item())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"expected exactly one entry for a truth value, got shape {self.shape}; use any() or all()"
            )
        return bool(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("expected a tensor with at least one axis, got a 0-d one: it has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        body = np.array2string(self.numpy(), separator=", ", prefix="tensor(")
        notes = (
            ""
            if self.dtype in (namespaces.get_default_dtype(), np.dtype(bool), np.dtype(np.int64))
            else f", dtype={self.dtype}"
        )
        notes += "" if self.device == "cpu" else f", device='{self.device}'"
        if self.node is not None:
            notes += ", requires_grad=True" if self.node.plan is None else f", made_by={self.node.plan.name}"
        return f"tensor({body}{notes})"

    # -- writing in place ------------------------------------------------------------------------------

    def _writable(self, value: Any) -> Any:
        """The array in `value`, if it may be written into this tensor now; RuntimeError otherwise."""
        if mode.get().recording:
            recorded = "a tensor" if self.node is not None else "a value"
            if self.node is not None or (isinstance(value, Tensor) and value.node is not None):
                raise RuntimeError(
                    f"expected to write outside the tape, got {recorded} that requires grad: its gradient "
                    "would be lost or wrong; write under no_grad(), or use where() or stack()"
                )
        array = raw(value)
        if type(array) in namespaces.SPACES and namespaces.device_of(array) != self.device:
            raise namespaces.DeviceError(
                f"expected a value on {self.device}, got one on {namespaces.device_of(array)}"
            )
        return array

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write in place; only where no gradient is being recorded, for it would be wrong."""
        array = self._writable(value)
        self.data[raw(key)] = array
        namespaces.note_write(self.data)

    def copy_(self, source: Any) -> Tensor:
        """Overwrite the entries in place with `source`, a number or values of its shape; returns self."""
        if not self.is_leaf and mode.get().recording:
            self._writable(source)
        with_values = raw(source)
        if not isinstance(with_values, namespaces.SCALARS):
            known = type(with_values) in namespaces.SPACES
            with_values = namespaces.asarray(with_values, device=None if known else self.device)
            if with_values.shape != self.shape:
                raise ValueError(f"expected values of shape {self.shape}, got {with_values.shape}")
            if not np.can_cast(with_values.dtype, self.dtype, "same_kind"):
                raise TypeError(f"expected values that fit {self.dtype}, got {with_values.dtype}")
            with_values = namespaces.to_device(with_values, self.device)
        self.data[...] = with_values
        namespaces.note_write(self.data)
        return self

    def _augmented(self, name: str, other: Any) -> Tensor:
        """`t += other` and the like: in place outside the tape, a new recorded value on it."""
        recorded = self.node is not None or (isinstance(other, Tensor) and other.node is not None)
        if mode.get().recording and recorded:
            if self.node is not None and self.is_leaf:
                raise RuntimeError(
                    f"expected {name}= on a recorded value or under no_grad(), got a leaf that requires "
                    "grad: write  w = w + …, or update it under no_grad()"
                )
            return getattr(operator, name)(self, other)  # type: ignore[no-any-return]  # found by name
        array = self._writable(other)
        self.data = getattr(operator, f"i{name}")(self.data, array)
        namespaces.note_write(self.data)
        return self

    def __iadd__(self, other: Any) -> Tensor:
        return self._augmented("add", other)

    def __isub__(self, other: Any) -> Tensor:
        return self._augmented("sub", other)

    def __imul__(self, other: Any) -> Tensor:
        return self._augmented("mul", other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._augmented("truediv", other)

    # -- copies ----------------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        if not self.is_leaf:
            raise TypeError("expected a leaf to pickle or copy, got the result of an operation: use detach()")
        return _rebuild, (type(self), self.data, self.requires_grad, self.name)

    def __copy__(self) -> Tensor:
        return type(self)(self.data, self.node, self.origin)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A leaf of its own: values and gradient copied, no hooks."""
        rebuild, (kind, data, requires_grad, name) = self.__reduce__()
        made: Tensor = rebuild(kind, data.copy(), requires_grad, name)
        if self.grad is not None:
            made.grad = Tensor(self.grad.data.copy())
        memo[id(self)] = made
        return made

    if TYPE_CHECKING:
        T: Tensor
        mT: Tensor

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...


class RemovableHook:
    """Returned by `register_hook`; `remove()` takes the hook away again."""

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        self._hooks.pop(self._key, None)


def raw(value: Any) -> Any:
    """The arrays inside: of a Tensor, or of the Tensors in an indexing tuple."""
    if isinstance(value, Tensor):
        return value.data
    if isinstance(value, tuple):
        return tuple(raw(v) for v in value)
    return value


def _rebuild(kind: type[Tensor], data: Array, requires_grad: bool, name: str | None) -> Tensor:
    made = kind.__new__(kind)
    Tensor.__init__(made, data)
    made.requires_grad_(requires_grad)
    if name is not None:
        made.name = name
    return made


seen: ContextVar[dict[str, Any] | None] = ContextVar("seen", default=None)
"""While it holds a dict, every named value is kept there too (for `return_gates`)."""


def label(**values: Tensor) -> Any:
    """Name values for pictures, gates above all; returns them, one or a tuple.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([0.5], requires_grad=True)
    >>> f = tg.label(f=tg.ops.sigmoid(x))
    >>> f.name
    'f'
    """
    if (kept := seen.get()) is not None:
        kept.update(values)
    for name, value in values.items():
        if isinstance(value, Tensor):
            value.name = name
    found = tuple(values.values())
    return found[0] if len(found) == 1 else found
