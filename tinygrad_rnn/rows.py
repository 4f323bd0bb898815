"""Cotangents of a weight from many small steps, computed at once.

A recurrent network uses its weights at every step, so they get as many contributions: Σₜ gₜᵀ xₜ, each a
product of small matrices. With all g in one column, and all x, the same sum is one large product, and much
faster. A rule for which that holds is declared: `linear.primitive.by_rows("weight", "bias")`. The sweep then
collects what the rule would have been called with, and calls it once for some hundred rows.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from typing import Any

from tinygrad_rnn.broadcasting import fitted
from tinygrad_rnn.namespaces import SPACES

ENOUGH = 1024
"""So many rows make a product large; more would only take memory."""


def collected(
    cotangents: dict[Any, Any], parent: Any, rule: Callable[..., Any], xp: Any, g: Any, values: Any
) -> bool:
    """Put `rule(*values)`, g among them, with what was collected for `parent`; False for many rows."""
    if type(g) not in SPACES or g.ndim != 2:
        return False
    count, width = g.shape
    if count >= ENOUGH:
        return False
    there = cotangents.get(parent)
    if type(there) is Rows:
        if there.rule is rule and there.width == width and there.count < ENOUGH:
            there.steps.append(values)
            there.count += count
            return True
        there = there.now({})
    cotangents[parent] = Rows(rule, xp, values, count, width, parent, there)
    return True


class Rows:
    """What is to be computed for one parent, from rows of one length, on top of the cotangent `there`."""

    __slots__ = ("count", "parent", "rule", "steps", "there", "width", "xp")

    def __init__(
        self, rule: Callable[..., Any], xp: Any, values: tuple[Any, ...], count: int, width: int,
        parent: Any, there: Any,
    ) -> None:  # fmt: skip
        self.rule, self.xp, self.steps, self.count, self.width = rule, xp, [values], count, width
        self.parent, self.there = parent, there

    def now(self, joined: dict[int, Any]) -> Any:
        """The array; each column joined last stays in `joined`, for W, R and b get the same g."""
        columns = list(zip(*self.steps, strict=True))
        for i, column in enumerate(columns):
            if type(column[0]) not in SPACES:
                columns[i] = column[0]
                continue
            parts, whole = joined.get(i, ((), None))
            if len(parts) != len(column) or not all(map(is_, parts, column)):
                joined[i] = column, (whole := self.xp.concatenate(column))
            columns[i] = whole
        d = fitted(self.rule(*columns), self.parent.shape, self.parent.dtype, self.xp)
        return d if self.there is None else self.there + d

    def __iadd__(self, d: Any) -> Rows:
        self.there = d if self.there is None else self.there + d
        return self

    __add__ = __iadd__
