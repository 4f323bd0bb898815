"""Spanish into English with attention: a network learns from short verses, and shows where it looked.

python -m examples.translation
python -m examples.translation --files any.es any.en

Data: Reina-Valera 1909 and the King James Bible (both public domain), Debian's `sword-text-sparv` and
`sword-text-kjv`, read with the PyPI package `pysword` (MIT); or two text files, line by line. Only verses of
at most 14 words are taken, two thousand: enough to see attention find the words, not to translate well.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

import tinygrad_rnn as tg
import visual
from examples.data import Missing, cached, in_debian
from examples.tasks import Array, Shape, Task, nats, parser, run, whole
from tinygrad_rnn import nn
from tinygrad_rnn.train import Batch, Batches

BIBLES = {"spaRV1909eb": "sword-text-sparv", "engKJV2006eb": "sword-text-kjv"}
LONGEST, RARE, HELD_OUT = 14, 2, 200
SPECIAL = ("", "<s>", "</s>", "<?>")
"""Padding, beginning, end, and any word met less than twice: tokens 0 to 3."""


def verses(module: str, package: str) -> str:
    """A Bible of the SWORD project, one verse a line."""
    try:
        from pysword.modules import SwordModules
    except ModuleNotFoundError:
        raise Missing("this example needs the package pysword: pip install 'tinygrad-rnn[data]'") from None
    folder = in_debian(package, f"usr/share/sword/mods.d/{module}.conf").parent.parent
    library = SwordModules(str(folder))
    library.parse_modules()
    bible = library.get_bible_from_module(module)
    bible._decompressed_text = cache(bible._decompressed_text)  # else a book is unpacked anew for each verse
    books = [book for part in bible.get_structure().get_books().values() for book in part]
    return "\n".join(
        " ".join(bible.get(books=[book.name], chapters=[chapter], verses=[verse]).split())
        for book in books
        for chapter, count in enumerate(book.chapter_lengths, 1)
        for verse in range(1, count + 1)
    )


class Pairs:
    """Both sides of the short lines, as words and as tokens; the last ones are held out."""

    def __init__(self, source: str, target: str) -> None:
        both = zip(source.split("\n"), target.split("\n"), strict=True)
        words = [[re.findall(r"\w+|[^\w\s¶]", line.lower()) for line in pair] for pair in both]
        short = [pair for pair in words if all(0 < len(side) <= LONGEST for side in pair)]
        self.words = [short[k] for k in np.random.default_rng(0).permutation(len(short))]
        self.known = [self.vocabulary(side) for side in (0, 1)]
        self.tokens = [[self.encoded(pair[side], side) for pair in self.words] for side in (0, 1)]

    def vocabulary(self, side: int) -> list[str]:
        """The words that the training part has twice at least."""
        counts = Counter(word for pair in self.words[:-HELD_OUT] for word in pair[side])
        return [*SPECIAL, *sorted(word for word, count in counts.items() if count >= RARE)]

    def encoded(self, words: Sequence[str], side: int) -> Array:
        """Words as tokens, with an end."""
        place = {word: k for k, word in enumerate(self.known[side])}
        return np.array([*(place.get(word, 3) for word in words), 2])

    def guessing(self) -> float:
        """The perplexity of the held-out part by how often each word occurs, whatever the verse."""
        counts = np.bincount(np.concatenate(self.tokens[1][:-HELD_OUT]), minlength=len(self.known[1])) + 1
        asked = np.concatenate(self.tokens[1][-HELD_OUT:])
        return float(np.exp(-np.log(counts[asked] / counts.sum()).mean()))


@cache
def pairs(files: tuple[Path, Path] | None) -> Pairs:
    """The two Bibles, or two files."""
    if files:
        return Pairs(*(file.read_text("utf-8").strip("\n") for file in files))
    return Pairs(*(cached(f"{m}.txt", partial(verses, m, package)) for m, package in BIBLES.items()))


def score(answers: Array, asked: Batch) -> dict[str, float]:
    """How many words the network wavers between, and how many it knows, given those before."""
    y = asked.y.numpy()
    right = (answers.argmax(-1) == y)[y >= 0]
    return {"perplexity": float(np.exp(nats(answers, y).mean())), "words right": float(right.mean())}


def task(files: tuple[Path, Path] | None = None) -> Task:
    """The two Bibles, or two files."""

    def network(shape: Shape) -> nn.Seq2Seq:
        sizes = [len(known) for known in pairs(files).known]
        return nn.Seq2Seq(*sizes, 64, 96, shape.layers, shape.kind.lower(), shape.bidirectional, dropout=0.3)

    def ask(net: nn.Seq2Seq, batch: Batch) -> tg.Tensor:
        return net(batch.x, np.maximum(batch.y.numpy(), 0), batch.lengths)[0]

    def part(chosen: slice) -> list[list[Array]]:
        return [side[chosen] for side in pairs(files).tokens]

    return Task(
        name="translation", title="From Spanish into English", shape=Shape("GRU", bidirectional=True),
        network=network, ask=ask, rate=3e-3, epochs=10,
        data=lambda seed: Batches(*part(slice(-HELD_OUT)), batch_size=32, bucket=True, seed=seed),
        asked=lambda: whole(*part(slice(-HELD_OUT, None))), score=score,
        sample=lambda: (whole(*part(slice(-1, None))), None),
        beside="perplexity 109 by how often each word occurs",
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(task())
    options.add_argument("--files", type=Path, nargs=2, help="lines to translate from, and into")
    chosen = options.parse_args(arguments)
    files = tuple(chosen.files) if chosen.files else None
    net, known = run(task(files), chosen), pairs(files)
    print(f"By how often words occur: perplexity {known.guessing():.0f}")
    for words, tokens in list(zip(known.words, known.tokens[0], strict=True))[-5:]:
        said, looked = net.greedy(tokens[:, None], max_length=2 * LONGEST)
        answer = [known.known[1][token] for token in said[0]]
        print(f"  {' '.join(words[0])}\n    said: {' '.join(answer)}\n    true: {' '.join(words[1])}")
    spelled = [known.known[1][token] for token in [*said[0], 2]][: len(looked)]
    picture = visual.attention(looked[:, 0], [*words[0], "</s>"], spelled)
    print(f"  {picture.render(chosen.out / 'translation-attention.svg')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
