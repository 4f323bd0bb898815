"""What goes wrong in a run is said in one sentence, and the last good checkpoint stays."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

pytest.importorskip("safetensors")

from runs import loss, made, same, task, weights
from test_fit import Reader, next_letter

import tinygrad_rnn as tg
from tinygrad_rnn import ops, optim, train
from tinygrad_rnn.optim import lr_scheduler


def poisoned(net, batch):
    """log of what the third step makes negative: a NaN in a known operation."""
    poisoned.calls += 1
    logits = net(batch.x, batch.lengths)
    if poisoned.calls < 5:
        return loss(net, batch)
    with np.errstate(invalid="ignore"):
        return ops.log(-ops.mean(logits * logits))


def infinite_gradient(net, batch):
    """A finite loss whose gradient is not: √x at 0."""
    return ops.sum(ops.sqrt(net.head.bias * 0.0))


def test_a_nan_stops_the_run_names_operation_and_step_and_keeps_the_checkpoint(tmp_path):
    poisoned.calls = 0
    net, optimizer, data = made()
    kept = []
    with pytest.raises(train.Diverged) as error:
        train.fit(
            net, poisoned, optimizer, data, epochs=3, directory=tmp_path, progress=False,
            callbacks=[lambda run: kept.append(weights(run.model))],
        )  # fmt: skip
    said = str(error.value)
    assert said.startswith("expected a finite loss, got nan at step 5 (epoch 2, batch 2): NaN first appeared")
    assert (
        "in the forward of log" in said
        and "test_bad_input.py" in said
        and "the last good checkpoint is" in said
    )
    state = tg.load(tmp_path / "checkpoint.safetensors")
    found = {name: state[f"parts.model.{name}"].numpy() for name in weights(net)}
    assert same(found, kept[0])
    again = train.fit(net, loss, optimizer, data, epochs=3, directory=tmp_path, resume=True, progress=False)
    assert again.step == 9


def test_a_gradient_that_is_no_number_never_reaches_the_weights():
    net, optimizer, data = made()
    before = weights(net)
    said = r"finite gradient, got one of norm nan at step 1 .*backward of sqrt"
    with pytest.raises(train.Diverged, match=said), np.errstate(divide="ignore", invalid="ignore"):
        train.fit(net, infinite_gradient, optimizer, data, epochs=1, progress=False)
    assert same(before, weights(net)) and all(p.grad is None for p in net.parameters())


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    net, optimizer, data = made()

    def spoil(run):
        if run.step == 2:
            run.model.head.bias.copy_(np.inf)

    with pytest.raises(train.Diverged, match=r"NaN or infinity in head.bias after step 2; the last good"):
        train.fit(
            net, loss, optimizer, data, epochs=1, directory=tmp_path, checkpoint_every=1, progress=False,
            step_callbacks=[spoil],
        )  # fmt: skip
    assert np.isfinite(tg.load(tmp_path / "checkpoint.safetensors")["parts.model.head.bias"].numpy()).all()


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_full_disk_is_a_sentence_and_the_checkpoint_before_is_whole(fails, tmp_path, monkeypatch):
    net, optimizer, data = made(dropout=0.5)
    options = {"epochs": 3, "directory": tmp_path, "progress": False, "seed": 0}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(run):
        if run.step == 5:
            monkeypatch.setattr(os, fails, full)

    said = (
        r"expected to write into .*, got: No space left on device; the checkpoint in .* make room and go on"
    )
    with pytest.raises(OSError, match=said) as error:
        train.fit(net, loss, optimizer, data, step_callbacks=[fill], **options)
    assert error.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    net, optimizer, data = made(dropout=0.5)
    train.fit(net, loss, optimizer, data, resume=True, **options)
    other, optimizer, data = made(dropout=0.5)
    train.fit(other, loss, optimizer, data, epochs=3, seed=0, progress=False)
    assert same(weights(net), weights(other))


def out_of_range():
    net, optimizer, _ = made()
    x, y = task()
    return train.fit(net, loss, optimizer, train.Batches(x, y + 3), epochs=1, progress=False)


def another_batch_size():
    batches = [batch for size in (2, 4) for batch in train.Windows(range(9), steps=2, batch_size=size)]

    class Changing(list):
        carries = True

    net = Reader()
    with_mod = lambda net, batch, state: next_letter(net, train.Batch(batch.x % 4, batch.y % 4), state)
    return train.fit(net, with_mod, optim.SGD(net.parameters()), Changing(batches), epochs=1, progress=False)


def run(loss_fn=loss, data=None, **options):
    net, optimizer, own = made()
    if "schedule" in options:
        options["schedule"] = options["schedule"](optimizer)
    return train.fit(
        net, loss_fn, optimizer, own if data is None else data, **{"epochs": 1, "progress": False, **options}
    )


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: run(data=[]), ValueError, "at least one batch in epoch 1, got none"),
        (lambda: run(data=iter(made()[2]), epochs=2), ValueError, "in epoch 2, .* one pass has used up"),
        (lambda: run(validation=[]), ValueError, "at least one batch to validate with"),
        (out_of_range, ValueError, "expected class numbers from 0 to 2, got [345]"),
        (another_batch_size, ValueError, r"h \(layers·D, N, H\) = \(1, 4, 6\), got \(1, 2, 6\)"),
        (lambda: run(lambda net, batch: net(batch.x)), TypeError, r"a scalar Tensor, got shape \(8, 3\)"),
        (lambda: run(lambda net, batch: 1.0), TypeError, "a scalar Tensor, got float"),
        (lambda: run(epochs=0), ValueError, "epochs ≥ 1, got 0"),
        (lambda: run(accumulate=0), ValueError, "accumulate ≥ 1, got 0"),
        (lambda: run(checkpoint_every=-1, directory="x"), ValueError, "checkpoint_every ≥ 1, got -1"),
        (lambda: run(checkpoint_every=0, directory="x"), ValueError, "checkpoint_every ≥ 1, got 0"),
        (lambda: run(schedule_each="batch"), ValueError, "schedule_each 'epoch' or 'step'"),
        (lambda: run(mode="least"), ValueError, "got 'epoch' and 'least'"),
        (lambda: run(metrics={"right": len}), ValueError, "validation data to measure right on"),
        (lambda: run(monitor="right"), ValueError, r"one of \['gradient_norm', .* got 'right'"),
        (
            lambda: run(monitor="right", callbacks=[lambda run: None]),
            ValueError, r"one of \['loss', .* got 'right'",
        ),
        (lambda: run(monitor="right", directory="x"), ValueError, "expected monitor to be one of"),
        (lambda: run(resume=True), ValueError, "a directory with resume"),
        (
            lambda: train.fit(made()[0], loss, *made()[1:], epochs=1, progress=False),
            ValueError, "an optimizer of the model's parameters, got one that has none of them",
        ),
        (
            lambda: run(schedule=lr_scheduler.ReduceLROnPlateau, schedule_each="step"),
            ValueError, "ReduceLROnPlateau with schedule_each='epoch'",
        ),
        (
            lambda: run(lambda net, batch: ops.mean(net.head.bias), probe=next(iter(made()[2]))),
            ValueError, "a probe with a recurrent layer",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_sentence(call, kind, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=said) as error:
        call()
    assert "\n" not in str(error.value) and not os.listdir(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"a folder for the run, found a file at .*file"):
        run(directory=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_without_safetensors_a_directory_says_what_brings_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    with pytest.raises(ModuleNotFoundError, match=r"tinygrad-rnn\[train\]"):
        run(directory=tmp_path)
    assert run().step == 3
