"""Every operation beside PyTorch: values and gradients, over shapes and axes that Hypothesis draws."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ops.cases import CASES, case
from tests.ops.peers import ALONE, TORCH, compare

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: make parity")


def test_every_operation_has_a_counterpart_or_a_reason():
    assert sorted([*TORCH, *ALONE]) == sorted(c.op for c in CASES)


@pytest.mark.parametrize("op", TORCH)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_values_and_gradients(op, data):
    call = data.draw(case(op).calls)
    values, gradients = compare(torch, case(op), call)
    assert values < 1e-12
    assert gradients < 1e-11
