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
        self.conv, self.rnn = tg.to_torch(net.rnn.conv), tg.to_torch(net.rnn.recurrent)
        self.readout = tg.to_torch(net.readout)

    def forward(self, x: Any, lengths: Any = None) -> Any:
        rows = self.conv(x.transpose(0, 1)[:, None]).permute(2, 0, 1, 3).flatten(2)
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


class Seq2Seq(torch.nn.Module):
    """`nn.Seq2Seq` with additive attention."""

    def __init__(self, net: tg.nn.Seq2Seq) -> None:
        super().__init__()
        self.bos = net.bos
        for name in ("source", "encoder", "bridge", "target", "decoder", "dropout", "head"):
            setattr(self, name, tg.to_torch(getattr(net, name)))
        for name in ("query", "memory", "energy"):
            setattr(self, name, tg.to_torch(getattr(net.attention, name)))

    def forward(self, x: Any, y: Any, lengths: Any) -> Any:
        packed = pack_padded_sequence(self.source(x), torch.as_tensor(lengths), enforce_sorted=False)
        values, state = self.encoder(packed)
        memory = pad_packed_sequence(values)[0].transpose(0, 1)
        away = torch.arange(memory.shape[1]) >= torch.as_tensor(lengths)[:, None]
        h, keys = torch.tanh(self.bridge(last(state, self.encoder))), self.memory(memory)
        said = []
        for token in [torch.full_like(y[0], self.bos), *y[:-1].clamp(min=0)]:
            scores = self.energy(torch.tanh(self.query(h)[:, None] + keys))[..., 0]
            weights = scores.masked_fill(away, float("-inf")).softmax(-1)
            context = (weights[:, None] @ memory)[:, 0]
            h = self.decoder(torch.cat([self.dropout(self.target(token)), context], -1), h)
            said.append(self.head(self.dropout(torch.cat([h, context], -1))))
        return torch.stack(said)


TWINS = {
    common.Reader: Reader, common.Tagger: Reader, bible.Speller: Speller, digits.Rows: Rows,
    tg.nn.SequenceClassifier: Classifier, tg.nn.Seq2Seq: Seq2Seq,
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
            answers = asked(self.net, batch)
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
        return task.score(asked(training.net.eval(), test).numpy(), test)


def asked(net: Any, batch: Batch) -> Any:
    """What the network answers."""
    read = (batch.x, batch.y) if isinstance(net, Seq2Seq) else (batch.x,)
    return net(*map(given, read), batch.lengths)


def given(x: Any) -> Any:
    """An array as PyTorch's; texts as they are."""
    return x if isinstance(x, list) else torch.from_numpy(x.numpy())
