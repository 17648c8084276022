"""One thread is fastest for models this small, above all where other programs work too."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _fast(one_thread: None) -> None:
    """Use one thread."""
