"""Which letter comes next? A network reads the King James Bible, then writes verses of its own.

python -m examples.bible
python -m examples.bible --file any.txt --temperature 0.7

Data: the King James Bible (1611, public domain), 4.2 million letters, as packed in Debian's `bible-kjv-text`;
or any text file. The last twentieth is held out. It is read in 32 strips side by side, 64 letters at a time:
gradients go back so far, the state is carried on (truncated BPTT, Williams & Peng 1990).
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from examples.common import Tagger
from examples.data import cached, in_debian
from examples.tasks import Array, Shape, Task, nats, parser, run
from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.train import Batch, Windows

HIDDEN, STRIPS, STEPS = 128, 32, 64


def unpacked() -> str:
    """The verses, one a line. Debian's file holds blocks as by `compress`, whose header stands there once."""
    packed = in_debian("bible-kjv-text", "usr/lib/bible.data").read_bytes()
    (count,) = struct.unpack_from(">I", packed, 88)
    begins = struct.unpack_from(f">{count + 1}I", packed, 92)
    header = packed[begins[0] - 3 : begins[0]]
    blocks = [header + packed[begin:end] for begin, end in pairwise(begins)]
    unpack = partial(subprocess.run, ["gzip", "-dc"], capture_output=True, check=True)
    text = b"".join(unpack(input=block).stdout for block in blocks).decode("ascii")
    return re.sub(r"^\w+:\d+ ", "", text.partition("\n")[2], flags=re.MULTILINE)


@cache
def read(file: Path | None) -> tuple[str, Array, Array]:
    """The alphabet, and as numbers in it the letters to learn from and those held out."""
    text = file.read_text("utf-8") if file else cached("bible-kjv.txt", unpacked)
    alphabet = sorted(set(text))
    codes = np.searchsorted(alphabet, list(text))
    return "".join(alphabet), *np.split(codes, [len(codes) * 19 // 20])


class Speller(Tagger):
    """A network that reads letters as numbers, and answers what may come next."""

    def __init__(self, shape: Shape, alphabet: str) -> None:
        super().__init__(shape.kind, 32, HIDDEN, len(alphabet), shape.layers)
        self.alphabet, self.embedding = alphabet, nn.Embedding(len(alphabet), 32)

    def carry(self, x: Tensor, state: Any, lengths: Any = None) -> tuple[Tensor, Any]:
        return super().carry(self.embedding(x), state, lengths)

    def write(self, start: str, count: int, temperature: float, rng: np.random.Generator) -> str:
        """Go on from `start`, each letter drawn from softmax(logits / temperature), one step at a time."""
        text, state = start, None
        with tg.no_grad():
            for _ in range(count):
                new = [self.alphabet.index(letter) for letter in (text if state is None else text[-1])]
                logits, state = self.carry(tg.tensor(new)[:, None], state)
                chances = tg.ops.softmax(logits[-1, 0] / temperature).numpy().astype(np.float64)
                text += self.alphabet[rng.choice(len(chances), p=chances / chances.sum())]
        return text


def score(answers: Array, asked: Batch) -> dict[str, float]:
    return {"bits per letter": float(nats(answers, asked.y.numpy()).mean() / np.log(2))}


def long_strips(letters: Array, steps: int = 2000) -> Batch:
    """All letters in strips of about so many: only the first few of each are asked without a past."""
    return next(iter(Windows(letters, steps=2 * steps, batch_size=max(1, len(letters) // steps))))


def task(file: Path | None = None) -> Task:
    """The Bible, or any text."""

    def sample() -> tuple[Batch, str]:
        alphabet, learnt, _ = read(file)
        few = learnt[:31]
        return next(iter(Windows(few, steps=30))), "".join(alphabet[k] for k in few[:-1])

    return Task(
        name="bible", title="The next letter of the Bible", shape=Shape("LSTM"), ahead=True,
        network=lambda shape: Speller(shape, read(file)[0]),
        data=lambda seed: Windows(read(file)[1], steps=STEPS, batch_size=STRIPS), rate=5e-3,
        asked=lambda: long_strips(read(file)[2]),
        score=score, sample=sample, beside="",
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(task())
    options.add_argument("--file", type=Path, help="a text to read instead of the Bible")
    options.add_argument("--temperature", type=float, default=0.7, help="below 1, surer letters win")
    options.add_argument("--write", type=int, default=400, help="how many letters to write (default 400)")
    chosen = options.parse_args(arguments)
    net = run(task(chosen.file), chosen)
    print(net.write("\n", chosen.write, chosen.temperature, np.random.default_rng(chosen.seed)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
