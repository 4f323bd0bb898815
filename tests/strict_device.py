"""The device of `tests.strict`: which one is current, the order of its work, and what is counted.

Streams can be captured into graphs, which run what they saw. Work runs in the order of the program, so a
missing event does no harm here: an array used on another stream before its event is a RuntimeError instead.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

counts: Counter[str] = Counter()
"""Synchronisations, uploads and downloads, launches so far."""

GPUS = 2


class Current(threading.local):
    device = 0
    stream: Stream
    graph: Graph | None = None


current = Current()


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts of what happens inside the `with` block."""
    before, found = Counter(counts), Counter()
    yield found
    found.update(counts - before)


def wait(*what: str) -> None:
    if current.graph is not None:
        raise RuntimeError("expected no synchronisation while a stream is being captured")
    counts.update(["sync", *what])


class Device:
    """A GPU, by number."""

    def __init__(self, number: int | None = None) -> None:
        self.id = current.device if number is None else number
        self._before: list[int] = []

    def use(self) -> Device:
        current.device = self.id
        return self

    def __enter__(self) -> Device:
        self._before.append(current.device)
        return self.use()

    def __exit__(self, *_: object) -> None:
        current.device = self._before.pop()

    def synchronize(self) -> None:
        wait()


class Graph:
    """What a stream was given while it was captured."""

    def __init__(self) -> None:
        self.work: list[tuple[Callable[..., Any], Any, Any]] = []

    def record(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.work.append((function, args, kwargs))

    def launch(self, stream: Any = None) -> None:
        counts["graph"] += 1
        for function, args, kwargs in self.work:
            function(*args, **kwargs)


class Stream:
    """The order of a device's work; memory that is freed goes back to the stream it was made on."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.clock = 0
        self.waited: dict[Stream, int] = {}
        self.freed: list[dict[Stream, int]] = []
        self._before: list[Stream] = []

    def __enter__(self) -> Stream:
        self._before.append(current.stream)
        current.stream = self
        return self

    def __exit__(self, *_: object) -> None:
        current.stream = self._before.pop()

    def expect(self, other: Stream, clock: int) -> None:
        """RuntimeError unless this stream has waited for what `other` was given up to `clock`."""
        if self.waited.get(other, 0) < clock:
            raise RuntimeError("expected to wait for an event: another stream may be at work on this memory")

    def allocate(self) -> tuple[tuple[Stream, int], dict[Stream, int]]:
        """When the memory of a new array was made and who reads it; it may be some that was just freed."""
        for reader, clock in self.freed.pop().items() if self.freed else ():
            self.expect(reader, clock)
        self.clock += 1
        return (self, self.clock), {}

    def synchronize(self) -> None:
        wait()

    def wait_event(self, event: tuple[Stream, int]) -> None:
        other, clock = event
        self.waited[other] = max(clock, self.waited.get(other, 0))

    def record(self) -> tuple[Stream, int]:
        return self, self.clock

    def begin_capture(self) -> None:
        current.graph = Graph()

    def end_capture(self) -> Graph:
        made, current.graph = current.graph, None
        assert made is not None
        return made


Current.stream = Stream()


def run_kernel(function: Callable[..., int], *args: Any) -> None:
    """Run a kernel, and remember it where a stream is being captured."""
    counts["kernel"] += 1
    if current.graph is not None:
        current.graph.record(function, args, {})
    else:
        assert function(*args) == 0, "threads wait for each other for ever, or write beyond their memory"
