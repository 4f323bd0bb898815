"""Batches of sequences that differ in length: padded, or packed without their padding.

A PackedSequence holds the steps of all sequences one time after the other, longest sequence first, as in
PyTorch. The recurrent layers here work on padded batches with a mask, which takes any order of lengths;
packing is for code, and data, that comes from PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.namespaces import asarray
from tinygrad_rnn.tensor import Tensor, raw


class PackedSequence(NamedTuple):
    """`data` (Σ lengths, …); `batch_sizes` (T,), how many reach each step; the order of the batch."""

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    @property
    def lengths(self) -> np.ndarray[Any, Any]:
        """The length of each sequence, in the batch's own order."""
        sizes = self.batch_sizes.numpy()
        ordered: np.ndarray[Any, Any] = (sizes[None, :] > np.arange(sizes[0])[:, None]).sum(axis=1)
        if self.unsorted_indices is not None:
            ordered = ordered[self.unsorted_indices.numpy()]
        return ordered


def check_lengths(lengths: Any, steps: int, batch: int) -> np.ndarray[Any, Any]:
    """The lengths as an integer array; ValueError unless there is one in 1…steps per sequence."""
    found = np.asarray(raw(lengths).get() if hasattr(raw(lengths), "get") else raw(lengths))
    if found.ndim != 1 or len(found) != batch or found.dtype.kind not in "iu":
        came = (
            f"{len(found)}"
            if found.ndim == 1 and found.dtype.kind in "iu"
            else f"{found.dtype} {found.shape}"
        )
        raise ValueError(f"expected one integer length for each of {batch} sequences, got {came}")
    wrong = found[(found < 1) | (found > steps)]
    if len(wrong):
        raise ValueError(f"expected lengths between 1 and {steps} (the steps of the input), got {wrong[0]}")
    return found.astype(np.int64)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Without the padding: from (T, N, …), or (N, T, …) with batch_first, and a length for each sequence.

    Raises ValueError for a length below 1 or above T, and for lengths that grow where `enforce_sorted`.

    >>> import tinygrad_rnn as tg
    >>> packed = tg.nn.utils.rnn.pack_padded_sequence(tg.arange(6).reshape(3, 2), [3, 1])
    >>> packed.data, packed.batch_sizes
    (tensor([0, 1, 2, 4]), tensor([2, 1, 1]))
    """
    x = ops.swapaxes(input, 0, 1) if batch_first else input
    steps, batch = x.shape[:2]
    found = check_lengths(lengths, steps, batch)
    if enforce_sorted and (np.diff(found) > 0).any():
        raise ValueError(
            f"expected lengths from long to short, got {found.tolist()}: pass enforce_sorted=False"
        )
    order = np.argsort(-found, kind="stable")
    sizes = (found[None, :] > np.arange(found.max())[:, None]).sum(axis=1)
    where = np.concatenate([t * batch + order[:size] for t, size in enumerate(sizes)])
    data = ops.take(ops.reshape(x, (steps * batch, *x.shape[2:])), _indices(where, x), axis=0)
    if enforce_sorted:
        return PackedSequence(data, Tensor(sizes))
    return PackedSequence(data, Tensor(sizes), Tensor(order), Tensor(np.argsort(order)))


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded batch and its lengths: what `pack_padded_sequence` undoes.

    `total_length` pads further than the longest sequence; ValueError where it is shorter than that.

    >>> from tinygrad_rnn.nn.utils.rnn import pack_sequence, pad_packed_sequence
    >>> import tinygrad_rnn as tg
    >>> pad_packed_sequence(pack_sequence([tg.arange(1, 4), tg.arange(4, 5)]), batch_first=True)
    (tensor([[1, 2, 3],
            [4, 0, 0]]), tensor([3, 1]))
    """
    sizes = sequence.batch_sizes.numpy()
    longest, batch = len(sizes), int(sizes[0])
    if total_length is not None and total_length < longest:
        raise ValueError(
            f"expected total_length of at least {longest} (the longest sequence), got {total_length}"
        )
    steps = total_length or longest
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    column = np.arange(batch) if sequence.unsorted_indices is None else sequence.unsorted_indices.numpy()
    there = np.zeros((steps, batch), dtype=bool)
    there[:longest] = column[None, :] < sizes[:, None]
    where = np.zeros((steps, batch), dtype=np.int64)
    where[:longest] = starts[:, None] + column[None, :]
    data = sequence.data
    picked = ops.take(data, _indices(np.where(there, where, 0), data), axis=0)
    if not there.all():
        shown = there.reshape(there.shape + (1,) * (data.ndim - 1))
        padding = np.asarray(padding_value, dtype=data.dtype)
        picked = ops.where(
            Tensor(asarray(shown, device=data.device)), picked, asarray(padding, device=data.device)
        )
    return ops.swapaxes(picked, 0, 1) if batch_first else picked, Tensor(sequence.lengths)


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0
) -> Tensor:
    """Sequences (T_n, …) as one padded batch (T, N, …), or (N, T, …) with batch_first.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.utils.rnn.pad_sequence([tg.ones(2), tg.ones(1)], batch_first=True)
    tensor([[1., 1.],
            [1., 0.]])
    """
    _check_sequences(sequences)
    longest = max(len(s) for s in sequences)
    padded = [
        s if len(s) == longest
        else ops.concatenate([s, _full(s, longest - len(s), padding_value)], axis=0)
        for s in sequences
    ]  # fmt: skip
    found: Tensor = ops.stack(padded, axis=0 if batch_first else 1)
    return found


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (T_n, …), packed; from long to short, unless enforce_sorted is False."""
    return pack_padded_sequence(
        pad_sequence(sequences), [len(s) for s in sequences], enforce_sorted=enforce_sorted
    )


def _check_sequences(sequences: Sequence[Tensor]) -> None:
    if not sequences:
        raise ValueError("expected at least one sequence, got none")
    if any(s.shape[1:] != sequences[0].shape[1:] for s in sequences):
        raise ValueError(
            f"expected sequences that differ in length only, got shapes {[s.shape for s in sequences]}"
        )


def _full(like: Tensor, length: int, value: float) -> Tensor:
    return Tensor(asarray(np.full((length, *like.shape[1:]), value, dtype=like.dtype), device=like.device))


def _indices(where: np.ndarray[Any, Any], like: Tensor) -> Tensor:
    return Tensor(asarray(where, device=like.device))
