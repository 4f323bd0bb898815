"""Compiled loops as machine code on disk, called without Numba.

Numba takes seconds to compile a loop; and to read back what it once compiled it must first load itself, which
takes longer than most trainings of a student. So what it compiles is kept here as an object file, which LLVM
(llvmlite, that comes with Numba) links into the next process in milliseconds. A loop takes three addresses
and lets go of Python's lock while it runs.
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
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_rnn.kernels import products
from tinygrad_rnn.kernels.program import NotCompilable

log = logging.getLogger("tinygrad_rnn")

_one_at_a_time = threading.RLock()
_MATHS = ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "pow")
_OUTSIDE = ("memset", "memcpy", "memmove", *_MATHS, *(name + "f" for name in _MATHS))
"""What machine code may call of the C library."""


@cache
def loop_of(source: str, dtype: str) -> Callable[[int, int, int], Any]:
    """The compiled `loop` of a generated module, from disk or from Numba; raises NotCompilable."""
    with _one_at_a_time:
        linked_products(dtype)
        engine = _linked(_kept("loop", source, lambda: _compiled(source, dtype)))
    call = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 5)(engine.get_function_address("loop"))
    nothing = ctypes.pointer(ctypes.c_void_p())
    return partial(call, nothing, nothing)  # for a result and an error, which loops have not


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
    return target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


def _compiled(source: str, dtype: str) -> bytes:
    """A loop's object file, by Numba."""
    import llvmlite.binding as llvm

    log.info("compiling a recurrent kernel (once; the next process finds it on disk)")
    began = time.perf_counter()
    names: dict[str, Any] = {"__name__": "kernel"}
    exec(compile(source, "<kernel>", "exec"), names)
    (made,) = names["loop"].overloads.values()
    text = made.library.get_llvm_str().replace(made.fndesc.llvm_func_name, "loop")
    module = llvm.parse_assembly(text)
    called = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    missing = called - {*_OUTSIDE, products.MULTIPLY.format(dtype)}
    if missing:
        raise NotCompilable(f"the compiled loop calls {', '.join(sorted(missing))}")
    code = _target().emit_object(module)
    log.info("kernel ready after %.1f s", time.perf_counter() - began)
    return code  # type: ignore[no-any-return]


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
