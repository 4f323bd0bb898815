"""What a run shows meanwhile: a bar in a terminal (with tqdm), and one line per epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


class Progress:
    """A bar over all batches where there is a terminal and tqdm, and lines; on stderr, or nothing at all."""

    def __init__(self, shown: bool, total: int | None, done: int) -> None:
        self.shown = shown
        self.bar = _bar(total, done) if shown and sys.stderr.isatty() else None
        self._smooth: float | None = None

    def step(self, batches: int, loss: float) -> None:
        """Move on, with the loss (smoothed over about twenty steps) beside the bar."""
        if self.bar is not None:
            self._smooth = loss if self._smooth is None else 0.95 * self._smooth + 0.05 * loss
            self.bar.set_postfix(loss=f"{self._smooth:.4g}", refresh=False)
            self.bar.update(batches)

    def line(self, text: str) -> None:
        """Say something, above the bar."""
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        elif self.shown:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()


def _bar(total: int | None, done: int) -> Any:
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return None
    return tqdm(total=total, initial=done, desc="training", unit="batch", file=sys.stderr)


def told(record: Mapping[str, Any], epochs: int) -> str:
    """One line about one epoch.

    >>> told({"epoch": 3, "loss": 0.41234, "accuracy": 0.9, "per_second": 812.4, "seconds": 2.0}, 20)
    'epoch 3/20: loss 0.4123, accuracy 0.9, 812/s'
    """
    hidden = {"epoch", "step", "per_second", "seconds", "flow"}
    figures = [
        f"{name} {value:.4g}" for name, value in record.items() if name not in hidden and _is_number(value)
    ]
    return f"epoch {record['epoch']}/{epochs}: {', '.join(figures)}, {record['per_second']:.0f}/s"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
