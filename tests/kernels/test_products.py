"""The matrix products of compiled loops are NumPy's, and a row's result depends on no other row."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

pytest.importorskip("llvmlite")

SIZES = [(1, 1), (3, 7), (5, 16), (31, 17), (33, 64), (20, 100), (8, 131)]
"""Depth and width: less than a panel, whole panels, and some columns over."""


def multiply(a, weight):
    """a @ weight by the machine code, from a piece of a wider array into a piece of another."""
    import llvmlite.binding as llvm

    from tinygrad_rnn.kernels import native, products

    pack, (rows, depth), width = native.packing()[a.dtype.name], a.shape, weight.shape[1]
    panels = np.full(products.panels_shape(depth, width, a.dtype), np.nan, a.dtype)
    down, across = (stride // a.itemsize for stride in weight.strides)
    pack(depth, width, weight.ctypes.data, down, across, panels.ctypes.data)
    wide, out = np.full((rows, depth + 3), np.nan, a.dtype), np.zeros((rows, width + 5), a.dtype)
    wide[:, 2:-1] = a
    array, integer = ctypes.c_void_p, ctypes.c_int64
    kinds = [*[integer] * 3, array, integer, integer, array, array, integer, integer]
    call = ctypes.CFUNCTYPE(None, *kinds)(llvm.address_of_symbol(products.MULTIPLY.format(a.dtype.name)))
    call(
        depth, width, rows, wide.ctypes.data, 2, depth + 3, panels.ctypes.data, out.ctypes.data, 4, width + 5
    )
    assert not out[:, :4].any() and not out[:, -1].any()
    return out[:, 4:-1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("depth", "width"), SIZES)
def test_a_product_is_numpys_for_any_number_of_rows_and_any_strides(depth, width, dtype, rng):
    weight = rng.standard_normal((depth, width)).astype(dtype)
    for rows in (0, 1, 3, 4, 9):
        a = rng.standard_normal((rows, depth)).astype(dtype)
        limit = 1e-5 if dtype == "float32" else 1e-13
        for laid_out in (weight, np.asfortranarray(weight), np.repeat(weight, 2, axis=1)[:, ::2]):
            np.testing.assert_allclose(multiply(a, laid_out), a @ weight, rtol=limit, atol=10 * limit)


@pytest.mark.parametrize(("depth", "width"), SIZES)
def test_a_rows_result_is_the_same_to_the_last_bit_whatever_rows_stand_beside_it(depth, width, rng):
    a = rng.standard_normal((11, depth)).astype("float32")
    weight = rng.standard_normal((depth, width)).astype("float32")
    whole = multiply(a, weight)
    for first in (1, 4, 10):
        np.testing.assert_array_equal(multiply(a[first:], weight), whole[first:])
