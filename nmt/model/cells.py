"""The recurrent layers that an architecture can be built of."""

from __future__ import annotations

from nmt.model.gru import GruLayer
from nmt.model.lstm import LstmLayer
from nmt.model.recurrent import RecurrentLayer

CELLS: dict[str, type[RecurrentLayer]] = {"lstm": LstmLayer, "gru": GruLayer}
