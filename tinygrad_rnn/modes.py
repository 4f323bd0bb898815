"""Modes of a thread: whether operations are recorded, and whether every value is looked at."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from typing import Any

import numpy as np

from tinygrad_rnn.namespaces import SPACES
from tinygrad_rnn.scope import here
from tinygrad_rnn.tape import RECORDING, Mode, Node, mode
from tinygrad_rnn.tensor import Tensor, raw


class _Mode(ContextDecorator):
    """A state of this thread, for a `with` block or a decorated function (with or without parentheses)."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """A context, or the function inside one."""
        return super().__new__(cls) if function is None else cls()(function)

    def _recreate_cm(self) -> Any:
        return type(self)()  # one for each call: two threads may run one decorated function

    def _after(self, before: Mode) -> Mode:
        raise NotImplementedError

    def __enter__(self) -> None:
        self._before = mode.get()
        mode.set(self._after(self._before))

    def __exit__(self, *exc: object) -> None:
        mode.set(self._before)


class no_grad(_Mode):
    """Record nothing inside the `with` block (or the decorated function), in this thread.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(1.0, requires_grad=True)
    >>> with tg.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    def _after(self, before: Mode) -> Mode:
        return Mode(False, before.observer)


class enable_grad(_Mode):
    """Record inside the `with` block, also where a surrounding `no_grad` had stopped it."""

    def _after(self, before: Mode) -> Mode:
        return Mode(True, before.observer) if before.observer else RECORDING


def is_grad_enabled() -> bool:
    """Whether operations in this thread are being recorded."""
    return mode.get().recording


# -- anomalies -----------------------------------------------------------------------------------------


class AnomalyError(FloatingPointError):
    """A NaN or Inf, found where it first arose."""


_lines: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()
_PACKAGE = os.path.dirname(__file__)


def describe(node: Node) -> str:
    """The node in an error message: operation, place and, where anomalies are looked for, source line."""
    if node.plan is None:
        return f"leaf {node.label or ''}".strip()
    line = _lines.get(node)
    return f"{node.plan.name} ({node.scope})" + (f", recorded at {line}" if line else "")


def _caller() -> str:
    """The source line outside this package that we were called from."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_PACKAGE, "<recorder")):
        frame = frame.f_back
    return f"{frame.f_code.co_filename.removeprefix(os.getcwd() + os.sep)}:{frame.f_lineno}"


class Anomaly:
    """Looks at every value and every gradient; AnomalyError where one is NaN or Inf."""

    def look(self, primitive: Any, made: Tensor | tuple[Tensor, ...]) -> None:
        """Look at the result of an operation."""
        for y in made if isinstance(made, tuple) else (made,):
            node = y.node
            if node is None:
                self._check(y.data, "forward", f"{primitive.name} ({here.scope}), run at {_caller()}")
            else:
                for recorded in (node, *node.parents) if node.index is not None else (node,):
                    _lines[recorded] = _caller()
                self._check(y.data, "forward", describe(node))

    def look_back(self, node: Node, sent: Sequence[Any]) -> None:
        """Look at what a node sends to its parents."""
        for d in sent:
            if d is not None:
                self._check(raw(d), "backward", describe(node))

    @staticmethod
    def _check(value: Any, when: str, where: str) -> None:
        xp = SPACES.get(type(value), np)
        if value.dtype.kind == "f" and not xp.isfinite(value).all().item():
            found = "NaN" if xp.isnan(value).any().item() else "Inf"
            raise AnomalyError(f"{found} first appeared in the {when} of {where}")


class detect_anomaly(_Mode):
    """Stop at the first NaN or Inf, forward or backward: AnomalyError names operation, place and source line.

    Slow (every value is looked at, except under `no_grad`): for finding a fault, not for training.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(-1.0, requires_grad=True)
    >>> with tg.detect_anomaly(), np.errstate(invalid="ignore"):
    ...     y = tg.ops.sqrt(x)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tinygrad_rnn.modes.AnomalyError: NaN first appeared in the forward of sqrt (top level), recorded at ...
    """

    def _after(self, before: Mode) -> Mode:
        return Mode(before.recording, Anomaly())
