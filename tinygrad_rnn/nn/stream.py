"""A recurrent layer, one step at a time: for input that arrives while one waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_rnn import namespaces, ops
from tinygrad_rnn.nn.unroll import States, named
from tinygrad_rnn.scope import at
from tinygrad_rnn.tensor import Tensor, label

if TYPE_CHECKING:
    from tinygrad_rnn.nn.recurrence import Recurrence


class Stream:
    """The running state of a recurrent layer; made by `rnn.stream()`.

    Its steps are recorded like any others: under `tg.no_grad()`, or with `detach()` now and then, it runs for
    ever in constant memory.

    >>> import tinygrad_rnn as tg
    >>> rnn, x = tg.nn.RNN(3, 5), tg.randn(4, 2, 3)
    >>> stream = rnn.stream()
    >>> steps = tg.ops.stack([stream.step(x[t]) for t in range(4)])
    >>> bool((abs(steps - rnn(x)[0]) < 1e-6).all()), bool((abs(stream.state - rnn(x)[1]) < 1e-6).all())
    (True, True)
    """

    def __init__(self, layer: Recurrence, state: Any = None) -> None:
        """Start from `state`, as `hx`; ValueError for a bidirectional network."""
        if layer.bidirectional:
            raise ValueError(
                "expected a network that reads forward only, "
                "got a bidirectional one, whose output needs the future"
            )
        self._layer = layer
        self._given = state
        self._states: list[States] = []
        self._batched = True
        self._steps = [layer._step(k, 0) for k in range(layer.num_layers)]
        self.time = 0
        """How many steps have been read."""

    def step(self, x_t: Any) -> Tensor:
        """Read x_t, (N, I) or (I): the output at this step, (N, H) or (H)."""
        x_t = x_t if isinstance(x_t, Tensor) else Tensor(namespaces.asarray(x_t))
        time_axis = 1 if self._layer.batch_first and x_t.ndim == 2 else 0
        x, batched = self._layer._time_first(ops.expand_dims(x_t, time_axis))
        if not self._states:
            self._states = self._layer._starts(self._given, x, batched)
            self._batched = batched
        elif x.shape[1] != self._states[0][0].shape[0]:
            raise ValueError(
                f"expected a batch of {self._states[0][0].shape[0]}, as in the first step, got {x.shape[1]}"
            )
        with at(time=self.time):
            h: Tensor = label(x=x[0])
        for k, step in enumerate(self._steps):
            if k and self._layer.training and self._layer.dropout:
                h = ops.dropout(h, self._layer.dropout)
            before = self._states[k]
            with at(layer=k, direction="forward", time=self.time):
                self._states[k] = named(step(h, before if len(before) > 1 else before[0]))
            h = self._states[k][0]
        self.time += 1
        if not self._batched:
            h = h[0]
        return h

    @property
    def state(self) -> Any:
        """The states now, as `rnn(x)` returns them; what was given, before the first step."""
        if not self._states:
            return self._given
        found = tuple(ops.stack(s, axis=0) for s in zip(*self._states, strict=True))
        if not self._batched:
            found = tuple(s[:, 0] for s in found)
        return found if len(found) > 1 else found[0]

    def detach(self) -> Stream:
        """Forget how the state came to be: BPTT stops here. Returns self."""
        self._states = [tuple(s.detach() for s in states) for states in self._states]
        return self
