"""A network that reads a text letter by letter and says to which class it belongs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.nn.linear import Dropout, Embedding, Linear
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.nn.recurrent import GRU, LSTM, RNN
from tinygrad_rnn.tensor import Tensor

CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


class SequenceClassifier(Module):
    """Embedding of letters → recurrent layers → the last states of the top layer → one logit per class.

    In both directions it joins what the forward direction knows after the last letter with what the reverse
    direction knows after the first. `config` is all that is needed to make it again (`tg.save_network`).

    >>> import tinygrad_rnn as tg
    >>> net = tg.nn.SequenceClassifier("abc", ["short", "long"], cell="lstm", hidden_size=4)
    >>> net(["abc", "a"]).shape
    (2, 2)
    """

    def __init__(
        self, alphabet: str, classes: Sequence[str], cell: str = "gru", embedding_dim: int = 16,
        hidden_size: int = 32, num_layers: int = 2, bidirectional: bool = True, dropout: float = 0.0,
        device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if cell not in CELLS:
            raise ValueError(f"expected cell among {sorted(CELLS)}, got {cell!r}")
        self.config = {
            "alphabet": alphabet, "classes": list(classes), "cell": cell, "embedding_dim": embedding_dim,
            "hidden_size": hidden_size, "num_layers": num_layers, "bidirectional": bidirectional,
            "dropout": dropout,
        }  # fmt: skip
        self.alphabet, self.classes = alphabet, list(classes)
        self.embedding = Embedding(len(alphabet), embedding_dim, device=device, dtype=dtype)
        self.rnn = CELLS[cell](
            embedding_dim, hidden_size, num_layers, bidirectional=bidirectional, dropout=dropout,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.dropout = Dropout(dropout)
        width = hidden_size * (2 if bidirectional else 1)
        self.head = Linear(width, len(self.classes), device=device, dtype=dtype)

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray[Any, Any], list[int]]:
        """Letters as numbers, (T, N), padded with zeros; and the lengths.

        A capital that is not in the alphabet is read as its small letter.

        Raises ValueError for an empty text, or a letter that is not in the alphabet.
        """
        known = set(self.alphabet)
        texts = ["".join(x if x in known else x.lower() for x in text) for text in texts]
        for text in texts:
            strange = sorted(set(text) - known)
            if strange or not text:
                came = f"{text!r} with {', '.join(map(repr, strange))}" if strange else "an empty one"
                raise ValueError(f"expected texts of the letters {self.alphabet!r}, got {came}")
        lengths = [len(text) for text in texts]
        numbers = np.zeros((max(lengths), len(texts)), dtype=np.int64)
        place = {letter: i for i, letter in enumerate(self.alphabet)}
        for n, text in enumerate(texts):
            numbers[: len(text), n] = [place[letter] for letter in text]
        return numbers, lengths

    def forward(self, texts: str | Sequence[str]) -> Tensor:
        """The logits, (N, classes), of N texts, or of one."""
        numbers, lengths = self.encode([texts] if isinstance(texts, str) else texts)
        _, state = self.rnn(self.embedding(numbers), lengths=lengths)
        h = state[0] if isinstance(state, tuple) else state
        top = [h[k] for k in range(-self.rnn.num_directions, 0)]
        scores: Tensor = self.head(self.dropout(ops.concatenate(top, axis=-1) if len(top) > 1 else top[0]))
        return scores
