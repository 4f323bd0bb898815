"""Many parameters as one long array, so that a step on a GPU is a few launches and not a few for each.

A rule goes entry by entry, and does not mind how many parameters its entries belong to. So the parameters of
a group that stand on one device are laid end to end, as are their gradients and what is remembered of them,
and the rule runs once. Each parameter's own array, and each of its states, is then a view of the long one.

float16 parameters are changed in float32, of which they are the rounded copy (Micikevicius et al. 2018): an
update of less than a thousandth of a parameter would else be lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import namespaces
from tinygrad_rnn.namespaces import SPACES, Array, namespace
from tinygrad_rnn.tensor import Tensor

State = dict[str, Any]
MASTER = "master"
"""The name in a parameter's state of its float32 values."""


def precise(dtype: Any) -> Any:
    """The dtype in which a parameter is changed: its own, but at least float32."""
    return np.promote_types(dtype, np.float32)


class Flat:
    """Parameters of one dtype and device, laid end to end with their states."""

    def __init__(self, params: Sequence[Tensor], states: Sequence[State]) -> None:
        """Lay them down; the states have the same keys, and the same numbers."""
        self.params = params
        ends = list(itertools.accumulate(p.size for p in params))
        self.parts = [(slice(end - p.size, end), p.shape) for p, end in zip(params, ends, strict=True)]
        self.stored = self.exact = _joined([p.data for p in params])
        if self.stored.dtype != precise(self.stored.dtype):
            masters = [s.get(MASTER, p.data) for s, p in zip(states, params, strict=True)]
            self.exact = _joined(masters).astype(precise(self.stored.dtype))
        self.state = {
            k: _joined([s[k] for s in states]) if type(v) in SPACES else v
            for k, v in states[0].items()
            if k != MASTER
        }
        for p, view in zip(params, self._views(self.stored), strict=True):
            namespaces.note_write(p.data)
            p.data = view
        self.views = [p.data for p in params]
        self.shown: dict[str, tuple[Array, list[Array]]] = {}
        self._show(states)

    def fits(self, params: Sequence[Tensor], states: Sequence[State]) -> bool:
        """Whether nobody has put other arrays in the places of the views since."""
        here = all(p is q and p.data is v for p, q, v in zip(params, self.params, self.views, strict=True))
        return here and all(
            state.get(key) is view
            for key, (_, views) in self.shown.items()
            for state, view in zip(states, views, strict=True)
        )

    def update(self, rule: Callable[..., None], group: dict[str, Any], states: Sequence[State]) -> None:
        """Run the rule once for all."""
        namespace(self.stored)  # makes its device the current one
        gradients = [p.grad.data for p in self.params]  # type: ignore[union-attr]  # all have one here
        g = _joined(gradients).astype(self.exact.dtype, copy=False)
        rule(self.exact, -g if group.get("maximize") else g, self.state, group)
        if self.exact is not self.stored:
            self.stored[...] = self.exact
        namespaces.note_write(self.stored)
        self._show(states)

    def _show(self, states: Sequence[State]) -> None:
        """Let each parameter's own state say what the long one says."""
        remembered = {**self.state, MASTER: self.exact} if self.exact is not self.stored else self.state
        for key, value in remembered.items():
            if type(value) not in SPACES:
                for state in states:
                    state[key] = value
            elif key not in self.shown or self.shown[key][0] is not value:
                self.shown[key] = value, self._views(value)
                for state, view in zip(states, self.shown[key][1], strict=True):
                    state[key] = view

    def _views(self, array: Array) -> list[Array]:
        return [array[part].reshape(shape) for part, shape in self.parts]


def _joined(arrays: Sequence[Array]) -> Array:
    return namespace(arrays[0]).concatenate([a.reshape(-1) for a in arrays])
