"""Plants the faults, and says which test caught each; see the package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults import Fault
from benchmarks.faults.engine import ENGINE
from benchmarks.faults.networks import NETWORKS
from benchmarks.faults.pictures import PICTURES

ROOT = Path(__file__).resolve().parent.parent.parent
FAULTS = [*ENGINE, *NETWORKS, *PICTURES]


class Seen(NamedTuple):
    """What became of a fault: the test that fell first, or "" if none did."""

    fault: Fault
    test: str


def plant(fault: Fault, house: Path) -> Seen:
    """Break one line below `house`, run the test file that should notice, and mend the line."""
    path = house / fault.file
    sound = path.read_text(encoding="utf-8")
    broken = sound.replace(fault.old, fault.new)
    path.write_text(broken, encoding="utf-8")
    command = [sys.executable, "-Bm", "pytest", "-xq", "--no-header", "-p", "no:cacheprovider", fault.tests]
    try:
        said = subprocess.run(command, cwd=house, capture_output=True, text=True).stdout
    finally:
        path.write_text(sound, encoding="utf-8")
    fell = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
    return Seen(fault, fell[1].partition("::")[2] or "on import" if fell else "")


def main(words: list[str]) -> int:
    """Plant the faults whose test file's path has one of the words, all by default."""
    chosen = [f for f in FAULTS if not words or any(word in f.tests for word in words)]
    unseen = 0
    with tempfile.TemporaryDirectory() as folder:
        house = Path(folder) / "house"
        shutil.copytree(ROOT, house, ignore=shutil.ignore_patterns(".*", "out", "__pycache__", "*.egg-info"))
        for fault in chosen:
            seen = plant(fault, house)
            unseen += not seen.test
            print(f"{fault.tests}\n    {fault.what}\n    {seen.test or 'NOT CAUGHT'}", flush=True)
    print(f"{len(chosen) - unseen} of {len(chosen)} faults caught")
    return int(unseen > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
