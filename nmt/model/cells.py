"""The recurrent layers that an architecture can be built of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nmt.model.cell import CellLayer
from nmt.model.gru import GruLayer
from nmt.model.lstm import LstmLayer
from nmt.model.recurrent import RecurrentLayer

CELLS: dict[str, type[RecurrentLayer]] = {"lstm": LstmLayer, "gru": GruLayer}


def recurrent_layer(cell: str) -> Callable[..., RecurrentLayer]:
    """The class of layers with a cell that is known by its name, or with one that is written as
    text."""
    return CELLS.get(cell) or partial(CellLayer, text=cell)
