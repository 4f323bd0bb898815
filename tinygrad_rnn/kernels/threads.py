"""How many threads loops and BLAS may use, and what loops share out.

The two directions of a layer have nothing to do with each other, so forward they run at once. Neither have
the rows of a batch within a loop over time, forward or backward. So a loop runs in several threads, some of
the rows in each from the first step to the last: nobody waits for anybody on the way, and the result is the
same to the last bit.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

_TOGETHER = 4
"""`products` takes so many rows at a time."""
_WORTH = 1 << 23
"""Multiplications (a fifth of a millisecond) that are worth waking a thread for."""


def _allowed() -> int:
    named = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if named.isdigit() and int(named):
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_number = _allowed()


@cache
def _pool(within: bool) -> Any:
    """It starts a thread when it needs one; those of the other pool may wait for those `within` them."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(256, "tinygrad_rnn")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads stay behind


def get_num_threads() -> int:
    """How many threads the loops of recurrent layers use: OMP_NUM_THREADS at first, or one per processor.

    >>> import tinygrad_rnn as tg
    >>> tg.get_num_threads() >= 1
    True
    """
    return _number


def set_num_threads(number: int) -> None:
    """Let the loops of recurrent layers use so many threads.

    Compiled loops give the same numbers whatever it is, NumPy's the same up to rounding, since BLAS does
    their products. It says nothing to BLAS itself, which reads OMP_NUM_THREADS when NumPy is imported.
    OpenBLAS's threads spin for 20 ms after a product and take the processors from the loops, unless
    OPENBLAS_THREAD_TIMEOUT is 4 by then. Raises TypeError for what is no whole number, ValueError below 1.

    >>> import tinygrad_rnn as tg
    >>> tg.set_num_threads(2)
    >>> tg.get_num_threads()
    2
    """
    global _number
    if not isinstance(number, int):
        raise TypeError(f"expected a whole number of threads, got {number!r}")
    if number < 1:
        raise ValueError(f"expected at least one thread, got {number}")
    _number = number


@cache
def _blas() -> list[Any]:
    """The BLAS libraries of this process."""
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


class _OneBlasThread:
    """While somebody is in this context, BLAS multiplies in the thread that calls it.

    To wake others takes longer than a product of a few rows; and they would take the processors from threads
    that call BLAS themselves.
    """

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0
        self.before: list[tuple[Any, int]] = []

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.before = [(library, library.get_num_threads()) for library in _blas()]
                for library, _ in self.before:
                    library.set_num_threads(1)

    def __exit__(self, *_: Any) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                for library, number in self.before:
                    library.set_num_threads(number)


one_blas_thread = _OneBlasThread()
"""Hold BLAS to one thread: `with one_blas_thread:`."""


class _Here(threading.local):
    """How many threads the one that asks may use."""

    number: int | None = None


_here = _Here()


def _available() -> int:
    return _here.number or _number


def shares(rows: int, work: int, worth: int | None = None) -> list[tuple[int, int]]:
    """The rows in one piece for each thread; `work` is how many multiplications a row takes.

    So much work is `worth` a thread, if not as much as for compiled loops.
    """
    threads = max(1, min(_available(), rows * work // (worth or _WORTH), -(-rows // _TOGETHER)))
    ends = [-(-rows * i // (2 * threads)) * 2 for i in range(threads)]
    return list(pairwise([*ends, rows]))


def at_once(rows: int, work: int) -> bool:
    """Whether two directions had better run at once: if that takes no fewer threads than sharing rows."""
    number = _available()
    return number > 1 and rows * work >= _WORTH and len(shares(rows, work)) <= number // 2 * 2


def together(calls: Sequence[Callable[[], None]]) -> None:
    """Make all calls, the first in this thread; come back when all are done."""
    if len(calls) == 1:
        calls[0]()
        return
    before, each = _here.number, max(1, _available() // len(calls))

    def run(call: Callable[[], None]) -> None:
        _here.number = each
        call()

    pool = _pool(before is not None)
    others = [pool.submit(run, call) for call in calls[1:]]
    try:
        run(calls[0])
    finally:
        _here.number = before
    for other in others:
        other.result()
