"""The table of operations × checks: `python -m benchmarks.op_table [--examples 50] [op …]`.

For every operation, over calls that Hypothesis draws: first and second derivatives against central
differences in float64, values and gradients against PyTorch. A cell gives the worst error over all calls,
relative to the larger of 1 and the entry (of a gradient: its largest entry); – where the check does not
apply. The last line counts. Exit status 1 if any check failed.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from tests.ops.cases import CASES, Call, Case
from tests.ops.peers import ALONE, TORCH, compare
from tinygrad_rnn.check import check_grads

COLUMNS = ("order 1", "order 2", "torch values", "torch grads")
LIMITS = {"torch values": 1e-12, "torch grads": 1e-11}


def main() -> int:
    arguments = argparse.ArgumentParser(prog="benchmarks.op_table", description=__doc__.split("\n")[0])
    arguments.add_argument("--examples", type=int, default=50, help="calls to draw for each operation")
    arguments.add_argument("ops", nargs="*", help="only these (default: all)")
    given = arguments.parse_args()
    torch = peer()
    print(f"{'op':18}" + "".join(f"{name:>14}" for name in COLUMNS) + f"{'shapes':>8}{'worst':>10}")
    tried, failed = 0, []
    for case in CASES:
        if given.ops and case.op not in given.ops:
            continue
        cells, shapes = row(case, torch, given.examples)
        wrong = [name for name, cell in cells.items() if isinstance(cell, str) and cell != "–"]
        wrong += [
            name for name, limit in LIMITS.items() if isinstance(cells[name], float) and cells[name] > limit
        ]
        failed += [f"{case.op}: {name}" for name in wrong]
        errors = [cell for cell in cells.values() if isinstance(cell, float)]
        tried += 1
        shown = "".join(
            f"{cell:>14.1e}" if isinstance(cell, float) else f"{cell:>14}" for cell in cells.values()
        )
        print(f"{case.op:18}{shown}{shapes:>8}{max(errors, default=0.0):>10.1e}", flush=True)
    print(f"{tried} operations, {len(failed)} failed checks" + "".join(f"\n  {what}" for what in failed))
    if torch is None:
        print("PyTorch is not installed: its two columns are empty (make parity)")
    return bool(failed)


def row(case: Case, torch: ModuleType | None, examples: int) -> tuple[dict[str, Any], int]:
    """The cells of one operation, and how many different shapes were tried."""
    seen: set[tuple[Any, ...]] = set()
    checks: dict[str, Callable[[Call], float] | None] = dict.fromkeys(COLUMNS)
    if case.differentiable:
        checks["order 1"] = lambda call: checked(case, call, 1)
        checks["order 2"] = lambda call: checked(case, call, 2)
    if torch is not None and case.op in TORCH and case.op not in ALONE:
        checks["torch values"] = lambda call: compare(torch, case, call)[0]
        if case.differentiable:
            checks["torch grads"] = lambda call: compare(torch, case, call)[1]
    cells: dict[str, Any] = {}
    for name, check in checks.items():
        cells[name] = "–" if check is None else worst(case, check, examples, seen)
    return cells, len(seen)


def checked(case: Case, call: Call, order: int) -> float:
    return check_grads(lambda *xs: case.apply(*xs, **call.params), *call.arrays, order=order)


def worst(case: Case, check: Callable[[Call], float], examples: int, seen: set[Any]) -> Any:
    """The largest error over the calls drawn; "FAILED" where one raised."""
    errors: list[float] = []

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case.calls)
    def run(call: Call) -> None:
        seen.add(tuple(a.shape for a in call.arrays))
        errors.append(check(call))

    try:
        run()
    except Exception as error:
        print(f"{case.op}: {type(error).__name__}: {error}", file=sys.stderr)
        return "FAILED"
    return max(errors)


def peer() -> ModuleType | None:
    """PyTorch, where it is installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


if __name__ == "__main__":
    sys.exit(main())
