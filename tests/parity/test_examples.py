"""The networks of the examples learn as PyTorch's do: same weights, data and optimiser, same losses."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make parity")

from benchmarks import twins
from examples import (
    adding,
    bible,
    copying,
    digits,
    names,
    order,
    reber,
    sunspots,
    tasks,
    translation,
    vowels,
)  # fmt: skip
from examples.data import Missing
from tinygrad_rnn import nn
from tinygrad_rnn.train import Batch

TASKS = {
    "adding": adding.TASK, "copying": copying.TASK, "order": order.TASK, "reber": reber.TASK,
    "names": names.task(), "vowels": vowels.TASK, "sunspots": sunspots.TASK, "digits": digits.ROWS,
    "pixels": digits.PIXELS, "bible": bible.task(), "translation": translation.task(),
}  # fmt: skip
SHAPES = [tasks.Shape("GRU", 2, True), tasks.Shape("RNN")]
UPDATES = 20


class First(list):
    """The first batches of a task, in float64."""

    def __init__(self, task: tasks.Task) -> None:
        try:
            data = task.data(0)
        except Missing as missing:
            pytest.skip(str(missing))
        super().__init__(islice((wide(b) for epoch in range(UPDATES) for b in data.batches(epoch)), UPDATES))
        self.carries = getattr(data, "carries", False)


def wide(batch: Batch) -> Batch:
    single = [name for name in "xy" if getattr(getattr(batch, name), "dtype", None) == "float32"]
    return replace(batch, **{name: getattr(batch, name).to("float64") for name in single})


def without_dropout(net: nn.Module) -> nn.Module:
    """Each library draws its own masks."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return net


@pytest.mark.parametrize(
    ("name", "shape"), [*((name, None) for name in TASKS), *(("order", shape) for shape in SHAPES)], ids=str
)
def test_twenty_losses_are_pytorchs(name, shape):
    first = First(TASKS[name])
    task = replace(TASKS[name], data=lambda seed: first, epochs=1)
    net = without_dropout(tasks.made(task, shape or task.shape, 0).to("float64"))
    peer = twins.Training(task, net, first)
    expected = [peer.step(batch) for batch in first]
    came = []
    tasks.learn(task, net, 0, progress=False, step_callbacks=[lambda run: came.append(run.loss)])
    assert len(came) == UPDATES
    np.testing.assert_allclose(came, expected, rtol=0, atol=1e-8)
