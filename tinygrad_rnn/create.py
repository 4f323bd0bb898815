"""New tensors: from data, from a shape, from a random stream.

`device=None` is the default device, `dtype=None` the default dtype (float32, as in PyTorch), except that
arrays keep the dtype they have. A shape is ints, or one tuple of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn import namespaces
from tinygrad_rnn.namespaces import on_device
from tinygrad_rnn.tensor import Tensor


def tensor(data: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of `data`: numbers, nested lists, an array of any backend, a Tensor.

    Raises TypeError for what is no number, and for a gradient asked of integers.

    >>> import tinygrad_rnn as tg
    >>> tg.tensor([[1, 2], [3, 4]]).dtype, tg.tensor([0.5]).dtype
    (dtype('int64'), dtype('float32'))
    """
    source = data.data if isinstance(data, Tensor) else data
    if isinstance(source, list | tuple):
        source = _nested(source)
    if device is None and isinstance(data, np.ndarray):
        device = namespaces.get_default_device()
    array = namespaces.asarray(source, dtype=dtype, device=device)
    if array is source or (isinstance(array, np.ndarray) and np.shares_memory(array, source)):
        array = array.copy()
    made = Tensor(array)
    return made.requires_grad_() if requires_grad else made


def _nested(data: Any) -> Any:
    return (
        [_nested(d) for d in data]
        if isinstance(data, list | tuple)
        else data.tolist()
        if isinstance(data, Tensor)
        else data
    )


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor that shares the array's memory: what is written to the one is seen in the other."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected a numpy.ndarray, got {type(array).__name__}")
    return Tensor(array)


def from_dlpack(array: Any) -> Tensor:
    """A tensor that shares the memory of any array with `__dlpack__` (PyTorch's, JAX's, CuPy's).

    >>> import numpy as np, tinygrad_rnn as tg
    >>> a = np.zeros(2); t = tg.from_dlpack(a); a[0] = 1
    >>> t
    tensor([1., 0.], dtype=float64)
    """
    if not hasattr(array, "__dlpack__") or not hasattr(array, "__dlpack_device__"):
        raise TypeError(f"expected an array with __dlpack__, got {type(array).__name__}")
    kind, number = array.__dlpack_device__()
    return Tensor(namespaces.library("cpu" if kind in _HOST else f"cuda:{number}").from_dlpack(array))


_HOST = (1, 3)
"""DLPack's numbers for memory that the host can read: kDLCPU, kDLCUDAHost."""


def _shape(shape: tuple[Any, ...]) -> tuple[int, ...]:
    given = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    wrong = [n for n in given if not isinstance(n, int | np.integer) or n < 0]
    if wrong:
        raise ValueError(f"expected a shape of integers ≥ 0, got {tuple(given)}")
    return tuple(int(n) for n in given)


def _tuple(shape: Any) -> tuple[Any, ...]:
    return tuple(shape) if isinstance(shape, tuple | list) else (shape,)


def _make(make: Any, dtype: Any, device: str | None, requires_grad: bool) -> Tensor:
    kind = namespaces.get_default_dtype() if dtype is None else np.dtype(dtype)
    made = Tensor(on_device(device, lambda xp: make(xp, kind)))
    return made.requires_grad_() if requires_grad else made


def zeros(*shape: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros of that shape."""
    return _make(lambda xp, kind: xp.zeros(_shape(shape), dtype=kind), dtype, device, requires_grad)


def ones(*shape: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones of that shape."""
    return _make(lambda xp, kind: xp.ones(_shape(shape), dtype=kind), dtype, device, requires_grad)


def empty(*shape: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Entries of any value, of that shape."""
    return _make(lambda xp, kind: xp.empty(_shape(shape), dtype=kind), dtype, device, requires_grad)


def full(
    shape: Any, value: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """`value` everywhere; an integer value makes integers, as in PyTorch."""
    kind = dtype or (np.asarray(value).dtype if isinstance(value, bool | int) else None)
    return _make(lambda xp, k: xp.full(_shape(_tuple(shape)), value, dtype=k),
                 kind, device, requires_grad)  # fmt: skip


def arange(
    start: Any, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: str | None = None
) -> Tensor:
    """start, start + step, … before stop; integers where all three are."""
    start, stop = (0, start) if stop is None else (start, stop)
    floating = any(isinstance(v, float) for v in (start, stop, step))
    return _make(lambda xp, kind: xp.arange(start, stop, step, dtype=kind),
                 dtype or (None if floating else np.int64), device, False)  # fmt: skip


def linspace(
    start: float, stop: float, num: int = 50, *, dtype: Any = None, device: str | None = None
) -> Tensor:
    """`num` values evenly from start to stop, both included."""
    return _make(lambda xp, kind: xp.linspace(start, stop, num).astype(kind), dtype, device, False)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """The identity matrix (n, m), square by default."""
    return _make(lambda xp, kind: xp.eye(n, m, dtype=kind), dtype, device, False)


def _like(x: Tensor, make: str, *args: Any, dtype: Any = None) -> Tensor:
    return Tensor(getattr(namespaces.namespace(x.data), make)(x.data, *args, dtype=dtype))


def zeros_like(x: Tensor, *, dtype: Any = None) -> Tensor:
    """Zeros of x's shape, dtype and device."""
    return _like(x, "zeros_like", dtype=dtype)


def ones_like(x: Tensor, *, dtype: Any = None) -> Tensor:
    """Ones of x's shape, dtype and device."""
    return _like(x, "ones_like", dtype=dtype)


def full_like(x: Tensor, value: Any, *, dtype: Any = None) -> Tensor:
    """`value` everywhere, in x's shape, dtype and device."""
    return _like(x, "full_like", value, dtype=dtype)


def rand(*shape: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Uniform on [0, 1), from the device's random stream."""
    stream = namespaces.random_stream(device)
    return _make(lambda _, kind: stream.random(_shape(shape)).astype(kind), dtype, device, requires_grad)


def randn(*shape: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Standard normal, from the device's random stream."""
    stream = namespaces.random_stream(device)
    return _make(
        lambda _, kind: stream.standard_normal(_shape(shape)).astype(kind), dtype, device, requires_grad
    )


def randint(low: int, high: int, shape: Any, *, dtype: Any = np.int64, device: str | None = None) -> Tensor:
    """Integers from low to high - 1, from the device's random stream."""
    stream = namespaces.random_stream(device)
    return _make(lambda _, kind: stream.integers(low, high, _shape(_tuple(shape))).astype(kind),
                 dtype, device, False)  # fmt: skip
