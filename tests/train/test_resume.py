"""A run that stopped, however it stopped, goes on to the very weights of one that did not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("safetensors")

from runs import loss, made, same, task, weights
from test_fit import Reader, next_letter

import tinygrad_rnn as tg
from benchmarks import resume
from tinygrad_rnn import nn, optim, train
from tinygrad_rnn.optim import lr_scheduler

ROOT = Path(__file__).resolve().parent.parent.parent


class Killed(Exception):
    """Stands for the end of the process: nothing that runs after it may write."""


def dies_at(step):
    def die(run):
        if run.step == step:
            raise Killed

    return die


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_weights_and_log(tmp_path):
    for after, at, weights_same, log_same in resume.rounds(tmp_path, kills=3, seed=1):
        assert weights_same and log_same, f"killed after {after} s at {at}"


RULES = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True}, "Adam": {"amsgrad": True}, "AdamW": {},
    "RMSprop": {"centered": True, "momentum": 0.5}, "Adagrad": {"lr_decay": 0.1},
}  # fmt: skip
SCHEDULES = {
    "StepLR": {"step_size": 2}, "CosineAnnealingLR": {"T_max": 9},
    "LambdaLR": {"lr_lambda": lambda n: 0.9**n},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 20, "cycle_momentum": False},
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimiser_and_schedule_goes_on_mid_epoch(rule, schedule, tmp_path):
    def run(directory, **options):
        net, _, data = made(dropout=0.5, bucket=True)
        optimizer = getattr(optim, rule)(net.parameters(), **RULES[rule])
        scheduler = getattr(lr_scheduler, schedule)(optimizer, **SCHEDULES[schedule])
        train.fit(
            net, loss, optimizer, data, epochs=3, seed=1, schedule=scheduler, schedule_each="step", clip=1.0,
            directory=directory, resume=True, checkpoint_every=2, progress=False, **options,
        )  # fmt: skip
        return weights(net)

    whole = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "cut", step_callbacks=[dies_at(5)])
    tg.rand(7)
    assert same(run(tmp_path / "cut"), whole)
    assert resume.log_of(tmp_path / "cut") == resume.log_of(tmp_path / "whole")


def test_carried_state_plateau_patience_and_best_weights_go_on_too(tmp_path):
    text = np.random.default_rng(1).integers(0, 4, 61)

    def run(directory, **options):
        tg.manual_seed(0)
        net = Reader()
        optimizer = optim.SGD(net.parameters(), lr=5.0)
        plateau = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        data = train.Windows(text, steps=5, batch_size=2)
        found = train.fit(
            net, next_letter, optimizer, data, epochs=8, validation=train.Windows(text[::-1], steps=30),
            schedule=plateau, patience=0, directory=directory, resume=True, checkpoint_every=4,
            progress=False, **options,
        )  # fmt: skip
        return weights(net), found

    whole, run_of_it = run(tmp_path / "whole")
    assert run_of_it.ended and run_of_it.best["epoch"] < run_of_it.epoch
    for step in (5, 9, run_of_it.step):
        with pytest.raises(Killed):
            run(tmp_path / str(step), step_callbacks=[dies_at(step)])
        found, again = run(tmp_path / str(step))
        assert same(found, whole) and again.ended == run_of_it.ended and again.loss == run_of_it.loss
        assert [r["loss"] for r in again.records] == [r["loss"] for r in run_of_it.records]
    found, again = run(tmp_path / "whole")
    assert same(found, whole) and again.loss == run_of_it.loss, "a finished run is left as it ended"


def test_the_scale_of_half_precision_goes_on_too(tmp_path):
    def run(directory, **options):
        net, optimizer, data = made(dropout=0.5, lr=0.01)
        scaler = optim.GradScaler(init_scale=1024.0, growth_interval=2)
        train.fit(
            net, loss, optimizer, data, epochs=3, seed=0, scaler=scaler, clip=1.0, directory=directory,
            resume=True, checkpoint_every=3, progress=False, **options,
        )  # fmt: skip
        return weights(net), scaler.get_scale()

    whole, scale = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "cut", step_callbacks=[dies_at(5)])
    found, found_scale = run(tmp_path / "cut")
    assert same(found, whole) and found_scale == scale == 1024.0 * 2**4


def test_more_epochs_go_on_from_the_last_weights(tmp_path):
    found = []
    for directory, legs in (("a", (2, 5)), ("b", (5,))):
        for epochs in legs:
            net, optimizer, data = made(dropout=0.5)
            train.fit(
                net, loss, optimizer, data, epochs=epochs, directory=tmp_path / directory, resume=True,
                progress=False, seed=3,
            )  # fmt: skip
        found.append(weights(net))
    assert same(*found)


def test_what_a_killed_run_wrote_after_its_checkpoint_is_taken_back(tmp_path):
    net, optimizer, data = made()
    train.fit(net, loss, optimizer, data, epochs=2, directory=tmp_path, progress=False)
    log = (tmp_path / "log.jsonl").read_bytes()
    (tmp_path / "log.jsonl").write_bytes(log + b'{"epoch": 3, "los')
    (tmp_path / ".checkpoint.safetensors.x8d1").write_bytes(b"half")
    run = train.fit(net, loss, optimizer, data, epochs=3, directory=tmp_path, resume=True, progress=False)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [r["epoch"] for r in run.records] == [1, 2, 3]
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.safetensors", "log.jsonl", "weights.safetensors"]


def test_the_weights_are_written_as_the_model_can_be_read_again(tmp_path):
    net, optimizer, data = made()
    train.fit(net, loss, optimizer, data, epochs=1, directory=tmp_path / "plain", progress=False)
    assert same(
        {k: v.numpy() for k, v in tg.load(tmp_path / "plain/weights.safetensors").items()}, weights(net)
    )
    reader = nn.SequenceClassifier("ab", ["x", "y"], hidden_size=2)
    texts = train.Batches(["ab", "b"], [0, 1])
    by_class = lambda net, batch: nn.functional.cross_entropy(net(batch.x), batch.y)
    train.fit(
        reader, by_class, optim.SGD(reader.parameters()), texts, epochs=1, directory=tmp_path, progress=False
    )
    again = tg.load_network(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(again("ab").numpy(), reader("ab").numpy())


def test_ctrl_c_finishes_the_step_saves_and_says_where(tmp_path):
    def press(run):
        if run.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    net, optimizer, data = made(dropout=0.5)
    options = {"epochs": 3, "seed": 0, "progress": False}
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"after step 4, saved as .*checkpoint.safetensors: go on"):
        train.fit(net, loss, optimizer, data, directory=tmp_path, step_callbacks=[press], **options)
    assert signal.getsignal(signal.SIGINT) is before
    other, optimizer, data = made(dropout=0.5)
    run = train.fit(other, loss, optimizer, data, directory=tmp_path, resume=True, **options)
    assert run.step == 9
    net, optimizer, data = made(dropout=0.5)
    train.fit(net, loss, optimizer, data, **options)
    assert same(weights(net), weights(other))
    with pytest.raises(KeyboardInterrupt, match="nothing was saved, since there is no directory"):
        train.fit(net, loss, optimizer, data, step_callbacks=[press], **options)


def test_ctrl_c_during_validation_redoes_it(tmp_path):
    def press(net, batch):
        if not (tmp_path / "pressed").exists():
            (tmp_path / "pressed").touch()
            os.kill(os.getpid(), signal.SIGINT)
        return 0

    net, optimizer, data = made()
    options = {
        "epochs": 2,
        "validation": data,
        "directory": tmp_path,
        "progress": False,
        "metrics": {"m": press},
    }
    with pytest.raises(KeyboardInterrupt, match="after step 3"):
        train.fit(net, loss, optimizer, data, **options)
    run = train.fit(net, loss, optimizer, data, resume=True, **options)
    assert [record["epoch"] for record in run.records] == [1, 2] and run.step == 6


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    code = """
import os, signal
from runs import made, loss
from tinygrad_rnn import train
net, optimizer, data = made()
def twice(net, batch):
    os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)
    print("not reached")
train.fit(net, twice, optimizer, data, epochs=1, progress=False)
"""
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    command, env = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert run.returncode != 0 and "KeyboardInterrupt" in run.stderr and not run.stdout


# -- what does not fit ---------------------------------------------------------------------------------


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    net, optimizer, data = made()
    train.fit(net, loss, optimizer, data, epochs=1, directory=tmp_path, progress=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match="pass resume=True to go on with it, or another directory"):
        train.fit(net, loss, optimizer, data, epochs=1, directory=tmp_path, progress=False)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def shorter(path):
    path.write_bytes(path.read_bytes()[:-100])


def foreign(path):
    tg.save({"a": tg.ones(2)}, path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shorter, "expected a safetensors file at .*checkpoint.safetensors.*, got one that says"),
        (lambda path: path.write_text("{}"), "expected a safetensors file at"),
        (foreign, "expected the checkpoint of a run at .*, got other tensors"),
    ],
)
def test_a_checkpoint_that_is_cut_short_or_foreign_is_refused_and_left(spoil, said, tmp_path):
    net, optimizer, data = made()
    train.fit(net, loss, optimizer, data, epochs=1, directory=tmp_path, progress=False)
    path = tmp_path / "checkpoint.safetensors"
    spoil(path)
    spoiled, before = path.read_bytes(), weights(net)
    with pytest.raises(ValueError, match=said):
        train.fit(net, loss, optimizer, data, epochs=2, directory=tmp_path, resume=True, progress=False)
    assert path.read_bytes() == spoiled and same(weights(net), before)


def whole_other(net):
    return {"model": net, "optimizer": optim.Adam(net.parameters())}


def another(change):
    net, optimizer, data = made()
    parts = {"model": net, "optimizer": optimizer, "data": data}
    parts.update(change(net))
    return parts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda net: {"optimizer": optim.SGD(net.parameters())}, "optimizer SGD .* got Adam of"),
        (lambda net: {"data": train.Batches(*task(20))}, r"data Batches\(20 sequences, .* got Batches\(24"),
        (lambda net: {"data": [1]}, "data list in"),
        (lambda net: {"accumulate": 2}, "accumulate 2 in .* got 1"),
        (lambda net: whole_other(nn.Linear(2, 3)), r"weight float32 \(3, 2\) in .*, got none"),
        (lambda net: {"model": net.double()}, r"float64 .* got float32"),
    ],
)
def test_another_network_or_other_data_are_refused_before_anything_changes(change, said, tmp_path):
    net, optimizer, data = made()
    train.fit(net, loss, optimizer, data, epochs=1, directory=tmp_path, progress=False)
    parts = another(change)
    before = weights(parts["model"])
    with pytest.raises(ValueError, match=said):
        train.fit(
            parts.pop("model"), loss, parts.pop("optimizer"), parts.pop("data"), epochs=2, directory=tmp_path,
            resume=True, progress=False, **parts,
        )  # fmt: skip
    assert same(before, weights(another(change)["model"]))
