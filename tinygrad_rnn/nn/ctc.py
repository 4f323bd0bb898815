"""Connectionist temporal classification: labels for a sequence, without saying when each of them comes.

A network gives at every step a probability to each label and to a blank. A path says one of them per step,
and reads as what is left when repeats are joined and then blanks dropped: `-aa-ab` reads `aab`. The
probability of a labelling is the sum over all paths that read so, which the forward recursion adds up step by
step. It runs as one node of the tape, whose gradient is the recursion read backward; whoever wants more (a
gradient of the gradient, a picture) gets it operation by operation.

Source: Graves, Fernández, Gomez & Schmidhuber 2006; section 4.1 for the recursion, 3.2 for decoding.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.autodiff import grad
from tinygrad_rnn.namespaces import asarray, namespace, to_numpy
from tinygrad_rnn.nn.packed import check_lengths
from tinygrad_rnn.primitive import primitive
from tinygrad_rnn.recorder import origins, several
from tinygrad_rnn.scope import at, part
from tinygrad_rnn.tape import mode
from tinygrad_rnn.tensor import Tensor, raw


def ctc_loss(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: str = "mean", zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """-log Σ over all paths that read as the target of Π_t p_t(path_t): `torch.nn.functional.ctc_loss`.

    α_t(s) = p_t(l_s)·(α_{t-1}(s) + α_{t-1}(s-1) + α_{t-1}(s-2)), in logarithms; l is the target with blanks
    around every label, and the third term is there only where l_s is a label other than l_{s-2}.

    Args:
        log_probs: (T, N, C), or (T, C) for one sequence: log_softmax of what a network says at every step.
        targets: labels, padded (N, S), or all in one row, (Σ target_lengths).
        input_lengths, target_lengths: for each sequence (one int for a single one), at least 1 and 0.
        blank: the class that is no label.
        reduction: "mean" divides each loss by its target's length, then takes the mean; "sum"; "none".
        zero_infinity: no loss where a target is longer than any path can read, instead of an infinite one
            (its gradient is zero either way).

    Raises ValueError or TypeError where lengths, shapes or labels do not fit. The gradient is the derivative
    by log_probs; PyTorch's adds softmax(log_probs), which makes no difference behind a log_softmax.

    >>> import tinygrad_rnn as tg
    >>> half = tg.full((3, 1, 2), 0.5)  # six of the eight paths read "a": all but "---" and "a-a"
    >>> tg.ops.exp(-ctc_loss(tg.ops.log(half), [[1]], [3], [1]))
    tensor(0.75)
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
    single = log_probs.ndim == 2
    if single:
        log_probs, targets = ops.expand_dims(log_probs, 1), np.atleast_2d(_host(targets))
        input_lengths, target_lengths = map(np.atleast_1d, map(_host, (input_lengths, target_lengths)))
    labels, ends, lengths = _checked(log_probs, targets, input_lengths, target_lengths, blank)
    loss = -_log_probability(log_probs, labels, ends, lengths, blank)
    if zero_infinity:
        loss = ops.where(ops.isinf(loss), 0.0, loss)
    if reduction == "mean":
        return ops.mean(loss / Tensor(asarray(np.maximum(lengths, 1).astype(loss.dtype), device=loss.device)))
    return ops.sum(loss) if reduction == "sum" else loss[0] if single else loss


def _log_probability(log_probs: Any, labels: Any, ends: Any, lengths: Any, blank: int) -> Any:
    """The forward recursion: log p of each labelling, (N)."""
    (steps, n, _), kind = log_probs.shape, log_probs.dtype

    def constant(allowed: Any) -> Tensor:
        """0 where allowed, -inf where not, to be added to logarithms."""
        return Tensor(asarray(np.where(allowed, 0.0, -np.inf).astype(kind), device=log_probs.device))

    spread = np.full((n, 2 * labels.shape[1] + 1), blank)  # blanks at 0, 2, …, labels at 1, 3, …
    spread[:, 1::2] = labels
    place, last = np.arange(spread.shape[1]), 2 * lengths[:, None]
    two_before = np.pad(spread[:, :-2], ((0, 0), (2, 0)), constant_values=blank)[:, : spread.shape[1]]
    skips = (spread != blank) & (spread != two_before)
    reach = constant(np.stack([np.ones_like(skips), np.ones_like(skips), skips]))
    final = constant((place == last) | (place == last - 1))

    if (ends < steps).any():  # what stands in the padding must not matter, NaN included
        there = np.arange(steps)[:, None, None] < ends[:, None]
        log_probs = ops.where(Tensor(asarray(there, device=log_probs.device)), log_probs, 0.0)
    where = (np.arange(steps)[:, None, None], np.arange(n)[:, None], spread)
    said = ops.getitem(log_probs, tuple(asarray(w, device=log_probs.device) for w in where))
    at_end = tuple(asarray(w, device=log_probs.device) for w in (ends - 1, np.arange(n)))
    return _Recursion(constant(place[None] < 2), reach, final, at_end).run(said)


@primitive
def moved(xp: Any, alpha: Any, reach: Any, /) -> Any:
    """log(e^α(s) + e^α(s-1) + e^α(s-2)), (N, S): the paths one step on; `reach` (3, N, S) is 0, or -inf."""
    return ops.logsumexp.within(xp)(_terms(alpha, xp, reach), axis=0)


def _terms(alpha: Any, xp: Any, reach: Any) -> Any:
    """The three places where a path can have been, (3, N, S): here, one before, two before."""
    nowhere, places = xp.full_like(alpha[:, :1], -math.inf), alpha.shape[1]
    wide = xp.concatenate([nowhere, nowhere, alpha], axis=1)
    return xp.stack([wide[:, k : k + places] for k in (2, 1, 0)]) + reach


def _moved_rule(g: Any, xp: Any, alpha: Any, y: Any, reach: Any) -> Any:
    """To each place what the three that it feeds send back, by its share in them."""
    here, one, two = g * xp.exp(_terms(alpha, xp, reach) - _finite(y, xp))
    end = xp.zeros_like(alpha[:, :1])
    one, two = xp.concatenate([one, end], axis=1), xp.concatenate([two, end, end], axis=1)
    return here + one[:, 1:] + two[:, 2:]


moved.vjp(alpha=_moved_rule)


class _Recursion:
    """From what is said at every step and place (T, N, S): log p (N), as one node that knows its definition.

    0 or -inf say where a path may begin, `start` (1, S), where it may go, `reach` (3, N, S), and where it may
    end, `final` (N, S); `at_end` are the last step and the number of each sequence.
    """

    name, primitive, send, fresh = "ctc", moved.primitive, None, True
    names, kinds = ("said", "log_p", "padded", "came"), (0, None, None, None)

    def __init__(self, start: Tensor, reach: Tensor, final: Tensor, at_end: tuple[Any, Any]) -> None:
        self.start, self.reach, self.final, self.at_end = start, reach, final, at_end

    def run(self, said: Tensor) -> Tensor:
        """All steps in one loop over arrays."""
        padded, came = self._alphas(said.data)
        xp = namespace(padded)
        log_p = ops.logsumexp.within(xp)(self._last(padded), axis=-1)
        if not mode.get().recording or said.node is None:
            return Tensor(log_p)
        plan: Any = self
        return several(plan, origins([said.node], [said]), (said.data, log_p, padded, came), (log_p,))[0]

    def definition(self, said: Tensor) -> tuple[Tensor]:
        """The same, each step in its place."""
        alphas: list[Tensor] = []
        for t, p in enumerate(ops.unstack(said)):
            with part("ctc"), at(time=t):
                alphas.append(p + (moved(alphas[-1], self.reach) if t else self.start))
        with part("ctc"):
            return (ops.logsumexp(ops.getitem(ops.stack(alphas), self.at_end) + self.final, axis=-1),)

    def _alphas(self, said: Any) -> tuple[Any, Any]:
        """α, and the part of it that came from the step before; places first, so that a shift is a slice."""
        xp, (steps, n, places) = namespace(said), said.shape
        padded = xp.full((steps, places + 2, n), -math.inf, said.dtype)
        alphas, came = padded[:, 2:], xp.empty((steps, places, n), said.dtype)
        alphas[...] = said.transpose(0, 2, 1)
        came[0] = self.start.data.T
        alphas[0] += came[0]
        skips, lowest = self._skips(xp), xp.finfo(said.dtype).min
        with np.errstate(divide="ignore"):
            for here, one, before, after, sums in zip(
                alphas, padded[:, 1:-1], padded[:, :-2], alphas[1:], came[1:], strict=False
            ):
                two = before + skips
                top = xp.maximum(xp.maximum(here, one), two)
                xp.maximum(top, lowest, out=top)
                two -= top
                xp.exp(two, out=two)
                two += xp.exp(here - top)
                two += xp.exp(one - top)
                xp.add(xp.log(two, out=two), top, out=sums)
                after += sums
        return padded, came

    def _skips(self, xp: Any) -> Any:
        return xp.ascontiguousarray(self.reach.data[2].T)

    def _last(self, padded: Any) -> Any:
        """α at each sequence's own last step, where it may end (N, S)."""
        step, number = self.at_end
        return padded[step, 2:, number] + self.final.data

    def pull(self, g: Any, saved: Any, xp: Any) -> tuple[Any]:
        """Back through all steps, by the share that each place has in the three that it feeds."""
        said, log_p, padded, came = saved
        if isinstance(said, Tensor):
            return (grad(self.definition(said), said, g, create_graph=True),)
        d, (step, number) = xp.zeros_like(came), self.at_end
        d[step, :, number] = g[0][:, None] * xp.exp(self._last(padded) - _finite(log_p, xp)[:, None])
        reached = _finite(came[1:], xp)
        terms = padded[:-1, 2:], padded[:-1, 1:-1], padded[:-1, :-2] + self._skips(xp)
        shares = [xp.exp(term - reached) for term in terms]
        for t in range(len(d) - 1, 0, -1):
            before, after = d[t - 1], d[t]
            here, one, two = [share[t - 1] * after for share in shares]
            before += here
            before[:-1] += one[1:]
            before[:-2] += two[2:]
        return (d.transpose(0, 2, 1),)


def _finite(y: Any, xp: Any) -> Any:
    """Logarithms that may be subtracted: 0 for -inf, which stands over other -inf alone."""
    return xp.where(xp.isfinite(y), y, 0.0)


def _checked(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int) -> Any:
    """Labels (N, S), blank where there is none; and both lengths: arrays on the host."""
    if log_probs.ndim != 3 or log_probs.dtype.kind != "f":
        raise ValueError(
            f"expected floating log_probs (T, N, C) or (T, C), got {log_probs.dtype} {log_probs.shape}"
        )
    steps, n, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise ValueError(f"expected a blank from 0 to {classes - 1}, got {blank}")
    found, lengths = _host(targets), _host(target_lengths)
    ends = check_lengths(_host(input_lengths), steps, n)
    if found.dtype.kind not in "iu" or lengths.dtype.kind not in "iu":
        raise TypeError(f"expected integer targets and lengths, got {found.dtype} and {lengths.dtype}")
    if lengths.shape != (n,) or (lengths < 0).any():
        raise ValueError(f"expected a target length ≥ 0 for each of {n} sequences, got {lengths.tolist()}")
    if found.ndim == 1 and len(found) == lengths.sum():
        rows = np.split(found, np.cumsum(lengths)[:-1])
    elif found.ndim == 2 and len(found) == n and found.shape[1] >= lengths.max(initial=0):
        rows = [row[:length] for row, length in zip(found, lengths, strict=True)]
    else:
        expected = f"({n}, {lengths.max(initial=0)} or more) or ({lengths.sum()},)"
        raise ValueError(f"expected targets {expected} for these lengths, got {found.shape}")
    labels = np.full((n, int(lengths.max(initial=0))), blank)
    for row, given in zip(labels, rows, strict=True):
        row[: len(given)] = given
        wrong = given[(given < 0) | (given >= classes) | (given == blank)]
        if len(wrong):
            expected = f"labels from 0 to {classes - 1} other than the blank {blank}"
            raise ValueError(f"expected {expected}, got {wrong[0]}")
    return labels, ends, lengths.astype(np.int64)


def check_room(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0) -> None:
    """ValueError for a target that no path can read: it needs a step per label, and one between repeats."""
    labels, ends, lengths = _checked(log_probs, targets, input_lengths, target_lengths, blank)
    repeats = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] != blank)
    needed = lengths + repeats.sum(axis=1)
    for n in np.flatnonzero(needed > ends)[:1]:
        came = f"{ends[n]} steps for a target that needs {needed[n]} (sequence {n})"
        raise ValueError(f"expected inputs long enough for their targets, got {came}")


def _host(values: Any) -> np.ndarray[Any, Any]:
    """Integers on the host, whatever they come as: a Tensor, an array, a list."""
    found = np.asarray(to_numpy(raw(values)) if hasattr(raw(values), "get") else raw(values))
    return found.astype(np.int64) if not found.size else found


# -- decoding ------------------------------------------------------------------------------------------


def ctc_greedy_decode(log_probs: Any, input_lengths: Any = None, blank: int = 0) -> list[list[int]]:
    """What the most probable path reads as, for each sequence of log_probs (T, N, C): its labels.

    That is fast, and not always the most probable labelling: see `ctc_beam_decode`.

    >>> import tinygrad_rnn as tg
    >>> path = [0, 1, 1, 0, 1, 2]
    >>> ctc_greedy_decode(tg.ops.log(tg.nn.functional.one_hot(tg.tensor(path), 3)[:, None] + 0.1))
    [[1, 1, 2]]
    """
    return [
        [label for label, _ in groupby(rows.argmax(axis=-1).tolist()) if label != blank]
        for rows in _sequences(log_probs, input_lengths)
    ]


def ctc_beam_decode(
    log_probs: Any, input_lengths: Any = None, blank: int = 0, beam_width: int = 16
) -> list[list[tuple[list[int], float]]]:
    """The most probable labellings of each sequence of log_probs (T, N, C): (labels, log p), best first.

    Prefix search keeps the `beam_width` best beginnings at every step, each with all paths that read so; with
    room for all of them it is exact. Source: Graves et al. 2006; in this form Hannun et al. 2014.

    >>> import tinygrad_rnn as tg
    >>> log_probs = tg.ops.log(tg.tensor([[[0.6, 0.4]], [[0.6, 0.4]]]))
    >>> ctc_greedy_decode(log_probs), ctc_beam_decode(log_probs)[0][0][0]
    ([[]], [1])
    """
    if beam_width < 1:
        raise ValueError(f"expected a beam_width ≥ 1, got {beam_width}")
    return [_beams(rows, blank, beam_width) for rows in _sequences(log_probs, input_lengths)]


def _beams(rows: Any, blank: int, width: int) -> list[tuple[list[int], float]]:
    """Prefix → log p of the paths that end in a blank, and of those that end in its last label."""
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for row in rows.tolist():
        found: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        for prefix, (after_blank, after_label) in beams.items():
            either = _log_add(after_blank, after_label)
            for label, p in enumerate(row):
                if label == blank:
                    _gain(found[prefix], 0, either + p)
                elif prefix[-1:] == (label,):
                    _gain(found[prefix], 1, after_label + p)
                    _gain(found[(*prefix, label)], 1, after_blank + p)
                else:
                    _gain(found[(*prefix, label)], 1, either + p)
        weighed = {prefix: _log_add(*both) for prefix, both in found.items() if max(both) > -math.inf}
        best = sorted(weighed, key=weighed.__getitem__, reverse=True)[:width]
        beams = {prefix: (found[prefix][0], found[prefix][1]) for prefix in best}
    return [(list(prefix), weighed[prefix]) for prefix in beams]


def _gain(entry: list[float], which: int, log_p: float) -> None:
    entry[which] = _log_add(entry[which], log_p)


def _log_add(a: float, b: float) -> float:
    """log(eᵃ + eᵇ)."""
    low, high = sorted((a, b))
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _sequences(log_probs: Any, input_lengths: Any) -> Sequence[Any]:
    """Each sequence's own steps, (T_n, C), on the host."""
    host = to_numpy(raw(log_probs))
    if host.ndim == 2:
        host = host[:, None]
    if host.ndim != 3:
        raise ValueError(f"expected log_probs (T, N, C) or (T, C), got {host.shape}")
    steps, n = host.shape[:2]
    given = np.full(n, steps) if input_lengths is None else np.atleast_1d(_host(input_lengths))
    return [host[:length, k] for k, length in enumerate(check_lengths(given, steps, n))]
