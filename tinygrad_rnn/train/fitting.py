"""Training in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinygrad_rnn import namespaces
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.optim import Optimizer
from tinygrad_rnn.optim.lr_scheduler import ReduceLROnPlateau
from tinygrad_rnn.train.folder import Folder
from tinygrad_rnn.train.loop import FIGURES, Loop
from tinygrad_rnn.train.run import Run


def fit(
    model: Module, loss_fn: Callable[..., Any], optimizer: Optimizer, data: Any, *, epochs: int,
    validation: Any = None, metrics: Mapping[str, Callable[[Any, Any], Any]] | None = None,
    schedule: Any = None, schedule_each: str = "epoch", accumulate: int = 1, clip: float | None = None,
    patience: int | None = None, monitor: str | None = None, mode: str = "min", scaler: Any = None,
    seed: int | None = None, directory: str | os.PathLike[str] | None = None, resume: bool = False,
    checkpoint_every: int | None = None, callbacks: Sequence[Callable[[Run], Any]] = (),
    step_callbacks: Sequence[Callable[[Run], Any]] = (), probe: Any = None, progress: bool = True,
) -> Run:  # fmt: skip
    """Train a model, and return the `Run`; the model is left in evaluation mode.

    Args:
        model: any Module; `optimizer` has its parameters.
        loss_fn: (model, batch) → a scalar, the mean over the batch; where the data `carries` a state, as
            `Windows` does, (model, batch, state) → (scalar, state), the state being None at the beginning.
        data: `Batches`, `Windows`, or any collection of batches.
        epochs: how often to go through the data.
        validation: the same, measured after every epoch without dropout.
        metrics: name → (model, batch) → a number; the mean over the validation's sequences is recorded.
        schedule: a scheduler, stepped after each "epoch" or, with `schedule_each`, each "step";
            `ReduceLROnPlateau` is told the monitored figure.
        accumulate: batches per step of the optimiser; their gradients are those of one large batch.
        clip: the largest norm of all gradients together.
        patience: stop when the monitored figure has not improved for more epochs than that, and go back to
            the best weights.
        monitor: the figure of the record that counts: by default the validation's loss, else the loss.
        mode: whether it is to become small ("min") or large ("max").
        scaler: for float16: an `optim.GradScaler`, or an object with its methods.
        seed: of the library's random streams, dropout's; the data has a seed of its own.
        directory: where to keep checkpoint.safetensors, log.jsonl and, at the end, weights.safetensors.
        resume: go on with the run in `directory`, if there is one, where its checkpoint was made.
        checkpoint_every: steps from checkpoint to checkpoint; one is made after every epoch in any case.
        callbacks: called with the Run after every epoch; may add to `run.records[-1]` and `run.stop()`.
        step_callbacks: called with the Run after every step.
        probe: a batch whose BPTT is measured after every epoch (`tg.flow`): the record's "flow".
        progress: show lines, and in a terminal with tqdm a bar, on stderr.

    Raises:
        ValueError: empty data; settings, or a checkpoint, that do not fit.
        FileExistsError: a run is in the directory, and `resume` is False.
        Diverged: a NaN or an infinity; says in which operation and time step it began.
        OSError: no room on the disk. After each of these the last checkpoint is there, whole.
        KeyboardInterrupt: Ctrl-C, once the step is finished and saved; says where.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import nn, optim, train
    >>> net, data = nn.GRU(1, 4), train.Batches(tg.randn(8, 5, 1), batch_size=4)
    >>> def loss(net, batch):
    ...     return (net(batch.x)[0] ** 2).mean()
    >>> run = train.fit(net, loss, optim.Adam(net.parameters()), data, epochs=3, progress=False)
    >>> run.step, run.records[-1]["loss"] < run.records[0]["loss"]
    (6, True)
    """
    least = {
        "epochs": epochs,
        "accumulate": accumulate,
        "checkpoint_every": 1 if checkpoint_every is None else checkpoint_every,
    }
    for name, count in least.items():
        if count < 1:
            raise ValueError(f"expected {name} ≥ 1, got {count}")
    if schedule_each not in ("epoch", "step") or mode not in ("min", "max"):
        came = f"{schedule_each!r} and {mode!r}"
        raise ValueError(f"expected schedule_each 'epoch' or 'step' and mode 'min' or 'max', got {came}")
    if schedule_each == "step" and isinstance(schedule, ReduceLROnPlateau):
        raise ValueError("expected ReduceLROnPlateau with schedule_each='epoch', got 'step'")
    if metrics and validation is None:
        raise ValueError(f"expected validation data to measure {', '.join(metrics)} on, got none")
    if directory is None and (resume or checkpoint_every is not None):
        raise ValueError("expected a directory with resume or checkpoint_every, got none")
    members = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if members.isdisjoint(map(id, model.parameters())):
        raise ValueError("expected an optimizer of the model's parameters, got one that has none of them")
    figures = {*FIGURES, *(metrics or {}), *(["validation_loss"] if validation is not None else [])}
    if monitor is not None and monitor not in figures and not callbacks:
        raise ValueError(f"expected monitor to be one of {sorted(figures)}, got {monitor!r}")
    if seed is not None:
        namespaces.manual_seed(seed)
    run = Run(model, optimizer, None if directory is None else Path(directory))
    Loop(
        run=run, folder=None if directory is None else Folder(directory, resume), shown=progress,
        loss_fn=loss_fn, data=data, epochs=epochs, validation=validation, metrics=metrics or {},
        schedule=schedule, schedule_each=schedule_each, accumulate=accumulate, clip=clip, patience=patience,
        monitor=monitor or ("loss" if validation is None else "validation_loss"), mode=mode, scaler=scaler,
        checkpoint_every=checkpoint_every, callbacks=callbacks, step_callbacks=step_callbacks, probe=probe,
    ).go()  # fmt: skip
    return run
