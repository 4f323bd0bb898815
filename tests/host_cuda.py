"""CUDA C run on the host: a kernel is compiled as C++, and a loop over its threads replaces the device.

Threads that wait for each other (`__syncthreads`, a counter that another block raises) are fibers. Each runs
as far as it can before the next one does: whoever need not wait is far ahead, and a wait that is missing
shows in the numbers. In every other launch a block goes as far as it can before the next block, once from
the first to the last and once back; in the others all threads go in an order that is another one each time.
Where all wait for ever, or write beyond shared memory, the launch fails. Shared memory begins as NaN.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from functools import cache, lru_cache
from pathlib import Path
from types import SimpleNamespace
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
FIBERS = r"""
#include <ucontext.h>
namespace host {
enum { MARGIN = 1 << 12 };   // behind the shared memory; what is written there is no longer NaN
struct Fiber { ucontext_t context; char stack[1 << 16]; bool done; };
struct Block { double *memory; int waiting, meetings; };   // at __syncthreads: how many, how often all
static ucontext_t home;
static Fiber *current;
static Block *blocks;
static long progress;
static void (*body)();

static void wait() { swapcontext(&current->context, &home); }
static void start() { body(); current->done = true; progress++; wait(); }
static unsigned *watched(unsigned *counter) { wait(); return counter; }

static void go_on(Fiber *fibers, int b, int i)
{
    current = fibers + b * blockDim.x + i, blockIdx.x = b, threadIdx.x = i;
    if (!current->done) swapcontext(&home, &current->context);
}
static void go_on(Fiber *fibers, int b)
{
    for (long before = -1; before != progress;) {
        before = progress;
        for (int i = 0; i < blockDim.x; i++) go_on(fibers, b, i);
    }
}

static int run(int grid, size_t shared)
{
    static int launches, turns;
    launches++;
    Fiber *fibers = new Fiber[grid * blockDim.x];
    blocks = new Block[grid]();
    for (int b = 0; b < grid; b++) {
        blocks[b].memory = new double[shared / 8 + MARGIN];
        for (size_t i = 0; i < shared / 8 + MARGIN; i++) blocks[b].memory[i] = NAN;
    }
    for (Fiber *fiber = fibers; fiber < fibers + grid * blockDim.x; fiber++) {
        fiber->done = false;
        getcontext(&fiber->context);
        fiber->context.uc_stack.ss_sp = fiber->stack, fiber->context.uc_stack.ss_size = sizeof fiber->stack;
        makecontext(&fiber->context, start, 0);
    }
    for (long before = -1; before != progress;) {
        before = progress, turns++;
        if (launches % 2) {
            for (int b = 0; b < grid; b++) go_on(fibers, b);
            for (int b = grid; b-- > 0;) go_on(fibers, b);
        } else
            for (int i = 0, all = grid * blockDim.x; i < all; i++) {
                int one = (i * 7919L + turns * 104729L) % all;   // each once, since 7919 is prime
                go_on(fibers, one / blockDim.x, one % blockDim.x);
            }
    }
    int left = 0;
    for (int i = 0; i < grid * blockDim.x; i++) left += !fibers[i].done;
    for (int b = 0; b < grid; b++) {
        for (int i = 1; i < MARGIN; i++) left += !std::isnan(blocks[b].memory[shared / 8 + i]);
        delete[] blocks[b].memory;
    }
    delete[] blocks;
    delete[] fibers;
    return left;
}
}
static void __syncthreads()
{
    host::Block &block = host::blocks[blockIdx.x];
    int now = block.meetings;
    if (++block.waiting == blockDim.x) block.waiting = 0, block.meetings++, host::progress++;
    while (block.meetings == now) host::wait();
}
static unsigned atomicAdd(unsigned *counter, unsigned by)
{
    host::progress++;
    return (*counter += by) - by;
}
static void __threadfence() {}
template <class T> static T __ldcg(const T *p) { return *p; }
"""
ON_THE_HOST = {
    "#include <cuda_fp16.h>": "typedef _Float16 __half;",
    "extern __shared__ double shared[];": "double *shared = host::blocks[blockIdx.x].memory;",
    "*(volatile unsigned *)arrived": "*host::watched(arrived)",
}
COMPILER = shutil.which("g++")


@lru_cache(maxsize=1)
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="host_cuda_"))


@cache
def compiled(source: str) -> ctypes.CDLL:
    """The source's kernels as functions `run_name(grid, block, …)` of a library."""
    together = "__syncthreads" in source
    callers = []
    for name, arguments in re.findall(r"__global__ void (\w+)\(([^)]*)\)", source):
        names = ", ".join(a.split()[-1].lstrip("*") for a in arguments.split(","))
        one_by_one = (
            "  for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++)\n"
            f"    for (threadIdx.x = 0; threadIdx.x < block; threadIdx.x++) {name}({names});\n  return 0;"
        )
        in_turns = (
            f"  auto body = [&] {{ {name}({names}); }};\n  static decltype(body) *given; given = &body;\n"
            "  host::body = [] { (*given)(); };\n  return host::run(grid, shared);"
        )
        callers.append(
            f'extern "C" int run_{name}(int grid, int block, size_t shared, {arguments}) {{\n'
            f"  blockDim.x = block;\n{in_turns if together else one_by_one} }}"
        )
    path = _folder() / f"{hashlib.sha256(source.encode()).hexdigest()[:20]}.so"
    file = path.with_suffix(".cpp")
    for there, here in ON_THE_HOST.items():
        source = source.replace(there, here)
    head = HEAD + FIBERS * together
    file.write_text("\n".join([head, source, *callers]), encoding="utf-8")
    command = [COMPILER or "g++", "-O1", "-shared", "-fPIC", "-o", str(path), str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ctypes.CDLL(str(path))


class RawModule:
    """CuPy's RawModule, compiled for the host."""

    def __init__(
        self, *, code: str, options: tuple[str, ...] = (), enable_cooperative_groups: bool = False
    ) -> None:
        self.code, self.together = code, enable_cooperative_groups

    def get_function(self, name: str) -> Any:
        return Kernel(name, self.code, self.together)


class Kernel:
    """CuPy's RawKernel: called with a grid, a block and the arguments, which must have their exact types."""

    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, name: str, source: str, together: bool) -> None:
        self.name, self.source, self.together = name, source, together
        (arguments,) = re.findall(rf"__global__ void {name}\(([^)]*)\)", source)
        self.types = [a.rpartition(" ")[0].strip() + "*" * ("*" in a) for a in arguments.split(",")]
        self.kernel = SimpleNamespace(ptr=id(self))

    def __call__(
        self, grid: tuple[int], block: tuple[int], args: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        from tests.strict import BLOCKS
        from tests.strict_device import run_kernel

        assert len(args) == len(self.types), f"{self.name} takes {len(self.types)} arguments, got {len(args)}"
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        assert self.together == ("__syncthreads" in self.source)
        assert grid[0] <= BLOCKS or not self.together, f"{grid[0]} blocks would wait for each other for ever"
        function = getattr(compiled(self.source), f"run_{self.name}")
        given: list[Any] = []
        for kind, value in zip(self.types, args, strict=True):
            if kind == "int":
                assert type(value) is np.int32, f"{self.name}: CuPy passes {type(value).__name__} as 8 bytes"
                given.append(ctypes.c_int(int(value)))
            else:
                assert value.flags.c_contiguous, f"{self.name}: expected contiguous rows"
                given.append(ctypes.c_void_p(value.data.ptr))
        run_kernel(function, grid[0], block[0], ctypes.c_size_t(shared_mem), *given)
