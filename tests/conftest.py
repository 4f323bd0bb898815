"""What every test may ask for: random numbers of its own, a device, Graphviz."""

from __future__ import annotations

import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"

settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


def seed_of(request: pytest.FixtureRequest) -> int:
    """A seed that differs from test to test, and is the same in every run and on every device."""
    anywhere = re.sub(r"\[(cpu|strict|cuda)\]|(?<=\[)(cpu|strict|cuda)-", "", request.node.nodeid)
    return zlib.crc32(anywhere.encode())


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    return np.random.default_rng(seed_of(request))


@pytest.fixture(autouse=True)
def same_start(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test starts from the library's own defaults and from its own seed, PyTorch's draws included."""
    from tinygrad_rnn import namespaces

    namespaces.manual_seed(seed_of(request))
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed_of(request))
    yield
    namespaces.set_default_dtype("float32")
    namespaces.set_default_device("cpu")


@pytest.fixture(params=["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each backend in turn, and new arrays made there: NumPy; a strict stand-in for CuPy; CuPy itself.

    "cuda" is skipped, with the reason, where there is none.
    """
    from tests import strict
    from tinygrad_rnn.namespaces import DeviceError, set_default_device

    with strict.installed() if request.param == "strict" else nullcontext():
        try:
            set_default_device("cpu" if request.param == "cpu" else "cuda")
        except DeviceError as missing:
            pytest.skip(f"no GPU here: {missing}")
        yield "cpu" if request.param == "cpu" else "cuda"
        set_default_device("cpu")


@pytest.fixture
def cooperative(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The stand-in for CuPy launches kernels whose blocks wait for each other, which else it cannot."""
    from tests import strict
    from tinygrad_rnn.kernels import loops

    loops._kernels.clear()  # they remember what the device can do
    monkeypatch.setitem(strict.attributes, "CooperativeLaunch", 1)
    yield
    loops._kernels.clear()


@pytest.fixture
def xp(device: str) -> Any:
    """The array library of `device`: NumPy, then CuPy."""
    from tinygrad_rnn.namespaces import library

    return library(device)


@pytest.fixture
def dot() -> str:
    """The path of Graphviz's `dot`, for tests of what only Graphviz can render."""
    path = shutil.which("dot")
    if path is None:
        pytest.skip("Graphviz's dot is not installed")
    return path
