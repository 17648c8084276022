"""placeholder"""

from __future__ import annotations

from typing import Any


def transfer(*a: Any) -> None:
    """x."""
