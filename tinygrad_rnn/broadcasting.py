"""Broadcasting undone: what a rule gives, in the shape and dtype of the value that it is the gradient of."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

Shape = tuple[int, ...]


def fitted(d: Any, shape: Shape, dtype: Any, xp: Any) -> Any:
    """d, summed over the axes along which a value of that shape was stretched; ValueError if it was not."""
    if d.shape != shape:
        axes, kept = stretched(d.shape, shape)
        if axes:
            d = d.sum(axis=axes)
        if d.shape != kept:
            d = xp.reshape(d, kept)
        if kept != shape:  # the rule gave less than the whole
            d = xp.broadcast_to(d, shape)
    return d if d.dtype == dtype else d.astype(dtype)


@lru_cache(maxsize=4096)
def stretched(shape: Shape, to: Shape) -> tuple[Shape, Shape]:
    """The axes of `shape` to sum over, and what is then the shape, for it to broadcast to `to`."""
    extra = len(shape) - len(to)
    ends = list(zip(shape[extra:] if extra >= 0 else (1,) * -extra + shape, to, strict=True))
    if any(n != m and 1 not in (n, m) for n, m in ends):
        raise ValueError
    axes = [i + extra for i, (n, m) in enumerate(ends) if m == 1 and n != 1]
    return (*range(extra), *axes), tuple([1 if m == 1 else n for n, m in ends])
