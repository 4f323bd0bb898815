"""What every task reaches, over three seeds, beside PyTorch; stacked or not, bidirectional or not.

python -m examples.results                    # all that has not been run yet: about two hours on two cores
python -m examples.results vowels --seeds 1 --no-shapes

Every run adds a line to docs/results/runs.jsonl and is not made again (with --log mine.jsonl all are); the
tables go into docs/results.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from examples import adding, bible, copying, digits, names, order, reber, sunspots, tasks, translation, vowels
from examples.data import Missing
from examples.tasks import Shape, Task

TASKS: dict[str, Callable[[], Task]] = {
    "names": names.task, "vowels": lambda: vowels.TASK, "sunspots": lambda: sunspots.TASK,
    "digits": lambda: digits.ROWS, "pixels": lambda: digits.PIXELS, "bible": bible.task,
    "translation": translation.task, "adding": lambda: adding.TASK, "copying": lambda: copying.TASK,
    "order": lambda: order.TASK, "reber": lambda: reber.TASK,
}  # fmt: skip
PAGE = Path(__file__).resolve().parent.parent / "docs" / "results.md"

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.results", description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="task", help=f"among {', '.join(TASKS)} (default all)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--shapes", action=argparse.BooleanOptionalAction, default=True)
    there = importlib.util.find_spec("torch") is not None
    parser.add_argument("--torch", action=argparse.BooleanOptionalAction, default=there)
    parser.add_argument("--log", type=Path, default=PAGE.with_suffix("") / "runs.jsonl")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    if unknown := set(options.tasks) - set(TASKS):
        parser.error(f"expected tasks among {', '.join(TASKS)}, got {', '.join(sorted(unknown))}")
    known = read(options.log)
    for name in options.tasks or TASKS:
        task = TASKS[name]()
        for shape, seed, library in wanted(task, options):
            job = {"task": name, "shape": str(shape), "seed": seed, "library": library}
            if any(job.items() <= row.items() for row in known):
                continue
            try:
                known.append({**job, **measured(task, shape, seed, library)})
            except Missing as missing:
                print(f"{name}: {missing}", file=sys.stderr)
                break
            with options.log.open("a") as log:
                print(json.dumps(known[-1]), file=log)
            print(known[-1], flush=True)
    write(known, options.page)
    return 0


def read(log: Path) -> list[Row]:
    """The runs that were made."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def wanted(task: Task, options: argparse.Namespace) -> Iterator[tuple[Shape, int, str]]:
    """The task's own network with every seed, here and in PyTorch; the other shapes with the first seed."""
    for library in ("here", "PyTorch") if options.torch else ("here",):
        for seed in range(options.seeds):
            yield task.shape, seed, library
    for shape in task.shapes if options.shapes else []:
        yield shape, 0, "here"


def measured(task: Task, shape: Shape, seed: int, library: str) -> Row:
    """Train once: scores, parameters, and the processor's milliseconds of the quickest update."""
    net = tasks.made(task, shape, seed)
    ticks = [time.process_time()]
    note = lambda run: ticks.append(time.process_time())
    if library == "PyTorch":
        from benchmarks import twins

        scores = twins.learn(task, net, seed, note)
    else:
        tasks.learn(task, net, seed, progress=False, step_callbacks=[note])
        scores = tasks.score(task, net)
    quickest = min(after - before for before, after in pairwise(ticks))
    parameters = sum(p.size for p in net.parameters())
    return {"scores": scores, "parameters": parameters, "milliseconds": round(1e3 * quickest, 2)}


# -- the page ------------------------------------------------------------------------------------------


def write(known: list[Row], page: Path) -> None:
    """Put both tables between their marks on the page."""
    text = page.read_text("utf-8")
    for mark, lines in (("reached", list(reached(known))), ("shapes", list(shapes(known)))):
        found = re.compile(f"(<!-- {mark} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = found.sub(lambda m, lines=lines: m[1] + "\n".join([*lines, ""]) + m[2], text)
    page.write_text(text, "utf-8")


def reached(known: list[Row]) -> Iterator[str]:
    """One line for each measure of a task."""
    yield "| task | network | measure | here | PyTorch | others |"
    yield "|---|---|---|---|---|---|"
    for name, task in ((name, make()) for name, make in TASKS.items()):
        own = [row for row in known if row["task"] == name and row["shape"] == str(task.shape)]
        for measure in own[0]["scores"] if own else ():
            first = measure == next(iter(own[0]["scores"]))
            here, theirs = (
                spread([row["scores"][measure] for row in own if row["library"] == library])
                for library in ("here", "PyTorch")
            )
            command, shape, others = (f"`{task.command}`", task.shape, task.beside) if first else ("", "", "")
            yield f"| {command} | {shape} | {measure} | {here} | {theirs} | {others} |"


def spread(values: list[float]) -> str:
    """The mean, and from where to where; all to four digits."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.4g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.4g} – {max(values):.4g})"


def shapes(known: list[Row]) -> Iterator[str]:
    """For each task, one line for each shape."""
    yield "| task | network | measure | reached | parameters | one update |"
    yield "|---|---|---|---|---|---|"
    for name, task in ((name, make()) for name, make in TASKS.items()):
        for shape in task.shapes:
            for row in known:
                if (row["task"], row["shape"], row["seed"], row["library"]) == (name, str(shape), 0, "here"):
                    measure, value = next(iter(row["scores"].items()))
                    yield (
                        f"| {name} | {shape} | {measure} | {value:.4g} | {row['parameters']:,} "
                        f"| {row['milliseconds']:.1f} ms |"
                    )


if __name__ == "__main__":
    sys.exit(main())
