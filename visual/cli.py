"""Pictures of BPTT from the command line: `python -m visual`, installed as `tinygrad-rnn`.

A network of the kind and size asked for runs over a sequence, its gradient is measured, and one picture is
written. Bad input ends with exit code 2 and one sentence; nothing half-written is left behind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
import visual
from visual.picture import FORMATS, Picture

KINDS = ("rnn", "lstm", "gru")
_EXAMPLES = """\
examples:
  python -m visual lstm --layers 2 --bidirectional --steps 6 --gradients -o lstm.svg
  python -m visual gru --level gate --steps 3 --gradients -o gates.png
  python -m visual rnn --text "hello world" --gradients -o hello.svg
  python -m visual rnn --series prices.csv --view heatmap -o vanishing.svg
  python -m visual out/names.safetensors --text "maria" --gradients -o maria.svg
"""


class Refused(Exception):
    """A wish that cannot be met; its text is the sentence the user reads."""


def parser() -> argparse.ArgumentParser:
    """The command line, described."""
    made = argparse.ArgumentParser(
        prog="tinygrad-rnn",
        description="Draw a recurrent network unrolled through time, and how its gradient flows back.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("network", help="rnn, lstm or gru; or a .safetensors file saved by the examples")
    made.add_argument("-o", "--output", required=True,
                      help=f"where to; its suffix is the format: {', '.join(FORMATS)}")  # fmt: skip
    made.add_argument("--layers", type=int, default=1, help="stacked layers (default 1)")
    made.add_argument("--bidirectional", action="store_true", help="read the sequence in both directions")
    made.add_argument("--steps", type=int, help="length of a random sequence (default 6)")
    made.add_argument("--hidden", type=int, default=8, help="features of the state (default 8)")
    made.add_argument("--text", help="run over these characters instead of a random sequence")
    made.add_argument("--series", help="run over the numbers in this file, one step a line")
    made.add_argument("--view", choices=("unrolled", "heatmap"), default="unrolled", help="what to show")
    made.add_argument("--level", choices=visual.LEVELS, default="cell", help="how much detail")
    made.add_argument("--gradients", action="store_true", help="draw BPTT beside the forward edges")
    made.add_argument("--loss", choices=("last", "every"), default="last",
                      help="measure the gradient of the last state, or of every step's output")  # fmt: skip
    made.add_argument("--focus", type=int, help="a step to keep open where the picture is folded")
    made.add_argument("--theme", choices=("light", "dark"), default="light")
    made.add_argument("--seed", type=int, default=0, help="of the random weights and sequence (default 0)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0, or 2 for bad input."""
    options = parser().parse_args(arguments)
    try:
        picture = _picture(options)
        path = picture.render(options.output)
    except (Refused, ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        print(f"tinygrad-rnn: {error}", file=sys.stderr)
        return 2
    print(path)
    return 0


def _picture(options: argparse.Namespace) -> Picture:
    suffix = Path(options.output).suffix.lstrip(".").lower()
    if suffix not in FORMATS:
        raise Refused(f"expected an output that ends in one of {', '.join(FORMATS)}, got {options.output!r}")
    if not Path(options.output).absolute().parent.is_dir():
        raise Refused(f"expected an existing folder to write into, got {str(Path(options.output).parent)!r}")
    for name in ("layers", "steps", "hidden"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise Refused(f"expected --{name} of at least 1, got {getattr(options, name)}")
    loss, tokens, title = _run(options)
    if options.focus is not None and not 0 <= options.focus < len(tokens):
        raise Refused(f"expected --focus on a step from 0 to {len(tokens) - 1}, got {options.focus}")
    if options.view == "heatmap":
        return visual.heatmap(tg.flow(loss), tokens=tokens, theme=options.theme, title=title)
    return visual.draw(
        tg.flow(loss) if options.gradients else loss, level=options.level, gradients=options.gradients,
        tokens=tokens, focus=options.focus, theme=options.theme, title=title,
    )  # fmt: skip


def _run(options: argparse.Namespace) -> tuple[tg.Tensor, list[str], str]:
    """The loss to look at, the labels of its steps, and a title."""
    tg.manual_seed(options.seed)
    if options.network not in KINDS:
        return _run_saved(options)
    x, tokens = _sequence(options)
    kind = {"rnn": tg.nn.RNN, "lstm": tg.nn.LSTM, "gru": tg.nn.GRU}[options.network]
    net: Any = kind(x.shape[-1], options.hidden, options.layers, bidirectional=options.bidirectional)
    output, final = net(x)
    if options.loss == "every":
        loss = (output * output).mean()
    else:
        h = final[0] if isinstance(final, tuple) else final
        loss = (h[-2:] if options.bidirectional else h[-1:]).sum()
    loss.name = "loss"
    shape = f"{options.layers} layer{'s' * (options.layers > 1)}{', bidirectional' * options.bidirectional}"
    return loss, tokens, f"{options.network.upper()}, {shape}, {options.hidden} features, {len(tokens)} steps"


def _run_saved(options: argparse.Namespace) -> tuple[tg.Tensor, list[str], str]:
    """A saved network on the user's text; the loss is -log p of its own answer."""
    path = Path(options.network)
    if not path.is_file():
        known = ", ".join(KINDS)
        raise Refused(f"expected {known} or a file of weights, got {options.network!r}, which does not exist")
    if not options.text:
        raise Refused("expected --text for the saved network to read, got none")
    net = tg.load_network(path).eval()
    scores = net(options.text)
    answer = int(scores.numpy()[0].argmax())
    loss = tg.nn.functional.cross_entropy(scores, tg.tensor([answer]))
    loss.name = "loss"
    return loss, list(options.text), f"{path.name} reads “{options.text}” and answers {net.classes[answer]}"


def _sequence(options: argparse.Namespace) -> tuple[tg.Tensor, list[str]]:
    """The input (T, 1, I) and one label per step."""
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
    steps = options.steps or 6
    return tg.randn(steps, 1, 4), [str(t) for t in range(steps)]


def _series(path: Path) -> tuple[tg.Tensor, list[str]]:
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
    return tg.tensor(values[:, None]), [str(t) for t in range(len(rows))]
