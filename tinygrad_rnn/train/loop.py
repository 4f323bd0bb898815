"""What `fit` drives: steps, epochs, and the state between them.

The next step is a function of what `Loop.state` lists and of nothing else. So a run that is killed and goes
on from its checkpoint ends with the same weights, bit for bit, as one that was not. Validation, probes and
callbacks may draw random numbers as they like: the training's own streams do not notice.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from tinygrad_rnn import namespaces
from tinygrad_rnn.bptt import detached
from tinygrad_rnn.flow import flow
from tinygrad_rnn.modes import AnomalyError, detect_anomaly, no_grad
from tinygrad_rnn.namespaces import random_replayed
from tinygrad_rnn.nn.utils import clip_grad_norm_
from tinygrad_rnn.optim.lr_scheduler import ReduceLROnPlateau
from tinygrad_rnn.tensor import Tensor
from tinygrad_rnn.train.folder import Folder, Record
from tinygrad_rnn.train.progress import Progress, told
from tinygrad_rnn.train.run import Diverged, Run, interrupts

FIGURES = ("loss", "gradient_norm", "learning_rate", "seconds", "per_second")
"""What every record holds, beside the numbers of its epoch and step."""


@dataclass
class Loop:
    """A run: all that `fit` was asked for, and the state from step to step."""

    run: Run
    folder: Folder | None
    shown: bool
    loss_fn: Callable[..., Any]
    data: Any
    epochs: int
    validation: Any
    metrics: Mapping[str, Callable[[Any, Any], Any]]
    schedule: Any
    schedule_each: str
    accumulate: int
    clip: float | None
    patience: int | None
    monitor: str
    mode: str
    scaler: Any
    checkpoint_every: int | None
    callbacks: Sequence[Callable[[Run], Any]]
    step_callbacks: Sequence[Callable[[Run], Any]]
    probe: Any

    def __post_init__(self) -> None:
        self.totals = {"loss": 0.0, "gradient_norm": 0.0, "sequences": 0, "steps": 0, "seconds": 0.0}
        self.waited = 0
        self.carried: Any = None
        self.best_weights: dict[str, Tensor] = {}
        self.streams = namespaces.random_state()

    def go(self) -> None:
        """From the beginning, or from the folder's checkpoint, to the end."""
        run, found = self.run, None if self.folder is None else self.folder.load()
        if found is not None:
            self._restore(*found)
        else:
            self._save()
        count = len(self.data) if hasattr(self.data, "__len__") else None
        done = (count or 0) * run.epoch + run.batch
        self.progress = Progress(self.shown, None if count is None else count * self.epochs, done)
        try:
            with interrupts() as self.asked:
                while run.epoch < self.epochs and not run.ended:
                    self._epoch()
                    self._close_epoch()
            if self.patience is not None and self.best_weights:
                run.model.load_state_dict(self.best_weights)
            if self.folder is not None:
                self.folder.save_weights(run.model)
        finally:
            self.progress.close()
            run.model.eval()

    # -- learning --------------------------------------------------------------------------------------

    def _epoch(self) -> None:
        run = self.run
        run.model.train()
        clock = time.perf_counter()
        with closing(_batches(self.data, run.epoch, run.batch)) as batches:
            while group := list(itertools.islice(batches, self.accumulate)):
                self._step(group)
                now = time.perf_counter()
                self.totals["seconds"] += now - clock
                clock = now
                self.progress.step(len(group), run.loss)
                if self.step_callbacks:
                    with random_replayed(self.streams):
                        for callback in self.step_callbacks:
                            callback(run)
                if self.checkpoint_every and run.step % self.checkpoint_every == 0:
                    self._save()
                self._heed()
        if not run.batch:
            raise ValueError(
                f"expected at least one batch in epoch {run.epoch + 1}, got none: "
                "the data is empty, or a generator that one pass has used up"
            )

    def _step(self, group: list[Any]) -> None:
        """One step of the optimiser, from one batch or several: their gradients, weighed by their sizes."""
        run, scaler = self.run, self.scaler
        sizes = [_size(batch) for batch in group]
        run.optimizer.zero_grad()
        total, state = 0.0, self.carried
        for batch, size in zip(group, sizes, strict=True):
            loss, state = self._loss(self.data, batch, state)
            share = size / sum(sizes)
            total += share * loss.item()
            if not math.isfinite(total):
                self._diverged(f"loss, got {loss.item()}", group)
            loss = loss if share == 1 else loss * share
            (loss if scaler is None else scaler.scale(loss)).backward()
        if scaler is not None:
            scaler.unscale_(run.optimizer)
        parameters = [p for members in run.optimizer.param_groups for p in members["params"]]
        norm = clip_grad_norm_(parameters, math.inf if self.clip is None else self.clip).item()
        if scaler is None:
            if not math.isfinite(norm):
                self._diverged(f"gradient, got one of norm {norm}", group)
            run.optimizer.step()
        else:
            scaler.step(run.optimizer)
            scaler.update()
        if self.schedule is not None and self.schedule_each == "step":
            self.schedule.step()
        run.step, run.batch, run.loss = run.step + 1, run.batch + len(group), total
        self.carried, self.streams = state, namespaces.random_state()
        seen = {"loss": total * sum(sizes), "gradient_norm": norm, "sequences": sum(sizes), "steps": 1}
        for name, figure in seen.items():
            self.totals[name] += figure

    def _loss(self, data: Any, batch: Any, state: Any) -> tuple[Tensor, Any]:
        """The loss of a batch, and the state after it, where the data carries one."""
        if getattr(data, "carries", False):
            loss, state = self.loss_fn(self.run.model, batch, state)
        else:
            loss = self.loss_fn(self.run.model, batch)
        if not isinstance(loss, Tensor) or loss.size != 1:
            came = f"shape {loss.shape}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(f"expected loss_fn to give a scalar Tensor, got {came}")
        return loss, detached(state)

    def _diverged(self, what: str, group: list[Any]) -> NoReturn:
        """Stop, with the operation that made the first NaN: the batches are computed once more, looked at."""
        run, state = self.run, self.carried
        run.optimizer.zero_grad()
        cause = "computed once more it is finite"
        try:
            with random_replayed(self.streams), detect_anomaly(), np.errstate(all="ignore"):
                for batch in group:
                    loss, state = self._loss(self.data, batch, state)
                    loss.backward()
        except AnomalyError as anomaly:
            cause = str(anomaly)
        finally:
            run.optimizer.zero_grad()
        where = f"step {run.step + 1} (epoch {run.epoch + 1}, batch {run.batch + 1})"
        raise Diverged(f"expected a finite {what} at {where}: {cause}; {self._kept()}")

    # -- after an epoch --------------------------------------------------------------------------------

    def _close_epoch(self) -> None:
        run, totals = self.run, self.totals
        record: Record = {
            "epoch": run.epoch + 1,
            "step": run.step,
            "loss": totals["loss"] / totals["sequences"],
            "gradient_norm": totals["gradient_norm"] / totals["steps"],
            "learning_rate": run.optimizer.param_groups[0]["lr"],
        }
        run.model.eval()
        with random_replayed(self.streams):
            if self.validation is not None:
                record.update(self._validate())
            if self.probe is not None:
                record["flow"] = self._measure()
            record.update(seconds=totals["seconds"], per_second=totals["sequences"] / totals["seconds"])
            run.records.append(record)
            run.epoch, run.batch, self.carried = run.epoch + 1, 0, None
            for callback in self.callbacks:
                callback(run)
        self._judge(record)
        self.totals = dict.fromkeys(totals, 0)
        self.progress.line(told(record, self.epochs))
        if self.folder is not None:
            self.folder.append(record)
        self._save()

    def _validate(self) -> Record:
        """The validation's loss and metrics, each the mean over its sequences."""
        sums: defaultdict[str, float] = defaultdict(float)
        count, state = 0, None
        with no_grad(), closing(_batches(self.validation, 0, 0)) as batches:
            for batch in batches:
                size = _size(batch)
                loss, state = self._loss(self.validation, batch, state)
                sums["validation_loss"] += size * loss.item()
                for name, metric in self.metrics.items():
                    sums[name] += size * float(metric(self.run.model, batch))
                count += size
                self._heed()
        if not count:
            raise ValueError("expected at least one batch to validate with, got none")
        return {name: total / count for name, total in sums.items()}

    def _measure(self) -> Any:
        """‖∂L/∂h_t‖ of the probe by layer, direction and time, to four digits."""
        h = flow(self._loss(self.data, self.probe, None)[0]).h
        if not h.size:
            raise ValueError("expected a probe with a recurrent layer on its tape, got none")
        return np.vectorize(lambda norm: float(f"{norm:.4g}"))(h).tolist()

    def _judge(self, record: Record) -> None:
        """Compare with the best so far; tell the schedule."""
        run = self.run
        if self.monitor not in record:
            known = [name for name, value in record.items() if isinstance(value, float)]
            raise ValueError(f"expected monitor to be one of {known}, got {self.monitor!r}")
        figure, sign = record[self.monitor], 1 if self.mode == "min" else -1
        self.waited += 1
        if not math.isnan(figure) and (run.best is None or sign * figure < sign * run.best[self.monitor]):
            run.best, self.waited = record, 0
            if self.patience is not None:
                state = run.model.state_dict()
                self.best_weights = {name: Tensor(value.data.copy()) for name, value in state.items()}
        if self.patience is not None and self.waited > self.patience:
            run.stop(f"{self.monitor} has not improved for {self.waited} epochs")
        if self.schedule is not None and self.schedule_each == "epoch":
            self.schedule.step(*[figure] * isinstance(self.schedule, ReduceLROnPlateau))

    # -- saving and stopping ---------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        run = self.run
        parts: dict[str, Any] = {"model": run.model, "optimizer": run.optimizer}
        parts |= {"schedule": self.schedule, "scaler": self.scaler}
        memory = ("totals", "waited", "carried", "best_weights", "streams")
        counts = ("epoch", "batch", "step", "loss", "best", "ended")
        return {
            "made_for": self._made_for(),
            "parts": {name: part.state_dict() for name, part in parts.items() if part is not None},
            "run": {name: getattr(run, name) for name in counts},
            "loop": {name: getattr(self, name) for name in memory},
        }

    def _restore(self, state: dict[str, Any], records: list[Record]) -> None:
        """Go on from that state; ValueError, and nothing changed, where it is another network's or data's."""
        made_for, then = self._made_for(), state["made_for"]
        for name in {**made_for, **then}:
            now, was = made_for.get(name, "none"), then.get(name, "none")
            if now != was and self.folder is not None:
                raise ValueError(f"expected a run with {name} {now} in {self.folder.path}, got {was}")
        run, parts = self.run, state["parts"]
        run.model.load_state_dict(parts["model"])
        run.optimizer.load_state_dict(parts["optimizer"])
        for name in ("schedule", "scaler"):
            if name in parts:
                getattr(self, name).load_state_dict(parts[name])
        vars(run).update(state["run"], records=records)
        vars(self).update(state["loop"])
        namespaces.set_random_state(self.streams)

    def _made_for(self) -> dict[str, str]:
        """What must be the same for a run to go on."""
        optimizer = self.run.optimizer
        groups = [len(group["params"]) for group in optimizer.param_groups]
        return {
            **{name: f"{t.dtype} {t.shape}" for name, t in self.run.model.state_dict().items()},
            "optimizer": f"{type(optimizer).__name__} of {groups} parameters",
            "schedule": type(self.schedule).__name__,
            "scaler": type(self.scaler).__name__,
            "data": repr(self.data) if hasattr(self.data, "batches") else type(self.data).__name__,
            "accumulate": str(self.accumulate),
        }

    def _save(self) -> None:
        if self.folder is None:
            return
        for name, value in self.run.model.state_dict().items():
            xp = namespaces.namespace(value.data)
            if value.dtype.kind == "f" and not xp.isfinite(value.data).all().item():
                came = f"NaN or infinity in {name} after step {self.run.step}"
                raise Diverged(f"expected finite weights to save, got {came}; {self._kept()}")
        self.folder.save(self.state())

    def _kept(self) -> str:
        """Where the last good state is."""
        if self.folder is None or not self.folder.checkpoint.exists():
            return "nothing was saved"
        return f"the last good checkpoint is {self.folder.checkpoint}"

    def _heed(self) -> None:
        """Where Ctrl-C was pressed: save, and say where."""
        if not self.asked:
            return
        self._save()
        where = "; nothing was saved, since there is no directory"
        if self.folder is not None:
            where = f", saved as {self.folder.checkpoint}: go on with resume=True"
        raise KeyboardInterrupt(f"stopped after step {self.run.step}{where}")


def _batches(data: Any, epoch: int, start: int) -> Generator[Any, None, None]:
    """The batches of an epoch from number `start` on; of a plain collection, the same in every epoch."""
    if hasattr(data, "batches"):
        yield from data.batches(epoch, start)
    else:
        yield from itertools.islice(data, start, None)


def _size(batch: Any) -> int:
    """The number of sequences: the length of the batch, or of the last part of a tuple, its targets."""
    return len(batch[-1] if isinstance(batch, tuple) else batch)
