"""Every test here runs on every device."""

import pytest


@pytest.fixture(autouse=True)
def on_every_device(device: str) -> None:
    """New arrays are made on `device`."""
