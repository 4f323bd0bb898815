"""Pictures of BPTT from the command line: `python -m visual`, installed as `tinygrad-rnn`.

A network of the kind and size asked for, or a saved one, runs over a sequence, its gradient is measured, and
one picture is written. Bad input ends with exit code 2 and one sentence; nothing half-written is left behind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import visual
from visual.picture import FORMATS, Picture
from visual.runs import Refused, Run, run
from visual.sources import LEVELS

VIEWS = ("unrolled", "rolled", "heatmap", "influence", "compare")
FOLDS: dict[str, str | bool] = {"auto": "auto", "always": True, "never": False}
_EXAMPLES = """\
examples:
  python -m visual lstm --layers 2 --bidirectional --steps 6 --gradients -o lstm.svg
  python -m visual gru --level gate --steps 3 --gradients -o gates.png
  python -m visual rnn --text "hello world" --gradients -o hello.svg
  python -m visual rnn --series prices.csv --view heatmap -o vanishing.svg
  python -m visual gru --steps 12 --truncate 4 --loss every --gradients -o truncated.svg
  python -m visual lstm --lengths 6,4,2 --gradients -o ragged.svg
  python -m visual rnn --view influence --steps 20 -o influence.svg
  python -m visual rnn --view compare --with lstm -o two.svg
  python -m visual out/names.safetensors --text "maria" --gradients -o maria.svg
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(message)


def parser() -> argparse.ArgumentParser:
    """The command line, described."""
    made = _Parser(
        prog="tinygrad-rnn",
        description="Draw a recurrent network unrolled through time, and how its gradient flows back.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("network", help="rnn, lstm, gru, feedforward; or a .safetensors file of weights")
    made.add_argument("-o", "--output", required=True, metavar="PATH",
                      help=f"where to; its suffix is the format: {', '.join(FORMATS)}")  # fmt: skip

    net = made.add_argument_group("the network, where none was saved")
    net.add_argument("--layers", type=int, default=1, help="stacked layers (default 1)")
    net.add_argument("--bidirectional", action="store_true", help="read the sequence in both directions")
    net.add_argument("--hidden", type=int, default=8, help="features of the state (default 8)")
    net.add_argument("--seed", type=int, default=0, help="of random weights and sequence (default 0)")

    data = made.add_argument_group("what it reads, and what is asked of it")
    data.add_argument("--steps", type=int, help="a random sequence of this length (default 6)")
    data.add_argument("--text", help="these characters")
    data.add_argument("--series", metavar="PATH", help="the numbers in this file, one step a line")
    data.add_argument("--lengths", type=_numbers, metavar="N,N,…",
                      help="a batch of sequences that end after so many steps")  # fmt: skip
    data.add_argument("--truncate", type=int, metavar="K", help="cut BPTT after every K steps")
    data.add_argument("--loss", choices=("last", "every"), default="last",
                      help="of the last state (default), or of every step's output")  # fmt: skip

    shown = made.add_argument_group("the picture")
    shown.add_argument("--view", choices=VIEWS, default="unrolled", help="what to show (default unrolled)")
    shown.add_argument("--with", dest="other", metavar="NETWORK", help="the other network to compare")
    shown.add_argument("--level", choices=LEVELS, default="cell", help="detail (default cell)")
    shown.add_argument("--gradients", action="store_true", help="draw BPTT beside the forward edges")
    shown.add_argument("--fold", choices=FOLDS, default="auto", help="shorten long sequences (default auto)")
    shown.add_argument("--focus", type=int, metavar="STEP", help="keep this step open in a fold")
    shown.add_argument("--theme", choices=("light", "dark"), default="light")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0, or 2 for bad input."""
    try:
        options = parser().parse_args(arguments)
        path = _picture(options).render(options.output)
    except (Refused, ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        print(f"tinygrad-rnn: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(path)
    return 0


def _picture(options: argparse.Namespace) -> Picture:
    _check(options)
    one = run(options, options.network)
    if options.focus is not None and not 0 <= options.focus < one.length:
        raise Refused(f"expected --focus on a step from 0 to {one.length - 1}, got {options.focus}")
    theme, title = options.theme, one.title
    match options.view:
        case "rolled":
            return visual.rolled(one.loss, theme=theme, title=title)
        case "heatmap":
            return visual.heatmap(one.loss, theme, title, tokens=one.tokens)
        case "influence":
            if not one.steps:
                raise Refused(f"expected a network with an output at every step, got {options.network}")
            return visual.influence(_total(one), one.steps, theme, title)
        case "compare":
            other = run(options, options.other)
            return visual.compare(one.loss, other.loss, (title, other.title), options.level, theme=theme)
        case _:
            return visual.draw(
                one.loss, options.level, options.gradients, FOLDS[options.fold], options.focus, one.tokens,
                theme, title,
            )  # fmt: skip


def _total(one: Run) -> object:
    """All steps' losses in one, so that they are on one tape."""
    total = one.steps[0]
    for loss in one.steps[1:]:
        total = total + loss
    return total


def _check(options: argparse.Namespace) -> None:
    """Refuse what can be refused before anything runs."""
    output = Path(options.output)
    if output.suffix.lstrip(".").lower() not in FORMATS:
        raise Refused(f"expected an output that ends in one of {', '.join(FORMATS)}, got {options.output!r}")
    if not output.absolute().parent.is_dir():
        raise Refused(f"expected an existing folder to write into, got {str(output.parent)!r}")
    for name in ("layers", "steps", "hidden", "truncate"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise Refused(f"expected --{name} of at least 1, got {getattr(options, name)}")
    if (options.view == "compare") != (options.other is not None):
        raise Refused("expected --view compare and --with together, got one of them")
    if options.lengths and not (options.steps or options.text or options.series):
        options.steps = max(options.lengths)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers between commas, got {text!r}") from None
