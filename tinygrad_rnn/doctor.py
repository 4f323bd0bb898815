"""What is here and what runs on it: `python -m tinygrad_rnn.doctor`.

Versions, devices, which kernels run for what, where Graphviz is, and what takes the place of what is missing.
It changes nothing, and a missing part is no error: the exit code is 0.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from typing import Any

from tinygrad_rnn import namespaces
from tinygrad_rnn.kernels.passes import chosen
from tinygrad_rnn.kernels.persistent import SMALL
from tinygrad_rnn.namespaces import DeviceError

_PARTS = {
    "numpy": "", "graphviz": "", "threadpoolctl": "", "llvmlite": "fast", "matplotlib": "plots",
    "safetensors": "train", "tqdm": "train", "mpi4py": "mpi", "torch": "",
}  # fmt: skip
"""Package → the extra that brings it."""


def report() -> str:
    """The whole report, as text."""
    sections = {"versions": _versions, "devices": _devices, "recurrent layers": _kernels, "pictures": _dot}
    return "\n".join(f"{title}\n  " + "\n  ".join(lines()) for title, lines in sections.items())


def _versions() -> Iterator[str]:
    yield f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    for package, extra in _PARTS.items():
        if importlib.util.find_spec(package):
            yield f"{package} {importlib.metadata.version(package)}"
        else:
            yield f"{package} is not installed" + (f" (pip install 'tinygrad-rnn[{extra}]')" if extra else "")


def _devices() -> Iterator[str]:
    yield f"cpu: {os.cpu_count()} processors, NumPy"
    try:
        cupy = namespaces.library("cuda")
    except DeviceError as missing:
        yield f"cuda: none; {missing}"
        return
    driver, made_for = namespaces.cuda_versions(cupy.cuda.runtime)
    yield f"cuda: CuPy {cupy.__version__} for CUDA {made_for}, the driver reaches {driver}"
    for number in range(cupy.cuda.runtime.getDeviceCount()):
        with cupy.cuda.Device(number):
            free, total = cupy.cuda.runtime.memGetInfo()
        name = cupy.cuda.runtime.getDeviceProperties(number)["name"].decode()
        yield f"cuda:{number}: {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    if os.environ.get("CUPY_TF32") == "1":
        yield "float32 products in TF32, as CUPY_TF32=1 asks"
    else:
        yield "float32 products in full float32 (CUPY_TF32=1 asks for TF32)"


def _kernels() -> Iterator[str]:
    fast = chosen() == "llvm"
    yield "on cpu: " + (
        f"loops compiled by LLVM, kept in {_cache()}" if fast
        else "loops of NumPy calls, since llvmlite is missing (extra 'fast')"
    )  # fmt: skip
    yield "on cuda: one cuBLAS product and one generated CUDA kernel a step, compiled and kept by CuPy"
    yield (
        f"on cuda, for up to {SMALL} rows and weights that fit on chip: one persistent kernel for all steps "
        "(TINYGRAD_RNN_PERSISTENT=1 asks for it whatever the rows, 0 refuses it)"
    )
    yield "a cell that no kernel can be generated from runs operation by operation, on every device"


def _cache() -> Any:
    from tinygrad_rnn.kernels import native

    return native._folder()


def _dot() -> Iterator[str]:
    path = shutil.which("dot")
    yield f"Graphviz: {path}" if path else "Graphviz's dot is missing: SVG, HTML and DOT only, no PNG or PDF"


if __name__ == "__main__":
    print(report())
