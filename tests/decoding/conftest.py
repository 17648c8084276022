import pytest

from tests.random_models import make_decode, make_model

__all__ = ["make_decode", "make_model"]


@pytest.fixture(autouse=True)
def _fast(one_thread: None) -> None:
    """Models this small only lose time by waiting for a second thread."""
