"""LSTM layers (Hochreiter & Schmidhuber 1997, with forget gates)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from nmt.kernels.lstm import lstm
from nmt.model.context import ForwardContext
from nmt.model.initializers import Initializer, open_forget_gate, uniform, zeros
from nmt.model.layer import State
from nmt.model.recurrent import RecurrentLayer


class LstmLayer(RecurrentLayer):
    """See RecurrentLayer. The state is (h, c), each (B, H)."""

    def make_cell(self, width: int, hidden: int) -> None:
        """See RecurrentLayer."""
        self.lstm = nn.LSTM(width, hidden, batch_first=True)

    def sequence(self, x: Tensor, state: State, context: ForwardContext) -> tuple[Tensor, State]:
        """See RecurrentLayer."""
        bound = None if self.cells is None else self.cells.of_cells(context)
        return lstm(self.lstm, x, state, bound)

    def initial_values(self) -> Mapping[str, Initializer]:
        """See Layer."""
        return {
            **super().initial_values(),
            "lstm.weight_ih_l0": uniform,
            "lstm.weight_hh_l0": uniform,
            "lstm.bias_ih_l0": open_forget_gate,
            "lstm.bias_hh_l0": zeros,
        }
