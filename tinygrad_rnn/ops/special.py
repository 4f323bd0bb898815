"""Functions that an array library may lack, and constants in its own form."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn.namespaces import Array

# erf(x) = x·P(x²)/Q(x²) near 0, and 1 - exp(-x²)·P(x)/Q(x) from there on; the highest power comes first.
_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
_FAR = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip


def erf(x: Array) -> Array:
    """The error function, in double precision; `cupyx.scipy.special`'s on CuPy's arrays.

    Source: Cody, Rational Chebyshev approximation for the error function, Math. Comp. 23 (1969).
    """
    if not isinstance(x, np.ndarray | np.generic):
        from cupyx.scipy.special import erf as on_device

        return on_device(x)
    size = np.abs(x, dtype=np.float64)
    least = np.minimum(size, 0.46875)
    most = np.minimum(size, 6.0)  # beyond, erf(x) = 1
    near = least * _quotient(_NEAR, least * least)
    far = 1 - np.exp(-most * most) * _quotient(_FAR, most)
    y = np.copysign(np.where(size <= 0.46875, near, far), x)
    return y.astype(x.dtype) if x.dtype.kind == "f" else y


def _quotient(coefficients: tuple[Any, Any], x: Array) -> Array:
    above, below = coefficients
    return np.polyval(above, x) / np.polyval(below, x)


_HALF = {char: np.array(0.5, char) for char in "efd"}
_ONE = {char: np.array(1, char) for char in "efd"}


def half(x: Array) -> Any:
    """½, for arithmetic with x: NumPy takes longer to read a Python number than to compute."""
    return _HALF.get(x.dtype.char, 0.5) if type(x) is np.ndarray else 0.5


def one(x: Array) -> Any:
    """1, for arithmetic with x."""
    return _ONE.get(x.dtype.char, 1) if type(x) is np.ndarray else 1
