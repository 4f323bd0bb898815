"""How many threads the array libraries may take, which they read when they are first imported."""

from __future__ import annotations

import os
import sys


def limited(count: int) -> dict[str, str]:
    """The environment of a process with so many threads for BLAS, OpenMP and XLA.

    OpenBLAS's sleep after a product; as it comes, they spin for 20 ms and take the processors from others.
    """
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    one = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if count == 1 else {}
    return {**os.environ, **dict.fromkeys(names, str(count)), "OPENBLAS_THREAD_TIMEOUT": "4", **one}


def restart_limited(count: int) -> None:
    """Begin this program again with so many threads, unless that is how it was begun."""
    if limited(count) != dict(os.environ):
        os.execve(sys.executable, sys.orig_argv, limited(count))
