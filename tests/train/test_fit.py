"""`fit` does what the loop written out by hand does, and what its arguments say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from runs import Net, loss, made, right, same, task, weights

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, train
from tinygrad_rnn.optim import lr_scheduler

quiet = {"progress": False}


def test_it_is_the_loop_written_out_by_hand():
    net, optimizer, data = made()
    run = train.fit(net, loss, optimizer, data, epochs=3, clip=0.5, **quiet)
    other, optimizer, data = made()
    losses = []
    for epoch in range(3):
        for batch in data.batches(epoch):
            value = loss(other, batch)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(other.parameters(), 0.5)
            optimizer.step()
            losses.append(value.item())
    assert same(weights(net), weights(other))
    assert run.epoch == 3 and run.step == len(losses) == 9 and run.loss == losses[-1]
    assert [r["loss"] for r in run.records] == pytest.approx(np.reshape(losses, (3, 3)).mean(axis=1))
    assert not net.training


@pytest.mark.usefixtures("device")
def test_a_seed_makes_a_run_repeatable_to_the_bit():
    found = []
    for seed in (1, 1, 2):
        net, optimizer, data = made(dropout=0.5, prefetch=2)
        train.fit(net, loss, optimizer, data, epochs=2, seed=seed, **quiet)
        found.append(weights(net))
    assert same(found[0], found[1]) and not same(found[0], found[2])


@pytest.mark.parametrize("count", [24, 21])
def test_accumulated_batches_are_one_large_batch(count):
    x, y = task(count, dtype=np.float64)
    found = []
    for size, accumulate in ((12, 1), (4, 3)):
        tg.manual_seed(0)
        net = Net().double()
        data = train.Batches(x, y, batch_size=size, shuffle=False)
        optimizer = optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
        run = train.fit(net, loss, optimizer, data, epochs=3, accumulate=accumulate, clip=1.0, **quiet)
        found.append((weights(net), [record["loss"] for record in run.records], run.step))
    (a, a_losses, steps), (b, b_losses, b_steps) = found
    assert steps == b_steps == 6
    assert a_losses == pytest.approx(b_losses, rel=1e-12)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-11, atol=1e-13)


def test_validation_and_metrics_are_means_over_sequences_without_dropout():
    net, optimizer, data = made(dropout=0.5)
    x, y = task(21, seed=1)
    validation = train.Batches(x, y, batch_size=8)
    run = train.fit(
        net, loss, optimizer, data, epochs=2, validation=validation, metrics={"right": right}, **quiet
    )
    (whole,) = train.Batches(x, y, batch_size=21)
    assert run.records[-1]["validation_loss"] == pytest.approx(loss(net, whole).item(), rel=1e-5)
    assert run.records[-1]["right"] == pytest.approx(right(net, whole))


@pytest.mark.usefixtures("device")
def test_what_looks_on_does_not_change_the_training(tmp_path):
    net, optimizer, data = made(dropout=0.5)
    train.fit(net, loss, optimizer, data, epochs=3, seed=0, **quiet)
    other, optimizer, data = made(dropout=0.5)
    curious = lambda run: (tg.rand(3), run.model.eval())
    train.fit(
        other, loss, optimizer, data, epochs=3, seed=0, validation=data, probe=next(iter(data)),
        callbacks=[curious], step_callbacks=[lambda run: tg.rand(3)], directory=tmp_path, checkpoint_every=1,
        **quiet,
    )  # fmt: skip
    assert same(weights(net), weights(other))


def test_patience_stops_and_takes_the_best_weights():
    net, optimizer, data = made()
    kept, figures = [], iter([3.0, 2.0, 2.5, 2.0, 2.1, 1.0])

    def judge(run):
        run.records[-1]["figure"] = next(figures)
        kept.append(weights(run.model))

    run = train.fit(
        net, loss, optimizer, data, epochs=9, patience=2, monitor="figure", callbacks=[judge], **quiet
    )
    assert run.epoch == 5 and run.best["epoch"] == 2 and "figure has not improved for 3 epochs" in run.ended
    assert same(weights(net), kept[1])


def test_what_is_best_may_be_large_but_is_a_number():
    net, optimizer, data = made()
    figures = iter([math.nan, 3.0, 2.0])
    note = lambda run: run.records[-1].update(figure=next(figures))
    run = train.fit(
        net, loss, optimizer, data, epochs=3, monitor="figure", mode="max", callbacks=[note], **quiet
    )
    assert run.best["epoch"] == 2


def test_callbacks_see_every_epoch_and_step_and_may_stop_the_run():
    net, optimizer, data = made()
    epochs, steps = [], []

    def each_epoch(run):
        epochs.append((run.epoch, run.records[-1]["epoch"]))
        if run.epoch == 2:
            run.stop("enough")

    run = train.fit(
        net, loss, optimizer, data, epochs=5, callbacks=[each_epoch],
        step_callbacks=[lambda run: steps.append((run.step, run.loss))], **quiet,
    )  # fmt: skip
    assert epochs == [(1, 1), (2, 2)] and run.ended == "enough"
    assert [step for step, _ in steps] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(value) for _, value in steps)


def rates(schedule_of, schedule_each, **options):
    net, optimizer, data = made()
    found = []
    look = lambda run: found.append(run.optimizer.param_groups[0]["lr"])
    train.fit(
        net, loss, optimizer, data, epochs=4, schedule=schedule_of(optimizer), schedule_each=schedule_each,
        step_callbacks=[look], **options, **quiet,
    )  # fmt: skip
    return found


def test_schedules_step_with_steps_or_with_epochs():
    halved = lambda optimizer: lr_scheduler.StepLR(optimizer, 1, 0.5)
    assert rates(halved, "epoch") == [0.05 * 0.5 ** (step // 3) for step in range(12)]
    assert rates(halved, "step") == [0.05 * 0.5 ** (step + 1) for step in range(12)]


def test_a_plateau_is_told_the_validation_loss():
    told = []

    class Plateau(lr_scheduler.ReduceLROnPlateau):
        def step(self, metrics):
            told.append(metrics)
            super().step(metrics)

    net, optimizer, data = made()
    x, y = task(8, seed=3)
    run = train.fit(
        net,
        loss,
        optimizer,
        data,
        epochs=3,
        schedule=Plateau(optimizer),
        validation=train.Batches(x, y),
        **quiet,
    )
    assert told == [record["validation_loss"] for record in run.records]


class Reader(nn.Module):
    """Predicts the next of four letters; hands its state back."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 6), nn.Linear(6, 4)

    def forward(self, x, state=None):
        h, state = self.rnn(nn.functional.one_hot(x, 4).astype("float32"), state)
        return self.head(h), state


def next_letter(net, batch, state):
    logits, state = net(batch.x, state)
    return nn.functional.cross_entropy(logits.reshape(-1, 4), batch.y.reshape(-1)), state


def test_windows_carry_the_state_as_truncated_bptt_does(rng):
    text = rng.integers(0, 4, 41)
    tg.manual_seed(0)
    net, other = Reader(), Reader()
    other.load_state_dict(net.state_dict())
    losses = []
    train.fit(
        net, next_letter, optim.SGD(net.parameters(), lr=0.3), train.Windows(text, steps=5, batch_size=2),
        epochs=2, step_callbacks=[lambda run: losses.append(run.loss)], **quiet,
    )  # fmt: skip
    x, y = (tg.tensor(a.reshape(2, 20).T.copy()) for a in (text[:-1], text[1:]))
    by_hand = []
    optimizer = optim.SGD(other.parameters(), lr=0.3)
    flat = lambda logits, targets: nn.functional.cross_entropy(logits.reshape(-1, 4), targets.reshape(-1))
    for _ in range(2):
        by_hand += tg.tbptt(other, x, y, flat, k1=5, k2=5, optimizer=optimizer).losses
    assert losses == pytest.approx(by_hand, rel=1e-6)
    for name, value in weights(other).items():
        np.testing.assert_allclose(weights(net)[name], value, rtol=1e-5, atol=1e-7)


def test_the_probe_records_the_gradients_flow(rng):
    net, optimizer, data = made()
    probe = next(iter(train.Batches(*task(4), batch_size=4)))
    run = train.fit(net, loss, optimizer, data, epochs=2, probe=probe, **quiet)
    expected = tg.flow(loss(net, probe)).h
    np.testing.assert_allclose(run.records[-1]["flow"], expected, rtol=1e-3)


class Scaler:
    """Scales by 1024, and notes in which order it is called."""

    def __init__(self):
        self.calls, self.seen = [], 0

    def scale(self, value):
        self.calls.append("scale")
        return value * 1024

    def unscale_(self, optimizer):
        self.calls.append("unscale_")
        for p in optimizer.param_groups[0]["params"]:
            p.grad.copy_(p.grad.data / 1024)

    def step(self, optimizer):
        self.calls.append("step")
        optimizer.step()

    def update(self):
        self.calls.append("update")
        self.seen += 1

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def test_a_scaler_is_called_in_pytorchs_order_and_clipping_comes_after_it(tmp_path):
    net, optimizer, data = made()
    train.fit(net, loss, optimizer, data, epochs=1, clip=0.1, **quiet)
    other, optimizer, data = made()
    scaler = Scaler()
    train.fit(other, loss, optimizer, data, epochs=1, clip=0.1, scaler=scaler, directory=tmp_path, **quiet)
    assert scaler.calls == ["scale", "unscale_", "step", "update"] * 3
    for name, value in weights(net).items():
        np.testing.assert_allclose(weights(other)[name], value, rtol=1e-6, atol=1e-8)
    again = Scaler()
    train.fit(other, loss, optimizer, data, epochs=1, scaler=again, directory=tmp_path, resume=True, **quiet)
    assert again.seen == 3 and not again.calls


def test_plain_collections_of_batches_do_too():
    net, optimizer, data = made()
    found = list(data)
    run = train.fit(net, loss, optimizer, found, epochs=2, **quiet)
    assert run.step == 6
    pairs = [(batch.x, batch.y) for batch in found]
    pair_loss = lambda net, pair: nn.functional.cross_entropy(net(pair[0]), pair[1])
    assert train.fit(net, pair_loss, optimizer, pairs, epochs=1, **quiet).step == 3


def test_without_a_terminal_it_says_one_line_per_epoch(capsys):
    net, optimizer, data = made()
    train.fit(net, loss, optimizer, data, epochs=2, validation=data, metrics={"right": right})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[1].startswith("epoch 2/2: loss ")
    assert "validation_loss" in lines[1] and "right" in lines[1] and lines[1].endswith("/s")


def test_in_a_terminal_a_bar_shows_loss_and_speed(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    net, optimizer, data = made()
    train.fit(net, loss, optimizer, data, epochs=2)
    said = capsys.readouterr().err
    assert "training: 100%" in said and "6/6" in said and "batch/s" in said and "loss=" in said
    assert "epoch 2/2: loss" in said


def test_the_log_is_the_records_as_json(tmp_path):
    net, optimizer, data = made()
    note = lambda run: run.records[-1].update(odd=math.nan, count=np.int64(3))
    run = train.fit(net, loss, optimizer, data, epochs=2, callbacks=[note], directory=tmp_path, **quiet)
    lines = (tmp_path / "log.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [record["loss"] for record in found] == [record["loss"] for record in run.records]
    assert found[0]["odd"] is None and found[0]["count"] == 3
