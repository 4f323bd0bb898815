"""Which library an array belongs to.

An operation never asks "which backend is on?": it looks at the class of the array in its hand and finds
the library that made it, NumPy or CuPy, in one dictionary. A device is a name for such a library
("cpu", "cuda", "cuda:1"); it matters only where a new array is made out of nothing.

CuPy joins when somebody asks for a CUDA device or passes in a CuPy array. Nothing is imported before. A
thread has one current GPU, on which CuPy computes; it follows the arrays (`namespace`).
"""

from __future__ import annotations

import functools
import importlib
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])
Array = Any
"""An array of any backend: numpy.ndarray, cupy.ndarray."""

SPACES: dict[type, Any] = {np.ndarray: np}
"""Array class → the module whose functions work on it. Other backends register themselves here."""

SCALARS = (bool, int, float)
"""Python's own numbers: they adapt to an array's dtype instead of widening it (NumPy 2)."""


class DeviceError(RuntimeError):
    """A device that is not there, or an operation whose inputs stand on two devices."""


class _Local(threading.local):
    device: str = "cpu"


_local = _Local()
_default_dtype = np.dtype(np.float32)
clock = itertools.count(1)
"""One clock for recorded nodes and in-place writes: whoever takes the smaller number came first."""


# -- namespaces and devices ----------------------------------------------------------------------------


def namespace(array: Array) -> Any:
    """The library that `array` belongs to, ready to compute on its device.

    Raises TypeError for what is no array of a known backend.
    """
    kind = type(array)
    if kind not in SPACES:
        if isinstance(array, np.ndarray):
            return np
        if kind.__module__.partition(".")[0] != "cupy":
            raise TypeError(f"expected an array of a known backend (numpy, cupy), got {kind.__name__}")
        _cupy()
    xp = SPACES[kind]
    if xp is not np and array.device.id != xp.cuda.runtime.getDevice():
        array.device.use()
    return xp


def device_of(array: Array) -> str:
    """The device an array lives on: "cpu", "cuda:0", …"""
    if isinstance(array, np.ndarray):
        return "cpu"
    device = array.device
    return f"cuda:{device.id}" if hasattr(device, "id") else str(device)


def _cupy() -> Any:
    """CuPy, checked to have a usable device, and registered; DeviceError says what is missing."""
    try:
        cupy = importlib.import_module("cupy")
    except ModuleNotFoundError as missing:
        raise DeviceError(
            "device 'cuda' needs CuPy, which is missing: pip install 'tinygrad-rnn[cuda12]' or '[cuda13]'"
        ) from missing
    except ImportError as broken:
        said = str(broken).strip().partition("\n")[0]
        raise DeviceError(f"device 'cuda' needs CuPy, which is installed but not whole: {said}") from broken
    if cupy.ndarray not in SPACES:
        _check_driver(cupy.cuda.runtime)
        SPACES[cupy.ndarray] = cupy
    return cupy


def _check_driver(runtime: Any) -> None:
    """DeviceError where CuPy's CUDA runtime finds no driver, one that is too old for it, or no device."""
    driver, made_for = cuda_versions(runtime)
    extra = f"tinygrad-rnn[cuda{driver.partition('.')[0]}]"
    if driver == "0.0":
        raise DeviceError("device 'cuda' needs an NVIDIA driver, and there is none (does nvidia-smi run?)")
    try:
        count = runtime.getDeviceCount()
    except Exception as broken:
        said = f"needs a working CUDA driver; CuPy reports: {broken}"
        if "InsufficientDriver" in str(broken):
            said = (
                f"needs a CuPy that fits the driver: this one is made for CUDA {made_for}, the driver "
                f"reaches {driver}; update the driver, or pip install '{extra}'"
            )
        raise DeviceError(f"device 'cuda' {said}") from broken
    if count == 0:
        raise DeviceError("device 'cuda' needs a CUDA device; the driver reports none")


def cuda_versions(runtime: Any) -> list[str]:
    """The CUDA that the driver reaches ("0.0" without one), and the one that CuPy is made for."""
    versions = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    return [f"{v // 1000}.{v % 1000 // 10}" for v in versions]


def cuda_available() -> bool:
    """True where CuPy, a driver and a device are all there."""
    try:
        _cupy()
    except DeviceError:
        return False
    return True


def library(device: str | None = None) -> Any:
    """The array library of a device name ("cpu", "cuda", "cuda:1"); raises DeviceError otherwise."""
    name = _local.device if device is None else device
    if name == "cpu":
        return np
    kind, _, index = name.partition(":") if isinstance(name, str) else (None, "", "")
    if kind != "cuda" or (":" in name and not index.isdigit()):
        raise DeviceError(f"expected device 'cpu', 'cuda' or 'cuda:N', got {name!r}")
    cupy = _cupy()
    count = cupy.cuda.runtime.getDeviceCount()
    if int(index or 0) >= count:
        raise DeviceError(f"device {name!r} does not exist; the driver reports {count} device(s)")
    return cupy


def on_device(device: str | None, make: Callable[[Any], Array]) -> Array:
    """Run `make(library)` with that device current."""
    name = _local.device if device is None else device
    xp = library(name)
    if xp is np:
        return make(np)
    with xp.cuda.Device(int(name.partition(":")[2] or 0)):
        try:
            return make(xp)
        except MemoryError as short:
            raise out_of_memory(short, xp) from short


def out_of_memory(short: MemoryError, xp: Any) -> MemoryError:
    """What a GPU's allocator said, with how much is free there and what to try."""
    if xp is np:
        return short
    free, total = xp.cuda.runtime.memGetInfo()
    free += xp.get_default_memory_pool().free_bytes()
    gib = [f"{n / 2**30:.2f}" for n in (free, total)]
    return MemoryError(
        f"{str(short).rstrip('.')}; {gib[0]} of {gib[1]} GiB are free on cuda:{xp.cuda.runtime.getDevice()}: "
        "try a smaller batch, shorter sequences (tg.tbptt), tg.checkpoint_sequence, or no_grad where no "
        "gradient is needed"
    )


def explaining_memory(function: F) -> F:
    """The function; where a GPU has too little memory for it, the error says how much, and what to try.

    >>> @explaining_memory
    ... def double(x):
    ...     return x + x
    >>> double(2)
    4
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except MemoryError as short:
            for xp in SPACES.values():
                if xp is not np and isinstance(short, xp.cuda.memory.OutOfMemoryError):
                    raise out_of_memory(short, xp) from short
            raise

    return cast(F, call)


def to_device(array: Array, device: str) -> Array:
    """The array on that device; itself where it already is there.

    An array from the host goes by way of CuPy's pinned buffers: the call does not wait for the transfer.
    """
    here = device_of(array)
    if here == device or (device == "cuda" and here.startswith("cuda")):
        library(device)
        return array
    if device == "cpu":
        return to_numpy(array)
    moved = on_device(device, lambda xp: xp.asarray(array))
    namespace(moved)
    return moved


def on_host(array: Array) -> bool:
    """Whether the host can look at the values without waiting for a device."""
    return isinstance(array, np.ndarray)


def to_numpy(array: Array) -> np.ndarray:
    """The array on the host, copied there if need be."""
    return array if isinstance(array, np.ndarray) else array.get()


def get_default_device() -> str:
    """The device on which new arrays are made."""
    return _local.device


def set_default_device(device: str) -> None:
    """Make new arrays on `device` from now on, in this thread; DeviceError where it does not exist."""
    library(device)
    _local.device = device


@contextmanager
def device(name: str) -> Iterator[None]:
    """Make new arrays on device `name` inside the `with` block.

    >>> import tinygrad_rnn as tg
    >>> with tg.device("cpu"):
    ...     tg.zeros(2).device
    'cpu'
    """
    before = _local.device
    set_default_device(name)
    try:
        yield
    finally:
        _local.device = before


def synchronize() -> None:
    """Wait until the default device has finished all that it was given."""
    xp = library()
    if xp is not np:
        xp.cuda.get_current_stream().synchronize()


# -- dtypes --------------------------------------------------------------------------------------------


def get_default_dtype() -> np.dtype[Any]:
    """The dtype that Python floats and lists become; float32 at first, as in PyTorch."""
    return _default_dtype


def set_default_dtype(dtype: Any) -> None:
    """Let Python floats and lists become `dtype` from now on; a floating dtype, else TypeError."""
    global _default_dtype
    wanted = np.dtype(dtype)
    if wanted.kind != "f":
        raise TypeError(f"expected a floating dtype, got {wanted}")
    _default_dtype = wanted


def asarray(data: Any, dtype: Any = None, device: str | None = None) -> Array:
    """Data of any kind as a backend array: arrays keep dtype and device, Python floats get the default."""
    known = type(data) in SPACES or type(data).__module__.partition(".")[0] == "cupy"
    if known and device is None:
        xp = namespace(data)
        return data if dtype is None or data.dtype == dtype else xp.asarray(data, dtype=dtype)
    if known:
        data = to_device(data, device or "cpu")
        return data if dtype is None else namespace(data).asarray(data, dtype=dtype)
    host = np.asarray(data)
    if host.dtype.kind not in "fiub":
        raise TypeError(f"expected numbers (float, int or bool), got {host.dtype} from {type(data).__name__}")
    if dtype is None and host.dtype.kind == "f" and not isinstance(data, np.generic | np.ndarray):
        dtype = _default_dtype
    return on_device(device, lambda xp: xp.asarray(host, dtype=dtype))


# -- random streams ------------------------------------------------------------------------------------

_streams: dict[str, Any] = {}
_untouched: dict[str, int] = {}
"""Streams that do not show their state and have not been drawn from, and the seed that each started from."""
_seed: int | None = None


def manual_seed(seed: int) -> None:
    """Restart the random stream of every device from `seed`.

    >>> import tinygrad_rnn as tg
    >>> tg.manual_seed(7); a = tg.rand(2); tg.manual_seed(7); b = tg.rand(2)
    >>> bool((a == b).all())
    True
    """
    global _seed
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise TypeError(f"expected a seed that is an integer ≥ 0, got {seed!r}")
    _seed = int(seed)
    _streams.clear()
    _untouched.clear()


def random_stream(device: str | None = None) -> Any:
    """The device's random generator. Streams of different devices differ, also from the same seed."""
    name = _stream_of(device)
    if name not in _streams:
        _streams[name] = _stream(name, _seed)
    _untouched.pop(name, None)
    return _streams[name]


def _stream_of(device: str | None) -> str:
    name = _local.device if device is None else device
    return "cuda:0" if name == "cuda" else name


def random_state() -> dict[str, Any]:
    """Where every random stream stands now, for `set_random_state` and `random_replayed`."""
    if _stream_of(None) not in _streams:
        random_stream()
    return {name: _state(name, stream) for name, stream in list(_streams.items())}


def _state(name: str, stream: Any) -> Any:
    """A NumPy stream's state; others do not show theirs, so such a stream starts anew from a seed."""
    if isinstance(stream, np.random.Generator):
        return stream.bit_generator.state
    if name not in _untouched:
        _untouched[name] = int(random_stream("cpu").integers(2**63))
        _streams[name] = _stream(name, _untouched[name])
    return _untouched[name]


def _stream(name: str, seed: int | None) -> Any:
    return on_device(name, lambda xp: xp.random.default_rng(seed))


def set_random_state(states: dict[str, Any]) -> None:
    """Put the random streams where they stood at `random_state()`."""
    for name, state in states.items():
        _streams[name] = _stream(name, 0 if isinstance(state, dict) else state)
        if isinstance(state, dict):
            _streams[name].bit_generator.state = state
        else:
            _untouched[name] = state


@contextmanager
def random_replayed(states: dict[str, Any]) -> Iterator[None]:
    """Draw again, inside the `with` block, what was drawn after `random_state()`; then go on as before it."""
    before, untouched = dict(_streams), dict(_untouched)
    set_random_state(states)
    try:
        yield
    finally:
        for kept, then in ((_streams, before), (_untouched, untouched)):
            kept.clear()
            kept.update(then)


# -- in-place writes -----------------------------------------------------------------------------------

_written: dict[int, tuple[Any, int]] = {}
last_write = [0]
"""The time of the latest in-place write: a node recorded after it need not look any further."""


def _owner(array: Array) -> Array:
    """The array whose memory this one is a view of."""
    while getattr(array, "base", None) is not None and isinstance(array.base, tuple(SPACES)):
        array = array.base
    return array


def note_write(array: Array) -> None:
    """Remember that `array`'s memory was changed in place now."""
    owner = _owner(array)
    key = id(owner)
    last_write[0] = next(clock)
    _written[key] = (weakref.ref(owner, lambda _: _written.pop(key, None)), last_write[0])


def written_after(array: Array, time: int) -> bool:
    """Whether `array`'s memory was changed in place after `time`."""
    if type(array) not in SPACES:
        return False
    entry = _written.get(id(_owner(array)))
    return entry is not None and entry[1] > time
