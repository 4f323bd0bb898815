"""Loops in LLVM's language as machine code, in memory and on disk.

LLVM (llvmlite, extra "fast") compiles a loop in a tenth of a second. The object file is kept, and linked into
the next process in milliseconds. A loop takes three addresses and lets go of Python's lock while it runs.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_rnn.kernels import products
from tinygrad_rnn.kernels.llvm_emitter import MATHS
from tinygrad_rnn.kernels.program import NotCompilable

log = logging.getLogger("tinygrad_rnn")

_one_at_a_time = threading.RLock()
_OUTSIDE = [name + single for name in MATHS.values() for single in ("", "f")]
"""What machine code may call of the C library."""


@cache
def loop_of(source: str, dtype: str) -> Callable[[int, int, int], Any]:
    """The compiled `loop` of a generated module; raises NotCompilable where there is no C library."""
    with _one_at_a_time:
        linked_products(dtype)
        engine = _linked(_kept("loop", source, lambda: _compiled(source)))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(engine.get_function_address("loop"))


class Products(NamedTuple):
    """The functions of `products` for a dtype."""

    pack: Callable[..., None]
    multiply: Callable[..., None]


@cache
def linked_products(dtype: str) -> Products:
    """`products` for a dtype; from now on loops find its `multiply`, too."""
    import llvmlite.binding as llvm

    with _one_at_a_time:
        text = Path(products.__file__).read_text()
        emit = lambda: _target().emit_object(llvm.parse_assembly(products.source(dtype)))
        engine = _linked(_kept(f"products_{dtype}", text, emit))
    calls = []
    for name, taken in products.TAKEN.items():
        address = engine.get_function_address(name.format(dtype))
        kinds = [ctypes.c_void_p if kind == "a" else ctypes.c_int64 for kind in taken]
        calls.append(ctypes.CFUNCTYPE(None, *kinds)(address))
        llvm.add_symbol(name.format(dtype), address)
    return Products(*calls)


# -- on disk -------------------------------------------------------------------------------------------


def _kept(what: str, source: str, make: Callable[[], bytes]) -> bytes:
    """The object file that `make` makes of a source: from disk, where it has been made before."""
    name = hashlib.sha256("\n".join([source, *_machine()]).encode()).hexdigest()[:20]
    path = _folder() / f"{what}_{name}.o"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(make())
        part.replace(path)
    return path.read_bytes()


def _folder() -> Path:
    """Where kernels are kept: TINYGRAD_RNN_CACHE, the user's cache folder, or a temporary one."""
    named = os.environ.get("TINYGRAD_RNN_CACHE")
    base = (
        Path(named)
        if named
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_rnn"
    )
    try:
        base.mkdir(parents=True, exist_ok=True)
        if os.access(base, os.W_OK):
            return base
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="tinygrad_rnn_"))


def _machine() -> tuple[str, str, str]:
    """LLVM's version, and the processor: code for one runs on no other."""
    import llvmlite
    import llvmlite.binding as llvm

    return llvmlite.__version__, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


# -- LLVM ----------------------------------------------------------------------------------------------


@cache
def _target() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    _, cpu, features = _machine()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(cpu=cpu, features=features, jit=True)


def _compiled(source: str) -> bytes:
    """A loop's object file."""
    import llvmlite.binding as llvm

    log.info("compiling a recurrent kernel (once; the next process finds it on disk)")
    began = time.perf_counter()
    code: bytes = _target().emit_object(llvm.parse_assembly(source))
    log.info("kernel ready after %.1f s", time.perf_counter() - began)
    return code


_engines: list[Any] = []
"""Machine code lives as long as its engine."""


def _linked(code: bytes) -> Any:
    import llvmlite.binding as llvm

    try:
        library = ctypes.CDLL(None if os.name == "posix" else "ucrtbase")
        known = {name: getattr(library, name) for name in _OUTSIDE}
    except (OSError, AttributeError) as error:
        raise NotCompilable(f"no C library found to call from compiled loops: {error}") from error
    for name, function in known.items():
        llvm.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return engine
