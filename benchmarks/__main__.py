"""`make bench`: every measurement in turn, each in a process of its own.

`python -m benchmarks` runs them all, `python -m benchmarks engine pictures` only those named.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FILES = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def main(names: list[str]) -> int:
    """Run the benchmarks named, all by default; the exit code is the worst of theirs."""
    unknown = sorted(set(names) - set(FILES))
    if unknown:
        print(f"expected benchmarks among {', '.join(FILES)}, got {', '.join(unknown)}", file=sys.stderr)
        return 2
    worst = 0
    for name in names or FILES:
        print(f"\n== python -m benchmarks.{name}", flush=True)
        worst = max(worst, subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
