"""Where the BLAS that NumPy itself uses has its matrix products, for compiled loops to call them."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import itertools
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinygrad_rnn.kernels.program import NotCompilable

_PATTERNS = ("scipy_cblas_{}64_", "cblas_{}64_", "cblas_{}")
"""How builds of BLAS call its C functions; the first two take 64-bit integers."""


class Blas(NamedTuple):
    """Addresses of the two functions for one dtype, and the size of the integers they take."""

    gemm: int
    gemv: int
    bits: int


@lru_cache(maxsize=2)
def find(letter: str) -> Blas:
    """The functions for "s" (float32) or "d" (float64); raises NotCompilable where no BLAS can be found."""
    for library in _libraries():
        for pattern in _PATTERNS:
            names = [pattern.format(letter + name) for name in ("gemm", "gemv")]
            if all(hasattr(library, name) for name in names):
                gemm, gemv = (ctypes.cast(getattr(library, n), ctypes.c_void_p).value or 0 for n in names)
                return Blas(gemm, gemv, 64 if "64_" in pattern else 32)
    raise NotCompilable("no BLAS library found to call from compiled loops")


def _libraries() -> Iterator[ctypes.CDLL]:
    """NumPy's own, where its wheel brings one; then the system's."""
    home = Path(np.__file__).parent
    bundled = [*home.parent.glob("numpy.libs/*blas*"), *home.glob(".dylibs/*blas*")]
    system = map(ctypes.util.find_library, ("openblas", "cblas", "mkl_rt", "Accelerate"))
    for name in filter(None, itertools.chain(map(str, bundled), system)):
        with contextlib.suppress(OSError):
            yield ctypes.CDLL(name)
