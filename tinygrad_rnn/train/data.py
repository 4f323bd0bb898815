"""Sequences in memory, as batches.

A loader knows its order by heart: epoch 3 of `seed` 0 is the same on every machine and needs no stream that
has been drawn from before. So "where we are" is two numbers, the epoch and the batch in it, and
`batches(epoch, start)` goes on from there.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from tinygrad_rnn import namespaces
from tinygrad_rnn.tensor import Tensor, raw
from tinygrad_rnn.train.feed import Feed

T = TypeVar("T")
Indices = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Batch:
    """Some sequences: `x` and `y` as tensors (texts stay lists of texts), and how long each of them is."""

    x: Any
    y: Any = None
    lengths: Indices | None = None
    target_lengths: Indices | None = None

    def __len__(self) -> int:
        """The number of sequences."""
        assert self.lengths is not None
        return len(self.lengths)


class _Loader:
    """What loaders share: batches are put together and brought to the device, by a thread if asked."""

    prefetch: int

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of that epoch, in its order, from number `start` on."""
        device = namespaces.get_default_device()
        plans = self._plans(epoch)[start:]
        if not self.prefetch:
            yield from (self._on(device, plan) for plan in plans)
            return
        feed = Feed(device)
        sent = (feed.send(partial(self._on, device, plan)) for plan in plans)
        with closing(prefetch(sent, self.prefetch)) as ahead:
            yield from (feed.receive(*batch) for batch in ahead)

    def _on(self, device: str, plan: Any) -> Batch:
        batch = self._made(plan)
        return replace(batch, x=_tensor(batch.x, device), y=_tensor(batch.y, device))

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def _plans(self, epoch: int) -> Sequence[Any]:
        raise NotImplementedError

    def _made(self, plan: Any) -> Batch:
        raise NotImplementedError


class Batches(_Loader):
    """Ragged sequences as batches, padded to the longest of each.

    Args:
        x: the sequences: arrays, Tensors or lists (T_n, …) that differ in length only; or texts.
        y: what belongs to each: numbers; arrays of one shape, which are stacked, (N, …); or sequences,
            as long as their x or not, padded like x, with -100 for integers (losses ignore it), else 0.
        batch_size: sequences in a batch; the last one may be smaller.
        shuffle: a new order in every epoch, which follows from `seed` and the epoch alone.
        bucket: put sequences of about one length together, so that little is padding.
        drop_last: leave out what does not fill a batch (others in every epoch, where shuffled).
        batch_first: (N, T, …) instead of (T, N, …).
        sequence_targets: whether y are sequences; by default, whether their lengths differ or are those of x.
        target_padding: another value to pad y with.
        prefetch: how many batches a thread puts together ahead, and brings to the GPU while it computes.

    Raises:
        ValueError: no sequences, an empty one, as many x as y not, shapes that differ otherwise.

    >>> from tinygrad_rnn import train
    >>> for batch in train.Batches([[1, 2, 3], [4], [5, 6]], [0, 1, 1], batch_size=2, shuffle=False):
    ...     print(batch.x.tolist(), batch.y.tolist(), batch.lengths)
    [[1, 4], [2, 0], [3, 0]] [0, 1] [3 1]
    [[5], [6]] [1] [2]
    """

    def __init__(
        self, x: Iterable[Any], y: Iterable[Any] | None = None, batch_size: int = 32, *,
        shuffle: bool = True, seed: int = 0, bucket: bool = False, drop_last: bool = False,
        batch_first: bool = False, sequence_targets: bool | None = None,
        target_padding: float | None = None, prefetch: int = 0,
    ) -> None:  # fmt: skip
        self.x = [s if isinstance(s, str) else _array(s) for s in x]
        self.y = None if y is None else [_array(s) for s in y]
        self.batch_size, self.shuffle, self.seed, self.bucket = batch_size, shuffle, seed, bucket
        self.drop_last, self.batch_first, self.prefetch = drop_last, batch_first, prefetch
        if batch_size < 1 or prefetch < 0:
            raise ValueError(f"expected batch_size ≥ 1 and prefetch ≥ 0, got {batch_size} and {prefetch}")
        if len(self.x) < (batch_size if drop_last else 1):
            needed = f"{batch_size} sequences (one batch)" if drop_last else "one sequence"
            raise ValueError(f"expected at least {needed}, got {len(self.x) or 'none'}")
        self.lengths = _lengths(self.x, "x")
        if self.y is not None and len(self.y) != len(self.x):
            raise ValueError(f"expected a target for each of {len(self.x)} sequences, got {len(self.y)}")
        if min(self.lengths) == 0:
            raise ValueError(
                f"expected sequences of at least one step, got number {self.lengths.argmin()} empty"
            )
        self.target_lengths = self._sequence_targets(sequence_targets)
        integers = self.y is not None and max(self.y, key=np.size).dtype.kind in "iu"
        self.target_padding = target_padding if target_padding is not None else -100 if integers else 0

    def _sequence_targets(self, wanted: bool | None) -> Indices | None:
        """The lengths of the targets, if they are sequences."""
        if self.y is None or wanted is False or (wanted is None and not all(s.ndim for s in self.y)):
            _one_shape(self.y or [])
            return None
        found = _lengths(self.y, "y")
        if wanted or (found == self.lengths).all() or (found != found[0]).any():
            return found
        return None

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(len(self.x), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def _plans(self, epoch: int) -> Sequence[Indices]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.x)) if self.shuffle else np.arange(len(self.x))
        if self.drop_last:
            order = order[: len(self) * self.batch_size]
        if self.bucket:
            order = order[np.argsort(self.lengths[order], kind="stable")]
        cut = [order[at : at + self.batch_size] for at in range(0, len(order), self.batch_size)]
        return [cut[k] for k in rng.permutation(len(cut))] if self.bucket and self.shuffle else cut

    def _made(self, plan: Indices) -> Batch:
        x, lengths = [self.x[n] for n in plan], self.lengths[plan]
        made = Batch(x if isinstance(x[0], str) else self._padded(x, 0), lengths=lengths)
        if self.y is None:
            return made
        y = [self.y[n] for n in plan]
        if self.target_lengths is None:
            return replace(made, y=np.stack(y))
        padded = self._padded(y, self.target_padding)
        return replace(made, y=padded, target_lengths=self.target_lengths[plan])

    def _padded(self, some: list[Any], value: float) -> Any:
        longest = max(some, key=len)
        padded = np.full((len(some), *longest.shape), value, dtype=longest.dtype)
        for row, sequence in zip(padded, some, strict=True):
            row[: len(sequence)] = sequence
        return padded if self.batch_first else np.ascontiguousarray(padded.swapaxes(0, 1))

    def __repr__(self) -> str:
        settings = ("batch_size", "shuffle", "seed", "bucket", "drop_last")
        shown = ", ".join(f"{name}={getattr(self, name)}" for name in settings)
        return f"Batches({len(self.x)} sequences, {shown})"


class Windows(_Loader):
    """A long sequence, read in consecutive windows: truncated BPTT with the state carried along.

    The sequence is cut into `batch_size` strips that are read side by side; each batch is the next `steps`
    steps of all of them, x and y (steps, batch_size, …), so that the state at the end of one batch is the
    start of the next (`fit` carries it, cut off from its past). What does not fill all strips is left out.

    Args:
        sequence: (L, …).
        targets: (L, …); by default the sequence itself, one step ahead.
        steps: how far each window, and with it BPTT, goes.

    Raises:
        ValueError: a sequence too short for so many strips, targets of another length.

    >>> from tinygrad_rnn import train
    >>> for batch in train.Windows(range(9), steps=3, batch_size=2):
    ...     print(batch.x.tolist(), batch.y.tolist())
    [[0, 4], [1, 5], [2, 6]] [[1, 5], [2, 6], [3, 7]]
    [[3, 7]] [[4, 8]]
    """

    carries = True
    """The loop passes the state on from batch to batch."""

    def __init__(
        self, sequence: Any, targets: Any = None, *, steps: int, batch_size: int = 1,
        batch_first: bool = False, prefetch: int = 0,
    ) -> None:  # fmt: skip
        x = _array(sequence)
        y = x[1:] if targets is None else _array(targets)
        x = x[:-1] if targets is None else x
        if steps < 1 or batch_size < 1 or prefetch < 0:
            came = f"{steps}, {batch_size} and {prefetch}"
            raise ValueError(f"expected steps ≥ 1, batch_size ≥ 1 and prefetch ≥ 0, got {came}")
        if len(x) != len(y):
            raise ValueError(f"expected targets for {len(x)} steps, got {len(y)}")
        if len(x) < batch_size:
            raise ValueError(
                f"expected a step with a target for each of batch_size={batch_size} strips, got {len(x)}"
            )
        self.steps, self.batch_size, self.batch_first, self.prefetch = (
            steps,
            batch_size,
            batch_first,
            prefetch,
        )
        length = len(x) // batch_size
        self.x, self.y = (a[: length * batch_size].reshape(batch_size, length, *a.shape[1:]) for a in (x, y))

    def __len__(self) -> int:
        """The number of windows in an epoch."""
        return len(self._plans(0))

    def _plans(self, epoch: int) -> Sequence[slice]:
        return [slice(at, at + self.steps) for at in range(0, self.x.shape[1], self.steps)]

    def _made(self, plan: slice) -> Batch:
        x, y = self.x[:, plan], self.y[:, plan]
        lengths = np.full(self.batch_size, x.shape[1])
        if not self.batch_first:
            x, y = (np.ascontiguousarray(a.swapaxes(0, 1)) for a in (x, y))
        return Batch(x, y, lengths, lengths)

    def __repr__(self) -> str:
        return f"Windows({self.x.shape[1]} steps in {self.batch_size} strips, steps={self.steps})"


def prefetch(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """The same items in the same order, up to `depth` of them made ahead by a thread.

    What goes wrong while an item is made is raised where the item is asked for; a caller that stops early
    (or closes the generator) stops the thread.

    >>> from tinygrad_rnn import train
    >>> list(train.prefetch(n * n for n in range(5)))
    [0, 1, 4, 9, 16]
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    closed = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not closed.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, daemon=True, name="prefetch")
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        closed.set()
        thread.join()


# -- arrays --------------------------------------------------------------------------------------------


def _array(values: Any) -> Any:
    """Anything as an array on the host; Python's floats get the default dtype."""
    return namespaces.to_numpy(namespaces.asarray(raw(values), device="cpu"))


def _tensor(values: Any, device: str) -> Any:
    """An array as a Tensor on that device; anything else as it is."""
    if not isinstance(values, np.ndarray):
        return values
    return Tensor(namespaces.asarray(values, device=device))


def _lengths(sequences: Sequence[Any], name: str) -> Indices:
    """The lengths of sequences that must differ in nothing else."""
    kinds = {_kind(s) for s in sequences if np.size(s)}
    if len(kinds) > 1 or "a number" in kinds:
        came = " and ".join(sorted(kinds)[:3])
        raise ValueError(f"expected sequences {name} that differ in length only, got {came}")
    return np.array([len(s) for s in sequences])


def _kind(sequence: Any) -> str:
    """All that two sequences of one batch must have in common."""
    if isinstance(sequence, str):
        return "a text"
    shape = ", ".join(["T", *map(str, sequence.shape[1:])])
    return f"{sequence.dtype} ({shape})" if sequence.ndim else "a number"


def _one_shape(targets: Sequence[Any]) -> None:
    shapes = sorted({s.shape for s in targets})
    if len(shapes) > 1:
        raise ValueError(f"expected targets of one shape, or sequences, got shapes {shapes[:2]}")
