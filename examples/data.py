"""Where the examples' real data come from: files inside installed packages, never the network.

Packages of the extra `data` ship a data set beside their code; the file is read by its path, so nothing heavy
is imported. Debian's packages are looked for where `apt-get install` puts them, and in the cache, where
`make data` unpacks them without any rights. What takes long to read is kept in the cache as well.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_rnn"

Array = np.ndarray[Any, Any]


class Missing(SystemExit):
    """The data are not on this machine; the message says which package brings them."""


def in_package(package: str, file: str) -> Path:
    """A file of an installed Python package, found without importing it."""
    module = package.replace("-", "_")
    found = importlib.util.find_spec("sklearn" if module == "scikit_learn" else module)
    if found is None or not found.submodule_search_locations:
        extra = "examples" if package == "names" else "data"
        raise Missing(f"this example needs the package {package}: pip install 'tinygrad-rnn[{extra}]'")
    return Path(found.submodule_search_locations[0]) / file


def in_debian(package: str, file: str) -> Path:
    """A file of a Debian package, installed or unpacked in the cache; `file` begins below /."""
    for root in (Path("/"), CACHE / "debian"):
        if (root / file).exists():
            return root / file
    raise Missing(f"this example needs Debian's {package}: apt-get install {package}, or make data")


def cached(name: str, make: Callable[[], str]) -> str:
    """The text kept under this name, made at the first time."""
    path = CACHE / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(make(), "utf-8")
        part.replace(path)
    return path.read_text("utf-8")


def one_hot(codes: Array, symbols: int) -> Array:
    """Codes (…) as float32 rows (…, symbols) that are 1 at the code."""
    return np.eye(symbols, dtype=np.float32)[codes]
