"""Batches on their way to a GPU while it computes.

CuPy copies a host array into a pinned buffer of its pool, and the device fetches it from there by itself: the
call does not wait. On the stream of the computation, though, that transfer would stand in line with the
kernels. So it gets a stream of its own, and two events keep the order:

- the computation waits for the transfer of what it is about to read;
- the transfer waits for the work given before it, which may still read memory that the pool hands out anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tinygrad_rnn.namespaces import library, on_device

T = TypeVar("T")


class Feed:
    """A stream of its own to `device`, for another thread; on "cpu" there is nothing to do.

    The reader is the stream that is current where the feed is made.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        if library(device) is not np:
            self.reader = on_device(device, lambda xp: xp.cuda.get_current_stream())
            self.stream = on_device(device, lambda xp: xp.cuda.Stream(non_blocking=True))

    def send(self, make: Callable[[], T]) -> tuple[T, Any]:
        """What `make()` makes on the device, and the event after which it is there."""
        sent: tuple[T, Any] = on_device(self.device, lambda xp: self._send(xp, make))
        return sent

    def _send(self, xp: Any, make: Callable[[], T]) -> tuple[T, Any]:
        if xp is np:
            return make(), None
        with self.stream:
            self.stream.wait_event(self.reader.record())
            return make(), self.stream.record()

    def receive(self, made: T, event: Any) -> T:
        """The same, for the reader, whose later work waits for the event."""
        if event is not None:
            self.reader.wait_event(event)
        return made
