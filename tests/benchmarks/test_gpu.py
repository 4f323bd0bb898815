"""The GPU benchmark measures what it says, writes a table, and says so where there is no GPU."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import gpu
from tests import host_cuda, strict, strict_device


def test_every_size_network_and_kind_is_measured_once_and_one_size_unrolled():
    cases = gpu.cases()
    assert len(cases) == len(set(cases)) == 2 * 2 * 4 + 2
    assert [c.size for c in cases if c.unrolled] == [(100, 32, 256)] * 2


def test_the_table_gives_ratios_under_hardware_and_date():
    case = gpu.Case("LSTM", "one layer", (100, 32, 256))
    text = gpu.table([gpu.Row(case, "training", [1.8, 1.5, 1.2], 1.5)], "Some GPU, today")
    head, _, row = text.splitlines()[-3:]
    assert "Some GPU, today" in text and head.count("|") == row.count("|")
    times = " | ".join(["1.800", "1.500", "1.200", "1.500", "1.20", "1.00", "0.80"])
    assert row == f"| LSTM, one layer | (100, 32, 256) | training | {times} |"


def test_without_a_gpu_it_says_so_in_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(sys, "argv", ["gpu", "--output", str(tmp_path / "table.md")])
    gpu.main()
    said = capsys.readouterr().out
    assert said.startswith("Nothing was measured, since there is no GPU here: ") and said.count("\n") == 1
    assert not (tmp_path / "table.md").exists()


@pytest.mark.skipif(host_cuda.COMPILER is None, reason="needs g++, which is not on PATH")
@pytest.mark.parametrize("unrolled", [False, True])
@pytest.mark.parametrize("way", gpu.WAYS.values(), ids=gpu.WAYS)
def test_this_librarys_half_runs_on_the_device_and_waits_for_nothing(way, unrolled, cooperative, monkeypatch):
    pytest.importorskip("torch", reason="needs PyTorch, which is not installed (make parity)")
    for setting in gpu.SETTINGS:
        monkeypatch.setenv(setting, "0")  # and as it was after the test
    with strict.installed():
        ours = gpu.by_this(gpu.Case("GRU", "two, bidirectional", (4, 2, 3), unrolled), way)
        gradients = ours["training"]()
        assert len(gradients) == 1 + 16 and all(type(g) is strict.ndarray for g in gradients)
        with strict_device.counted() as counts:
            ours["training"]()
            ours["inference"]()
        assert counts["sync"] == counts["upload"] == counts["download"] == 0
        loops = 4 * 3  # layers and directions; forward, backward, inference
        assert counts["kernel"] == (0 if unrolled else loops if way == "01" else loops * 4)
        assert counts["graph"] == (0 if unrolled or way != "10" else 4 * 2)  # inference runs the first time


@pytest.mark.gpu
def test_one_round_runs():
    ran = subprocess.run([sys.executable, "-m", "benchmarks.gpu", "--rounds", "1"], check=False)
    assert ran.returncode == 0
