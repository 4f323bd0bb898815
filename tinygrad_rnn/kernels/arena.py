"""Lends big arrays, and lends the same memory again once nobody holds it.

A training step of a recurrent layer needs megabytes of scratch, saved values and gradients, and needs them
again at the next step. Fresh from the system every page of them is first touched with a fault, which can
cost as much as the arithmetic. So memory that was lent is kept, and how many references Python counts to it
says whether it is free: an array that a tape, a gradient or a user still holds (or a view of it) is never
lent twice, and nothing has to be given back.
"""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from typing import Any

import numpy as np

_SMALL = 1 << 16
"""Below this many bytes the allocator is as fast."""
_PATIENCE = 512
"""Memory that has not been lent for so many loans goes back to the system when more is wanted."""


class Arena:
    """Memory on loan; see the module.

    >>> arena = Arena()
    >>> a = arena.take((1000, 100), np.float32)
    >>> memory = a.ctypes.data
    >>> b = arena.take((1000, 100), np.float32)   # a is in use
    >>> b.ctypes.data == memory
    False
    >>> del a
    >>> arena.take((1000, 100), np.float32).ctypes.data == memory
    True
    """

    def __init__(self) -> None:
        self._memory: dict[int, list[list[Any]]] = defaultdict(list)
        self._loans = 0
        self._lock = threading.Lock()
        entry = [np.empty(1), 0]
        self._alone = sys.getrefcount(entry[0])

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """An array of that shape; its entries are whatever was there."""
        kind = np.dtype(dtype)
        size = kind.itemsize
        for n in shape:
            size *= n
        if size < _SMALL:
            return np.empty(shape, kind)
        step = 1 << (size.bit_length() - 4)
        room = -(-size // step) * step
        with self._lock:
            self._loans += 1
            for entry in self._memory[room]:
                if sys.getrefcount(entry[0]) == self._alone:
                    entry[1] = self._loans
                    known: np.ndarray[Any, Any] = entry[0][:size].view(kind).reshape(shape)
                    return known
            self._return_idle()
            memory = np.empty(room, np.uint8)
            self._memory[room].append([memory, self._loans])
            made: np.ndarray[Any, Any] = memory[:size].view(kind).reshape(shape)
            return made

    def _return_idle(self) -> None:
        for room, entries in list(self._memory.items()):
            kept = [
                e for e in entries if e[1] > self._loans - _PATIENCE or sys.getrefcount(e[0]) > self._alone
            ]
            self._memory[room] = kept

    def clear(self) -> None:
        """Keep nothing; what is on loan stays valid."""
        with self._lock:
            self._memory.clear()


arena = Arena()
"""The one that all layers share."""


def room(xp: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array with whatever is in it: lent by the arena, or by CuPy's own pool."""
    return arena.take(shape, dtype) if xp is np else xp.empty(shape, dtype=dtype)
