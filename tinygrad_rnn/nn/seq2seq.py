"""From one sequence to another: an encoder reads, a decoder writes, and looks back at every step.

The decoder's steps stand in time after the encoder's and in a row above them, so the unrolled picture is the
textbook's: the source from left to right, then the target, with attention reaching back.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn import namespaces, ops
from tinygrad_rnn.modes import no_grad
from tinygrad_rnn.namespaces import asarray
from tinygrad_rnn.nn import functional
from tinygrad_rnn.nn.attention import AdditiveAttention, MultiplicativeAttention
from tinygrad_rnn.nn.cells import GRUCell, LSTMCell, RNNCell
from tinygrad_rnn.nn.hybrid import LAYERS, padding_mask
from tinygrad_rnn.nn.linear import Dropout, Embedding, Linear
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.nn.unroll import named, parts
from tinygrad_rnn.scope import at, part
from tinygrad_rnn.tensor import Tensor, label, raw

CELLS: dict[str, Any] = {"rnn": RNNCell, "lstm": LSTMCell, "gru": GRUCell}


class Memory(NamedTuple):
    """What the decoder looks at: the encoder's outputs (N, S, M), their part of the score, the padding."""

    values: Any
    keys: Any
    padding: Any

    def rows(self, index: Any) -> Memory:
        """The memory of some sequences, in that order."""
        return Memory(*(None if part is None else part[index] for part in self))


class Seq2Seq(Module):
    """Encoder and decoder with attention (Sutskever et al. 2014; Bahdanau et al. 2015; Luong et al. 2015).

    context_u = attention(s_{u-1}, memory),  s_u = cell([embedding(y_{u-1}); context_u], s_{u-1}),
    p(y_u) = softmax(W [s_u; context_u] + b);  s_0 = tanh(W_0 [encoder's last h]).

    Args:
        source_size, target_size: how many tokens either side knows.
        attention: "additive", "general", "dot", or None: then the context is the encoder's last h, always.
        cell: "gru", "lstm" or "rnn"; the encoder has `num_layers` of it, in both directions if bidirectional.
        bos, eos, pad: the tokens of the target that begin, end and pad.

    Sources are (S, N) tokens, targets (U, N) tokens that close with eos, both padded; a call gives logits
    (U, N, target_size) and where the decoder looked, (U, N, S). `config` is all that is needed to make it
    again (`tg.save_network`).

    >>> import tinygrad_rnn as tg
    >>> net = tg.nn.Seq2Seq(10, 8, embedding_dim=4, hidden_size=6)
    >>> source, target = tg.randint(3, 10, (5, 2)), tg.randint(3, 8, (4, 2))
    >>> logits, looked = net(source, target, lengths=[5, 3])
    >>> logits.shape, looked.shape, net.loss(source, target).shape
    ((4, 2, 8), (4, 2, 5), ())
    >>> tokens, looked = net.greedy(source, max_length=6)
    >>> len(tokens), looked.shape[1:]
    (2, (2, 5))
    """

    def __init__(
        self, source_size: int, target_size: int, embedding_dim: int = 32, hidden_size: int = 64,
        num_layers: int = 1, cell: str = "gru", bidirectional: bool = True,
        attention: str | None = "additive", dropout: float = 0.0, bos: int = 1, eos: int = 2, pad: int = 0,
        device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if cell not in CELLS:
            raise ValueError(f"expected cell among {sorted(CELLS)}, got {cell!r}")
        if not all(0 <= token < target_size for token in (bos, eos, pad)) or len({bos, eos, pad}) < 3:
            came = f"bos={bos}, eos={eos}, pad={pad}"
            raise ValueError(f"expected three different tokens below {target_size}, got {came}")
        self.config = {
            "source_size": source_size, "target_size": target_size, "embedding_dim": embedding_dim,
            "hidden_size": hidden_size, "num_layers": num_layers, "cell": cell,
            "bidirectional": bidirectional, "attention": attention, "dropout": dropout, "bos": bos,
            "eos": eos, "pad": pad,
        }  # fmt: skip
        self.bos, self.eos, self.pad = bos, eos, pad
        made = {"device": device, "dtype": dtype}
        self.source = Embedding(source_size, embedding_dim, **made)
        self.encoder = LAYERS[cell](
            embedding_dim, hidden_size, num_layers, bidirectional=bidirectional, dropout=dropout, **made
        )
        width = hidden_size * self.encoder.num_directions
        self.bridge = Linear(width, hidden_size, **made)
        self.target = Embedding(target_size, embedding_dim, **made)
        self.attention = _attention(attention, hidden_size, width, made)
        self.decoder = CELLS[cell](embedding_dim + width, hidden_size, **made)
        self.dropout = Dropout(dropout)
        self.head = Linear(hidden_size + width, target_size, **made)

    # -- reading and writing ---------------------------------------------------------------------------

    def forward(
        self, source: Any, target: Any, lengths: Any = None, teacher_forcing: float = 1.0
    ) -> tuple[Any, Any]:
        """Logits (U, N, target_size) of every token of the target, and where the decoder looked, (U, N, S).

        At each step the decoder is given the target's true token before, or with probability
        1 - teacher_forcing the one that it would have said itself (Bengio et al. 2015).
        """
        memory, state = self.encode(source, lengths)
        target, steps = raw(target), memory.values.shape[1]
        if target.ndim != 2 or target.shape[1] != memory.values.shape[0] or not len(target):
            raise ValueError(f"expected a target (U, {memory.values.shape[0]}), got {tuple(target.shape)}")
        token, said, looked = self._begin(memory), [], []
        for u, truth in enumerate(target):
            logits, state, weights = self.step(token, state, memory, steps + u)
            said.append(logits)
            looked.append(weights)
            forced = teacher_forcing == 1 or namespaces.random_stream("cpu").random() < teacher_forcing
            token = truth if forced else Tensor(logits.data.argmax(axis=-1))
        return ops.stack(said), ops.stack(looked)

    def loss(self, source: Any, target: Any, lengths: Any = None, teacher_forcing: float = 1.0) -> Any:
        """The cross-entropy of the target (U, N), averaged over its tokens; padding counts for nothing."""
        logits, _ = self(source, target, lengths, teacher_forcing)
        flat = ops.reshape(logits, (-1, logits.shape[-1]))
        return functional.cross_entropy(flat, raw(target).reshape(-1), ignore_index=self.pad)

    def encode(self, source: Any, lengths: Any = None) -> tuple[Memory, Any]:
        """Read sources (S, N): what the decoder looks at, and the state from which it starts."""
        output, state = self.encoder(self.source(source), lengths=lengths)
        h = parts(state)[0]
        last = ops.concatenate([h[k] for k in range(-self.encoder.num_directions, 0)], axis=-1)
        start = label(h_0=ops.tanh(self.bridge(last)))
        if self.attention is None:
            memory = Memory(ops.expand_dims(last, 1), None, None)
        else:
            values = ops.swapaxes(output, 0, 1)
            padding = None if lengths is None else padding_mask(lengths, len(output), output.device)
            memory = Memory(values, self.attention.keys(values), padding)
        return memory, (start, ops.zeros_like(start)) if isinstance(self.decoder, LSTMCell) else start

    def step(self, token: Any, state: Any, memory: Memory, time: int) -> tuple[Any, Any, Any]:
        """Write one token after `token` (N): its logits (N, target_size), the state, and where it looked."""
        with at(time=time):
            y = label(y=self.dropout(self.target(token)))
            with part("decoder"), at(layer=self.encoder.num_layers, direction="forward"):
                context, weights = self._look(parts(state)[0], memory)
                state = self.decoder(ops.concatenate([y, label(context=context)], axis=-1), state)
                h = named(state)[0]
            return self.head(self.dropout(ops.concatenate([h, context], axis=-1))), state, weights

    def _look(self, h: Any, memory: Memory) -> tuple[Any, Any]:
        """What the decoder sees of the source from state h, and where it looked."""
        if self.attention is None:
            return memory.values[:, 0], ops.ones_like(memory.values[:, :, 0])
        context, weights = self.attention(h, *memory)
        return context, label(attention=weights)

    # -- decoding --------------------------------------------------------------------------------------

    def greedy(
        self, source: Any, lengths: Any = None, max_length: int = 50
    ) -> tuple[list[list[int]], np.ndarray[Any, Any]]:
        """The most probable token at every step, until all have said eos: tokens before it, and (U, N, S)."""
        _positive(max_length=max_length)
        with no_grad():
            memory, state = self.encode(source, lengths)
            token, said, looked = self._begin(memory), [], []
            ended = np.zeros(len(token), dtype=bool)
            for u in range(max_length):
                logits, state, weights = self.step(token, state, memory, memory.values.shape[1] + u)
                token = Tensor(logits.data.argmax(axis=-1))
                said.append(np.where(ended, self.eos, token.numpy()))
                looked.append(weights.numpy())
                ended = ended | (said[-1] == self.eos)
                if ended.all():
                    break
        return [_until(row, self.eos) for row in np.stack(said, axis=1).tolist()], np.stack(looked)

    def beam(
        self, source: Any, lengths: Any = None, beam_width: int = 5, max_length: int = 50,
        length_penalty: float = 0.0,
    ) -> list[list[tuple[list[int], float]]]:  # fmt: skip
        """The best targets of each source, (tokens without eos, log p), best first.

        At every step the `beam_width` best beginnings stay. They are ranked by log p / length^length_penalty
        (Wu et al. 2016, without coverage); 0 ranks by log p alone, which favours short ones.
        """
        _positive(beam_width=beam_width, max_length=max_length)
        with no_grad():
            memory, state = self.encode(source, lengths)
            return [
                self._beam(memory.rows([n]), _rows(state, [n]), beam_width, max_length, length_penalty)
                for n in range(memory.values.shape[0])
            ]

    def _beam(
        self, memory: Memory, state: Any, width: int, max_length: int, penalty: float
    ) -> list[tuple[list[int], float]]:
        def worth(beam: tuple[list[int], float]) -> float:
            return beam[1] / float(max(len(beam[0]), 1) ** penalty)

        open_beams: list[tuple[list[int], float]] = [([], 0.0)]
        closed: list[tuple[list[int], float]] = []
        for u in range(max_length):
            index = [0] * len(open_beams)
            last = [tokens[-1] if tokens else self.bos for tokens, _ in open_beams]
            token = Tensor(asarray(np.array(last), device=memory.values.device))
            logits, state, _ = self.step(token, state, memory.rows(index), memory.values.shape[1] + u)
            scores = ops.log_softmax(logits, axis=-1).numpy() + np.array([[p] for _, p in open_beams])
            grown: list[tuple[int, tuple[list[int], float]]] = []
            for flat in np.argsort(-scores, axis=None, kind="stable")[: 2 * width]:
                k, said = divmod(int(flat), scores.shape[1])
                beam = ([*open_beams[k][0], said], float(scores[k, said]))
                if said == self.eos:
                    closed.append(beam)
                elif len(grown) < width:
                    grown.append((k, beam))
            best = max(map(worth, closed), default=-math.inf)
            if len(closed) >= width and all(worth(beam) <= best for _, beam in grown):
                break
            open_beams = [beam for _, beam in grown]
            state = _rows(state, [k for k, _ in grown])
        found = sorted([*closed, *open_beams], key=worth, reverse=True)[:width]
        return [(_until(tokens, self.eos), p) for tokens, p in found]

    def _begin(self, memory: Memory) -> Any:
        """The token before the first, for every sequence."""
        return Tensor(asarray(np.full(memory.values.shape[0], self.bos), device=memory.values.device))


def _attention(kind: str | None, query_size: int, memory_size: int, made: dict[str, Any]) -> Any:
    if kind is None:
        return None
    if kind == "additive":
        return AdditiveAttention(query_size, memory_size, query_size, batch_first=True, **made)
    if kind in ("general", "dot"):
        return MultiplicativeAttention(query_size, memory_size, kind, batch_first=True, **made)
    raise ValueError(f"expected attention 'additive', 'general', 'dot' or None, got {kind!r}")


def _positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"expected {name} ≥ 1, got {number}")


def _rows(state: Any, index: list[int]) -> Any:
    """The states of some sequences, in that order."""
    found = tuple(s[index] for s in parts(state))
    return found if isinstance(state, tuple) else found[0]


def _until(tokens: list[int], eos: int) -> list[int]:
    return tokens[: tokens.index(eos)] if eos in tokens else tokens
