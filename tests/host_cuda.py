"""CUDA C run on the host: a kernel is compiled as C++, and a loop over its threads replaces the device."""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

HEAD = """\
#include <cmath>
using namespace std;
#define __global__
#define __device__
#define __restrict__ __restrict
static thread_local struct { int x; } blockIdx, blockDim, threadIdx;
"""
COMPILER = shutil.which("g++")


@lru_cache(maxsize=1)
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="host_cuda_"))


@cache
def compiled(source: str) -> ctypes.CDLL:
    """The source's kernels as functions `run_name(grid, block, …)` of a library."""
    callers = []
    for name, arguments in re.findall(r"__global__ void (\w+)\(([^)]*)\)", source):
        names = ", ".join(a.split()[-1].lstrip("*") for a in arguments.split(","))
        callers.append(
            f'extern "C" void run_{name}(int grid, int block, {arguments}) {{ blockDim.x = block;\n'
            "  for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++)\n"
            f"    for (threadIdx.x = 0; threadIdx.x < block; threadIdx.x++) {name}({names}); }}"
        )
    path = _folder() / f"{hashlib.sha256(source.encode()).hexdigest()[:20]}.so"
    file = path.with_suffix(".cpp")
    file.write_text(HEAD + source.replace("#include <cuda_fp16.h>", "typedef _Float16 __half;")
                    + "\n".join(callers), encoding="utf-8")  # fmt: skip
    command = [COMPILER or "g++", "-O1", "-shared", "-fPIC", "-o", str(path), str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ctypes.CDLL(str(path))


class RawModule:
    """CuPy's RawModule, compiled for the host."""

    def __init__(self, *, code: str, options: tuple[str, ...] = ()) -> None:
        self.code = code

    def get_function(self, name: str) -> Any:
        return Kernel(name, self.code)


class Kernel:
    """CuPy's RawKernel: called with a grid, a block and the arguments, which must have their exact types."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source
        (arguments,) = re.findall(rf"__global__ void {name}\(([^)]*)\)", source)
        self.types = [a.rpartition(" ")[0].strip() for a in arguments.split(",")]

    def __call__(self, grid: tuple[int], block: tuple[int], args: tuple[Any, ...]) -> None:
        from tests.strict import run_kernel

        assert len(args) == len(self.types), f"{self.name} takes {len(self.types)} arguments, got {len(args)}"
        function = getattr(compiled(self.source), f"run_{self.name}")
        given: list[Any] = []
        for kind, value in zip(self.types, args, strict=True):
            if kind == "int":
                assert type(value) is np.int32, f"{self.name}: CuPy passes {type(value).__name__} as 8 bytes"
                given.append(ctypes.c_int(int(value)))
            else:
                assert value.flags.c_contiguous, f"{self.name}: expected contiguous rows"
                given.append(ctypes.c_void_p(value.data.ptr))
        run_kernel(function, grid[0], block[0], *given)
