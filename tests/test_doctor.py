"""The doctor says what is here and what takes the place of what is not; it never fails."""

from __future__ import annotations

import subprocess
import sys

from tests import strict
from tinygrad_rnn import doctor
from tinygrad_rnn.kernels.passes import emitter


def test_it_runs_as_a_module_and_exits_with_zero():
    command = [sys.executable, "-m", "tinygrad_rnn.doctor"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == "versions" and "devices\n  cpu: " in ran.stdout


def test_without_a_gpu_it_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "cuda: none; device 'cuda' needs CuPy, which is missing: pip install" in doctor.report()


def test_with_gpus_it_names_them_and_their_memory(monkeypatch):
    with strict.installed():
        monkeypatch.delenv("CUPY_TF32", raising=False)
        found = doctor.report()
        assert "CuPy 14.2.0 for CUDA 12.9, the driver reaches 13.0" in found
        assert "cuda:1: Strict stand-in, 3.0 of 16.0 GiB free" in found and "in full float32" in found
        assert "up to 64 rows and weights that fit on chip: one persistent kernel" in found
        monkeypatch.setenv("CUPY_TF32", "1")
        assert "products in TF32, as CUPY_TF32=1 asks" in doctor.report()


def test_it_says_which_kernels_run_and_where_pictures_are_made(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with emitter("numpy"):
        found = doctor.report()
    assert "loops of NumPy calls, since llvmlite is missing" in found and "Graphviz's dot is missing" in found


def test_it_names_the_extra_that_brings_a_missing_package(monkeypatch):
    found = doctor.importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: name != "tqdm" and found(name))
    assert "tqdm is not installed (pip install 'tinygrad-rnn[train]')" in doctor.report()
