"""Cotangents of a weight from many small steps, computed at once.

A recurrent network uses its weights at every step, so they get as many contributions: Σₜ gₜᵀ xₜ, each a
product of small matrices. With all g in one column, and all x, the same sum is one large product, and much
faster. A rule for which that holds is declared: `linear.primitive.by_rows("weight", "bias")`. The sweep then
collects what the rule would have been called with, and calls it once for some hundred rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_rnn.broadcasting import fitted
from tinygrad_rnn.namespaces import SPACES

ENOUGH = 1024
"""So many rows make a product large; more would only take memory."""


class Promise(tuple[Any, ...]):
    """(rule, xp, values, rows, width of g): a cotangent that need not be computed yet."""

    __slots__ = ()
    shape = dtype = None  # like no array's: the sweep looks at it again


def later(rule: Callable[..., Any], xp: Any, g: Any, *values: Any) -> Any:
    """`rule(*values)`, one of them the cotangent g; where g is an array of few rows, the promise of it."""
    if type(g) in SPACES and g.ndim == 2:
        rows, width = g.shape
        if rows < ENOUGH:
            return Promise((rule, xp, values, rows, width))
    return rule(*values)


class Rows:
    """What was promised to a value of some shape and dtype, on top of the cotangent `there` already."""

    __slots__ = ("count", "dtype", "rule", "shape", "steps", "there", "width", "xp")

    def __init__(self, promise: Promise, shape: tuple[int, ...], dtype: Any, there: Any = None) -> None:
        self.rule, self.xp, values, self.count, self.width = promise
        self.steps, self.shape, self.dtype, self.there = [values], shape, dtype, there

    def took(self, promise: Promise) -> bool:
        """Take one more step, if there is room and it calls the same rule with rows of the same length."""
        rule, _, values, rows, width = promise
        if rule is not self.rule or width != self.width or self.count >= ENOUGH:
            return False
        self.steps.append(values)
        self.count += rows
        return True

    def now(self) -> Any:
        """The array."""
        columns = [
            self.xp.concatenate(column) if type(column[0]) in SPACES else column[0]
            for column in zip(*self.steps, strict=True)
        ]
        d = fitted(self.rule(*columns), self.shape, self.dtype, self.xp)
        return d if self.there is None else self.there + d

    def __iadd__(self, d: Any) -> Rows:
        self.there = d if self.there is None else self.there + d
        return self

    __add__ = __iadd__
