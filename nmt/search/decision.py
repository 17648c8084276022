"""A decision of a search's method."""

from __future__ import annotations

from typing import NamedTuple


class Decision(NamedTuple):
    """One choice of a method."""

    name: str
    options: tuple[str, ...]  # as text
    ordered: bool = False  # whether neighbours are alike
