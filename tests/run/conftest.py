import pytest

from tests.training.conftest import digits, small, small_values

__all__ = ["digits", "small", "small_values"]


@pytest.fixture(autouse=True)
def _fast(one_thread: None) -> None:
    """Models this small only lose time by waiting for a second thread."""
