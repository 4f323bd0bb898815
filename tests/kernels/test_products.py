"""The matrix products of compiled loops are NumPy's, and a row's result depends on no other row."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

SIZES = [(1, 1), (3, 7), (5, 16), (31, 17), (33, 64), (20, 100), (8, 131)]
"""Depth and width: less than a panel, whole panels, and some columns over."""


def multiply(a, weight, above=1, below=2):
    """a (steps, rows, depth) @ weight by the machine code, out of wider arrays and into one.

    `above` and `below` are rows between the steps, of a and of what comes out.
    """
    from tinygrad_rnn.kernels import native, products

    pack, call = native.linked_products(a.dtype.name)
    (steps, rows, depth), width = a.shape, weight.shape[1]
    panels = np.full(products.panels_shape(depth, width, a.dtype), np.nan, a.dtype)
    down, across = (stride // a.itemsize for stride in weight.strides)
    pack(depth, width, weight.ctypes.data, down, across, panels.ctypes.data)
    wide = np.full((steps, above + rows, depth + 3), np.nan, a.dtype)
    out = np.zeros((steps, rows + below, width + 5), a.dtype)
    wide[:, above:, 2:-1] = a
    (a_step, a_row), (out_step, out_row) = ((x[0].size, x.shape[2]) for x in (wide, out))
    call(
        depth, width, steps, rows, wide.ctypes.data, above * a_row + 2, a_step, a_row, panels.ctypes.data,
        out.ctypes.data, 4, out_step, out_row,
    )  # fmt: skip
    found = out[:, :rows, 4:-1].copy()
    out[:, :rows, 4:-1] = 0
    assert not out.any()
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("depth", "width"), SIZES)
def test_a_product_is_numpys_for_any_number_of_rows_and_any_strides(depth, width, dtype, rng):
    weight = rng.standard_normal((depth, width)).astype(dtype)
    for steps, rows in ((1, 0), (1, 1), (2, 3), (1, 4), (3, 9), (2, 10)):
        a = rng.standard_normal((steps, rows, depth)).astype(dtype)
        limit = 1e-5 if dtype == "float32" else 1e-13
        for laid_out in (weight, np.asfortranarray(weight), np.repeat(weight, 2, axis=1)[:, ::2]):
            np.testing.assert_allclose(multiply(a, laid_out), a @ weight, rtol=limit, atol=10 * limit)


@pytest.mark.parametrize(("above", "below"), [(0, 0), (0, 2), (1, 0)])
def test_steps_may_stand_behind_each_other_or_apart(above, below, rng):
    a, weight = rng.standard_normal((3, 5, 20)), rng.standard_normal((20, 33))
    np.testing.assert_allclose(multiply(a, weight, above, below), a @ weight, rtol=1e-12)


@pytest.mark.parametrize(("depth", "width"), SIZES)
def test_a_rows_result_is_the_same_to_the_last_bit_whatever_rows_stand_beside_it(depth, width, rng):
    a = rng.standard_normal((2, 11, depth)).astype("float32")
    weight = rng.standard_normal((depth, width)).astype("float32")
    whole = multiply(a, weight)
    for first in (1, 4, 8, 9, 10):
        np.testing.assert_array_equal(multiply(a[:, first:], weight), whole[:, first:])
