"""The table of planted faults is whole and still fits the source; a command of its own plants them."""

from __future__ import annotations

import pytest

from benchmarks.faults.__main__ import FAULTS, ROOT, plant


def test_every_test_file_has_a_fault_to_catch():
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")}
    assert here == {fault.tests for fault in FAULTS}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.tests)
def test_the_line_to_break_stands_just_once(fault):
    assert (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old) == 1
    assert fault.old != fault.new


def test_a_fault_is_planted_seen_and_mended(tmp_path):
    (tmp_path / "sum.py").write_text("def add(a, b):\n    return a + b\n")
    tested = "from sum import add\n\n\ndef test_adds():\n    assert add(1, 2) == 3\n"
    (tmp_path / "test_sum.py").write_text("import sys\n\nsys.path.insert(0, '.')\n" + tested)
    fault = FAULTS[0]._replace(tests="test_sum.py", file="sum.py", old="a + b", new="a - b")
    assert plant(fault, tmp_path).test == "test_adds"
    assert plant(fault._replace(new="b + a"), tmp_path).test == ""
    assert "a + b" in (tmp_path / "sum.py").read_text()
