"""What the command line draws: a network, run over a sequence, and a loss of it.

The network is of a kind and size asked for, or one of the user's saved ones; the sequence is random, a text's
letters or a file's numbers. Whatever cannot be met is `Refused` with one sentence.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg

KINDS = {"rnn": tg.nn.RNN, "lstm": tg.nn.LSTM, "gru": tg.nn.GRU}
GATES = {1: "rnn", 3: "gru", 4: "lstm"}
"""How many rows a kind's weights have for each feature of the state."""


class Refused(Exception):
    """A wish that cannot be met; its text is the sentence the user reads."""


class Run(NamedTuple):
    """A network that has run."""

    loss: tg.Tensor
    steps: list[tg.Tensor]
    """A loss for each step alone; none where the network has no output at every step."""
    tokens: list[str] | None
    """What stands at each step; None where that is only numbers."""
    length: int
    title: str


def run(options: argparse.Namespace, network: str) -> Run:
    """Run a network, as the command line describes both."""
    tg.manual_seed(options.seed)
    if network == "feedforward":
        return _feedforward(options)
    if network in KINDS:
        x, tokens = _sequence(options, 4)
        sizes = x.shape[-1], options.hidden, options.layers
        return _recurrent(options, KINDS[network](*sizes, bidirectional=options.bidirectional), x, tokens)
    if not Path(network).is_file():
        known = ", ".join([*KINDS, "feedforward"])
        raise Refused(f"expected {known} or a file of weights, got {network!r}, which does not exist")
    state = tg.load(network)
    if "network" in state.metadata:
        return _classifier(options, Path(network))
    net = _from_weights(state, network)
    x, tokens = _sequence(options, net.input_size)
    if x.shape[-1] != net.input_size:
        raise Refused(f"expected {net.input_size} features at each step for {network}, got {x.shape[-1]}")
    return _recurrent(options, net, x, tokens)


def _recurrent(options: argparse.Namespace, net: Any, x: tg.Tensor, tokens: list[str] | None) -> Run:
    lengths, count = options.lengths, len(x)
    if lengths:
        if max(lengths) != count or min(lengths) < 1:
            raise Refused(f"expected --lengths from 1 to {count}, the longest, got {lengths}")
        x = tg.ops.repeat(x, len(lengths), axis=1)
    if options.truncate:
        if net.bidirectional or lengths:
            raise Refused("expected --truncate without --bidirectional and --lengths")
        output, final = _truncated(net, x, options.truncate)
    else:
        output, final = net(x, lengths=lengths) if lengths else net(x)
    steps = [(output[t] * output[t]).mean() for t in range(count)]
    h = final[0] if isinstance(final, tuple) else final
    loss = (output * output).mean() if options.loss == "every" else h[-1 - net.bidirectional :].sum()
    layers = f"{net.num_layers} layer{'s' * (net.num_layers > 1)}{', bidirectional' * net.bidirectional}"
    cut = f", cut after every {options.truncate}" if options.truncate else ""
    title = f"{type(net).__name__}, {layers}, {net.hidden_size} features, {count} steps{cut}"
    return Run(_named(loss), steps, tokens, count, title)


def _truncated(net: Any, x: tg.Tensor, every: int) -> tuple[tg.Tensor, Any]:
    """The output of all steps, the state detached after each `every`."""
    state, outputs = None, []
    for begin in range(0, x.shape[0], every):
        if isinstance(state, tuple):
            state = tuple(part.detach() for part in state)
        elif state is not None:
            state = state.detach()
        with tg.at(time=begin):
            output, state = net(x[begin : begin + every], state)
        outputs.append(output)
    return tg.ops.concatenate(outputs, axis=0), state


def _feedforward(options: argparse.Namespace) -> Run:
    """All steps at once, as one long vector."""
    x, tokens = _sequence(options, 4)
    widths = [x.size, *[options.hidden] * options.layers]
    parts = [
        part
        for a, b in itertools.pairwise(widths)
        for part in (tg.nn.Linear(a, b), tg.nn.Tanh())
    ]
    whole = tg.ops.reshape(x, (1, -1))
    whole.name = "x"
    loss = tg.nn.Sequential(*parts)(whole).sum()
    return Run(_named(loss), [], tokens, len(x), f"Feedforward, {len(x)} steps as one vector of {x.size}")


def _classifier(options: argparse.Namespace, path: Path) -> Run:
    """A saved classifier of texts; the loss is -log p of its own answer."""
    if not options.text:
        raise Refused("expected --text for the saved network to read, got none")
    net = tg.load_network(path)
    scores = net(options.text)
    answer = int(scores.numpy()[0].argmax())
    loss = tg.nn.functional.cross_entropy(scores, tg.tensor([answer]))
    title = f"{path.name} reads “{options.text}” and answers {net.classes[answer]}"
    return Run(_named(loss), [], list(options.text), len(options.text), title)


def _from_weights(state: Mapping[str, tg.Tensor], path: str) -> Any:
    """The recurrent network whose state dict this is, its size read off the weights."""
    ends = [name for name in state if name.endswith("weight_hh_l0")]
    if len(ends) != 1:
        raise Refused(f"expected one recurrent network's weights in {path}, got {len(ends)} of weight_hh_l0")
    stem = ends[0].removesuffix("weight_hh_l0")
    own = {name.removeprefix(stem): w for name, w in state.items() if name.startswith(stem)}
    rows, hidden = own["weight_hh_l0"].shape
    layers = sum(name.startswith("weight_hh_l") and not name.endswith("_reverse") for name in own)
    if rows % hidden or rows // hidden not in GATES:
        raise Refused(f"expected the weights of an RNN, GRU or LSTM in {path}, got shape {(rows, hidden)}")
    net: Any = KINDS[GATES[rows // hidden]](
        own["weight_ih_l0"].shape[1], hidden, layers, bias="bias_ih_l0" in own,
        bidirectional="weight_hh_l0_reverse" in own,
    )  # fmt: skip
    net.load_state_dict({name: own[name] for name in own if name in net.state_dict()})
    return net.eval()


def _named(loss: tg.Tensor) -> tg.Tensor:
    loss.name = "loss"
    return loss


def _sequence(options: argparse.Namespace, features: int) -> tuple[tg.Tensor, list[str] | None]:
    """The input (T, 1, I) and what stands at each step; random numbers have so many `features`."""
    given = [name for name in ("text", "series", "steps") if getattr(options, name) is not None]
    if len(given) > 1:
        came = " and ".join(f"--{name}" for name in given)
        raise Refused(f"expected one of --text, --series and --steps, got {came}")
    if options.text is not None:
        if not options.text:
            raise Refused("expected a --text of at least one character, got an empty one")
        alphabet = sorted(set(options.text))
        hot = np.eye(len(alphabet), dtype=np.float32)[[alphabet.index(letter) for letter in options.text]]
        return tg.tensor(hot[:, None]), list(options.text)
    if options.series is not None:
        return _series(Path(options.series))
    return tg.randn(options.steps or 6, 1, features), None


def _series(path: Path) -> tuple[tg.Tensor, list[str] | None]:
    if not path.is_file():
        raise Refused(f"expected a file of numbers, got {str(path)!r}, which does not exist")
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                rows.append([float(cell) for cell in line.replace(",", " ").split()])
            except ValueError:
                raise Refused(f"expected numbers in line {number} of {path}, got {line.strip()!r}") from None
    counts = sorted({len(row) for row in rows})
    if len(counts) != 1:
        raise Refused(f"expected the same count of numbers in every line of {path}, got {counts}")
    values = np.array(rows, dtype=np.float32)
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(spread == 0, 1, spread)
    alone = [f"{row[0]:g}" for row in rows] if counts == [1] else None
    return tg.tensor(values[:, None]), alone
