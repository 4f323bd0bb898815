"""The tasks of `examples/` in PyTorch: the same network, weights, batches and optimiser, in its own words.

`tests/parity` compares their losses step by step, `benchmarks.training` their speed, `examples.results` what
they reach.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import tinygrad_rnn as tg
from examples import bible, common, digits
from examples.tasks import Task
from tinygrad_rnn.train import Batch


def last(state: Any, rnn: Any) -> Any:
    """The last state of each direction of the top layer, side by side."""
    h = state[0] if isinstance(state, tuple) else state
    return torch.cat(list(h[-1 - rnn.bidirectional :]), -1)


class Reader(torch.nn.Module):
    """`examples.common.Reader` and `Tagger`."""

    def __init__(self, net: common.Reader) -> None:
        super().__init__()
        self.rnn, self.readout = tg.to_torch(net.rnn), tg.to_torch(net.readout)
        self.at_every_step = isinstance(net, common.Tagger)

    def forward(self, x: Any, lengths: Any = None) -> Any:
        return self.carry(x, None, lengths)[0]

    def carry(self, x: Any, state: Any, lengths: Any = None) -> tuple[Any, Any]:
        ragged = lengths is not None and min(lengths) < len(x)
        if ragged:
            x = pack_padded_sequence(x, torch.as_tensor(lengths), enforce_sorted=False)
        output, state = self.rnn(x, state)
        if self.at_every_step:
            return self.readout(pad_packed_sequence(output)[0] if ragged else output), state
        return self.readout(last(state, self.rnn)), state


class Speller(Reader):
    """`examples.bible.Speller`."""

    def __init__(self, net: bible.Speller) -> None:
        super().__init__(net)
        self.embedding = tg.to_torch(net.embedding)

    def carry(self, x: Any, state: Any, lengths: Any = None) -> tuple[Any, Any]:
        return super().carry(self.embedding(x), state, lengths)


class Rows(torch.nn.Module):
    """`examples.digits.Rows`."""

    def __init__(self, net: digits.Rows) -> None:
        super().__init__()
        self.look, self.rnn, self.readout = map(tg.to_torch, (net.look, net.rnn, net.readout))

    def forward(self, x: Any, lengths: Any = None) -> Any:
        rows = self.look(x.transpose(0, 1)[:, None]).relu().permute(2, 0, 1, 3).flatten(2)
        return self.readout(last(self.rnn(rows)[1], self.rnn))


class Classifier(torch.nn.Module):
    """`nn.SequenceClassifier`."""

    def __init__(self, net: tg.nn.SequenceClassifier) -> None:
        super().__init__()
        self.encode, self.embedding = net.encode, tg.to_torch(net.embedding)
        self.rnn, self.dropout, self.head = map(tg.to_torch, (net.rnn, net.dropout, net.head))

    def forward(self, texts: Any, lengths: Any = None) -> Any:
        numbers, lengths = self.encode(texts)
        x = self.embedding(torch.from_numpy(numbers))
        _, state = self.rnn(pack_padded_sequence(x, torch.as_tensor(lengths), enforce_sorted=False))
        return self.head(self.dropout(last(state, self.rnn)))


TWINS = {
    common.Reader: Reader, common.Tagger: Reader, bible.Speller: Speller, digits.Rows: Rows,
    tg.nn.SequenceClassifier: Classifier,
}  # fmt: skip


class Training:
    """Adam, schedule and clipping of `tasks.learn`, for the twin of `net`."""

    def __init__(self, task: Task, net: Any, data: Any) -> None:
        self.net = TWINS[type(net)](net)
        self.carries = getattr(data, "carries", False)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=task.rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.adam, task.epochs * len(data))
        self.state: Any = None

    def step(self, batch: Batch) -> float:
        """One update; the loss before it."""
        x, y = given(batch.x), given(batch.y)
        if self.carries:
            answers, state = self.net.carry(x, self.state)
            self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        else:
            answers = self.net(x, batch.lengths)
        if y.is_floating_point():
            loss = torch.nn.functional.mse_loss(answers, y)
        else:
            loss = torch.nn.functional.cross_entropy(answers.flatten(0, -2), y.flatten())
        self.adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.adam.step()
        self.schedule.step()
        return loss.item()


def learn(task: Task, net: Any, seed: int, note: Callable[[Any], Any]) -> dict[str, float]:
    """What the task measures of the twin, trained on the same batches; `note` is called after each."""
    data, test = task.data(seed), task.asked()
    training = Training(task, net, data)
    for epoch in range(task.epochs):
        training.state = None
        for batch in data.batches(epoch):
            training.step(batch)
            note(training)
    with torch.no_grad():
        return task.score(training.net.eval()(given(test.x), test.lengths).numpy(), test)


def given(x: Any) -> Any:
    """An array as PyTorch's; texts as they are."""
    return x if isinstance(x, list) else torch.from_numpy(x.numpy())
