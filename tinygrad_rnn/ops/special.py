"""Functions that an array library may lack."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_rnn.namespaces import Array

_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """The error function: the C library's on NumPy arrays, `cupyx.scipy.special`'s on CuPy's."""
    if not isinstance(x, np.ndarray | np.generic):
        from cupyx.scipy.special import erf as on_device

        return on_device(x)
    floating = x.dtype if x.dtype.kind == "f" else np.float64
    return np.asarray(_erf(x)).astype(floating)
