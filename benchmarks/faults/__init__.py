"""Faults planted on purpose, at least one for every test file, and the test that catches each.

    python -m benchmarks.faults            all of them, a few minutes
    python -m benchmarks.faults flow nn    those whose test file's path has one of these words

A test that cannot fail proves nothing. So each row below breaks one line in a scratch copy of the project, as
a slip of the hand might, and runs the test file that claims to hold that line. The command prints which test
fell first, and ends with exit code 1 if a fault stayed unseen.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """What is wrong once `old` (which stands in `file` just once) is `new`, and who should notice."""

    tests: str
    what: str
    file: str
    old: str
    new: str
