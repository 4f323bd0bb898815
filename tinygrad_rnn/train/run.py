"""What a run is, and the two ways in which it ends before its time: a NaN, and Ctrl-C."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.optim import Optimizer
from tinygrad_rnn.train.folder import Record


class Diverged(FloatingPointError):
    """A loss, a gradient or a weight is no finite number any more; the message says where that began."""


@dataclass
class Run:
    """A training run: what callbacks are given, and what `fit` returns.

    `epoch` epochs are finished, of the current one `batch` batches; `step` steps of the optimiser were made,
    the last of them at `loss`. `records` holds one dict per epoch, the lines of the log, `best` the best of
    them. `ended` says why the run stopped before its last epoch, if it did.
    """

    model: Module
    optimizer: Optimizer
    directory: Path | None = None
    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss: float = math.nan
    records: list[Record] = field(default_factory=list)
    best: Record | None = None
    ended: str = ""

    def stop(self, why: str = "a callback asked for it") -> None:
        """End the run after this epoch."""
        self.ended = why


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that Ctrl-C adds to, so that a step is finished first; a second Ctrl-C interrupts at once."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    in_charge = threading.current_thread() is threading.main_thread()
    if not in_charge or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield asked
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
