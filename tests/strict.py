"""A stand-in for CuPy where there is no GPU: NumPy underneath, as unforgiving as a device.

`installed()` puts modules called "cupy" and "cupyx" into `sys.modules`, so that the library finds them as it
would find CuPy. They have the functions of CuPy that the library uses, and no others. Their arrays refuse
what a device array cannot do or should not be asked:

- implicit conversion to NumPy, to a Python number or to a truth value: TypeError;
- arithmetic with a host array, and with arrays of a GPU that is not the current one: TypeError, ValueError;
- work that CuPy has no kernel for: integer `add.at`, keywords that only NumPy knows.

What may be asked but makes the program wait or moves data is counted in `counts`: "sync" (`item`, `get`, a
boolean index, …), "upload", "download"; and what the device was given: "launch", "kernel", "graph".
Devices, streams and graphs are `tests.strict_device`'s.
Kernels (`RawModule`) are compiled as C++ by `tests.host_cuda` and run in the place of the device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.host_cuda import RawModule
from tests.strict_device import GPUS, Device, Graph, Stream, counts, current, wait
from tinygrad_rnn import namespaces


@contextmanager
def installed() -> Iterator[ModuleType]:
    """`import cupy` gives the stand-in, inside the `with` block."""
    ours = {name: module for name, module in MODULES.items()}
    before = {name: sys.modules.get(name) for name in ours}
    sys.modules.update(ours)
    try:
        yield cupy
    finally:
        current.device = 0
        namespaces.SPACES.pop(ndarray, None)
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def words(text: str) -> list[str]:
    return text.split()


# -- arrays --------------------------------------------------------------------------------------------


def _refused(what: str) -> Callable[..., Any]:
    def refuse(self: Any, *_: Any, **__: Any) -> Any:
        raise TypeError(f"implicit {what} of a device array: the program would wait for the device here")

    return refuse


def _operator(name: str) -> Callable[..., Any]:
    method = getattr(np.ndarray, f"__{name}__")

    def operate(self: ndarray, *others: Any) -> Any:
        if any(type(o) is not ndarray and getattr(o, "__array_ufunc__", 0) is None for o in others):
            return NotImplemented  # as NumPy's and CuPy's arrays do
        return _run(method, (self, *others), {})

    return operate


def _in_place(name: str) -> Callable[..., Any]:
    method = getattr(np.ndarray, f"__{name}__")

    def operate(self: ndarray, other: Any) -> ndarray:
        _run(method, (self, other), {})
        return self

    return operate


def _method(name: str) -> Callable[..., Any]:
    def call(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        return _run(getattr(np.ndarray, name), (self, *args), kwargs)

    return call


class ndarray:
    """An array of the device."""

    __slots__ = ("__weakref__", "base", "device", "host", "made", "readers")
    __array_ufunc__ = None

    def __init__(self, host: np.ndarray, device: int, base: ndarray | None = None) -> None:
        self.host, self.device, self.base = host, Device(device), base
        self.made, self.readers = (
            current.stream.allocate() if base is None else (base.made, base.readers)
        )

    def __del__(self) -> None:
        if getattr(self, "readers", None) and self.base is None:
            self.made[0].freed.append(self.readers)

    shape = property(lambda self: self.host.shape)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    dtype = property(lambda self: self.host.dtype)
    strides = property(lambda self: self.host.strides)
    nbytes = property(lambda self: self.host.nbytes)
    itemsize = property(lambda self: self.host.itemsize)
    flags = property(lambda self: self.host.flags)
    T = property(lambda self: _run(np.transpose, (self,), {}))
    mT = property(lambda self: _run(np.swapaxes, (self, -1, -2), {}))
    data = property(lambda self: SimpleNamespace(ptr=self.host.ctypes.data, device_id=self.device.id))

    __array__ = _refused("conversion to NumPy")
    __bool__ = _refused("truth value")
    __float__ = _refused("conversion to a number")
    __int__ = _refused("conversion to a number")
    __index__ = _refused("conversion to a number")
    __hash__ = None  # type: ignore[assignment]  # how Python says that there is none

    def item(self, *at: int) -> Any:
        wait("download")
        return self.host.item(*at)

    def tolist(self) -> Any:
        wait("download")
        return self.host.tolist()

    def get(self) -> np.ndarray:
        wait("download")
        return self.host.copy()

    def set(self, host: np.ndarray) -> None:
        counts["upload"] += 1
        self.host[...] = host

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> ndarray:
        return _run(lambda a, k: a[k], (self, _key(key)), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        _run(lambda a, k, v: a.__setitem__(k, v), (self, _key(key), value), {})

    def __reduce__(self) -> Any:
        return asarray, (self.get(),)

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()  # type: ignore[attr-defined]  # NumPy's methods are attached by name

    def __repr__(self) -> str:
        return f"strict{self.shape}"


ndarray.__module__ = "cupy"
for _name in words("""
    add sub mul truediv floordiv mod pow matmul and or xor lshift rshift radd rsub rmul rtruediv
    rfloordiv rmod rpow rmatmul rand ror rxor lt le gt ge eq ne neg pos abs invert
"""):
    setattr(ndarray, f"__{_name}__", _operator(_name))
for _name in words("""
    iadd isub imul itruediv ifloordiv imod ipow iand ior ixor
"""):
    setattr(ndarray, f"__{_name}__", _in_place(_name))
for _name in words("""
    all any argmax argmin argsort astype clip copy cumprod cumsum diagonal dot fill flatten max mean
    min nonzero prod ravel repeat reshape round sort squeeze std sum swapaxes take trace transpose
    var view
"""):
    setattr(ndarray, _name, _method(_name))


def _key(key: Any) -> Any:
    """An index; lists and host arrays are uploaded, as CuPy does, and a mask makes the program wait."""
    parts = key if isinstance(key, tuple) else (key,)
    made = []
    for part in parts:
        if isinstance(part, list | np.ndarray):
            part = asarray(np.asarray(part, dtype=None if np.size(part) else np.int32))
        if isinstance(part, ndarray) and part.dtype == bool:
            wait()
        made.append(part)
    return tuple(made) if isinstance(key, tuple) else made[0]


# -- running NumPy on them -----------------------------------------------------------------------------

_KEYWORDS = frozenset(
    words("""
    axis keepdims dtype out ddof mode constant_values optimize copy shape strides kind order offset
    axis1 axis2 k ord decimals start stop step num
""")
)
"""The keywords that CuPy's functions take as NumPy's do; what NumPy alone has (initial, where) is missing."""


def _run(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A NumPy function on what stands behind device arrays."""
    if not kwargs.keys() <= _KEYWORDS:
        raise TypeError(f"CuPy does not know {sorted(kwargs.keys() - _KEYWORDS)}")
    owners: dict[int, ndarray] = {}
    given, named = _hosted(args, owners), {k: _hosted(v, owners) for k, v in kwargs.items()}
    counts["launch"] += 1
    current.stream.clock += 1
    if current.graph is not None and "out" in kwargs:
        if not named["out"].flags.c_contiguous:
            raise RuntimeError("expected a contiguous result while a stream is being captured")
        current.graph.record(function, given, named)
        return kwargs["out"]
    with np.errstate(all="ignore"):
        made = function(*given, **named)
    if current.graph is not None and (made is None or id(_root(made)) not in owners):
        raise RuntimeError("expected no new array and no write while a stream is being captured")
    return kwargs.get("out") if kwargs.get("out") is not None else _wrapped(made, owners)


def _hosted(value: Any, owners: dict[int, ndarray]) -> Any:
    """The NumPy arrays in an argument; `owners` is told whose memory they are."""
    if type(value) is ndarray:
        if value.device.id != current.device:
            there = f"{value.device.id}, current is {current.device}"
            raise ValueError(f"array device must be the current device: array on {there}")
        owners[id(_root(value.host))] = value if value.base is None else value.base
        if value.made[0] is not current.stream and current.graph is None:
            current.stream.expect(*value.made)
            value.readers[current.stream] = current.stream.clock
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if type(value) in (tuple, list):
        return type(value)(_hosted(v, owners) for v in value)
    return value


def _wrapped(value: Any, owners: dict[int, ndarray]) -> Any:
    """The device arrays for a result, which may be views of arguments."""
    if isinstance(value, tuple | list):
        return tuple(_wrapped(v, owners) for v in value)
    if not isinstance(value, np.ndarray | np.generic):
        return value
    host = np.asarray(value)
    return ndarray(host, current.device, owners.get(id(_root(host))))


def _root(host: Any) -> Any:
    while getattr(host, "base", None) is not None:
        host = host.base
    return host


class _Function:
    """One of NumPy's functions, on device arrays."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _run(self.function, args, kwargs)

    def at(self, a: ndarray, key: Any, value: Any) -> None:
        if a.dtype.name not in ("int32", "uint32", "uint64", "float16", "float32", "float64"):
            raise TypeError("scatter_add only supports int32, float16, float32, float64, uint32, uint64")
        _run(self.function.at, (a, _key(key), value), {})


def asarray(data: Any, dtype: Any = None, copy: bool | None = None) -> ndarray:
    """An array on the current device: from the host by an upload, from another GPU by a copy."""
    if not isinstance(data, ndarray):
        if isinstance(data, list | tuple) and any(isinstance(d, ndarray) for d in data):
            data = [d.get() for d in data]
        counts["upload"] += 1
        return ndarray(np.array(data, dtype=dtype), current.device)
    if data.device.id != current.device:
        return ndarray(data.host.astype(dtype or data.dtype), current.device)
    if copy or (dtype is not None and data.dtype != dtype):
        return ndarray(data.host.astype(dtype or data.dtype), current.device)
    return data


def array(data: Any, dtype: Any = None, copy: bool = True) -> ndarray:
    return asarray(data, dtype, copy or None)


def ascontiguousarray(data: ndarray) -> ndarray:
    return data if data.flags.c_contiguous else data.copy()  # type: ignore[attr-defined]  # as above


class Generator:
    """Random numbers of the device; its state cannot be read."""

    def __init__(self, seed: int | None) -> None:
        self._inner = np.random.default_rng(seed)

    def random(self, size: Any = None, dtype: Any = np.float64) -> ndarray:
        return ndarray(np.asarray(self._inner.random(size, dtype)), current.device)

    def standard_normal(self, size: Any = None, dtype: Any = np.float64) -> ndarray:
        return ndarray(np.asarray(self._inner.standard_normal(size, dtype)), current.device)

    def integers(self, low: int, high: int | None = None, size: Any = None, dtype: Any = np.int64) -> ndarray:
        return ndarray(np.asarray(self._inner.integers(low, high, size, dtype)), current.device)


# -- the modules ---------------------------------------------------------------------------------------

FUNCTIONS = words("""
    abs add all any arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin
    argsort bitwise_and bitwise_or bitwise_xor broadcast_to ceil clip concatenate cos cosh cumprod
    cumsum diagonal divide einsum empty empty_like equal exp expand_dims expm1 eye flip floor
    floor_divide full full_like greater greater_equal invert isfinite isinf isnan less less_equal
    linspace log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul
    max maximum mean min minimum moveaxis multiply negative not_equal ones ones_like pad
    permute_dims power prod remainder reshape roll round shares_memory sign sin sinh split sqrt square squeeze
    stack std subtract sum swapaxes take tan tanh tile transpose tril triu var where zeros
    zeros_like
""")


def _module(name: str, **names: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(names)
    return made


class OutOfMemoryError(MemoryError):
    """CuPy's."""


BLOCKS = 4
"""So many blocks of a kernel run at the same time: one on each processor."""
attributes = {"CooperativeLaunch": 0, "MaxSharedMemoryPerBlockOptin": 64 << 10, "MultiProcessorCount": BLOCKS}
"""What the device can; a test may change it."""

_runtime = SimpleNamespace(
    **{f"cudaDevAttr{name}": name for name in attributes},
    deviceGetAttribute=lambda name, number: attributes[name],
    getDeviceCount=lambda: GPUS, getDevice=lambda: current.device,
    driverGetVersion=lambda: 13000, runtimeGetVersion=lambda: 12090,
    memGetInfo=lambda: (3 << 30, 16 << 30),
    getDeviceProperties=lambda number: {"name": b"Strict stand-in", "multiProcessorCount": BLOCKS},
)  # fmt: skip
_erf = np.frompyfunc(__import__("math").erf, 1, 1)

cupy = _module(
    "cupy",
    **{name: _Function(getattr(np, name)) for name in FUNCTIONS},
    __version__="14.2.0", ndarray=ndarray, array=array, asarray=asarray, ascontiguousarray=ascontiguousarray,
    finfo=np.finfo, iinfo=np.iinfo, RawModule=RawModule,
    get_default_memory_pool=lambda: SimpleNamespace(free_bytes=lambda: 1 << 30),
    linalg=_module("cupy.linalg", norm=_Function(np.linalg.norm),
                   qr=_Function(np.linalg.qr)),
    lib=_module("cupy.lib", stride_tricks=SimpleNamespace(
        as_strided=_Function(np.lib.stride_tricks.as_strided))),
    random=_module("cupy.random", default_rng=Generator, Generator=Generator),
    cuda=_module(
        "cupy.cuda", runtime=_runtime, Device=Device, Stream=Stream, Graph=Graph,
        driver=SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=lambda kernel, threads, shared: 1),
        get_current_stream=lambda: current.stream, memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    ),
)  # fmt: skip
MODULES = {
    "cupy": cupy,
    "cupyx": _module("cupyx"),
    "cupyx.scipy": _module("cupyx.scipy"),
    "cupyx.scipy.special": _module(
        "cupyx.scipy.special",
        erf=_Function(lambda x: np.asarray(_erf(x)).astype(x.dtype if x.dtype.kind == "f" else float)),
    ),
}
