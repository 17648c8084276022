"""GRU layers in decoding. The state is h in fp32, (R, H).

The reset gate is applied to what the state contributes to the new value, so that inputs and state
need a product each. Gates are in PyTorch's order: reset gate, update gate, new value.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nmt.kernels.native import NativeLayer
from nmt.model.gru import GruLayer
from nmt.model.layer import State
from nmt.precision.formats import Format
from nmt.runtime.recurrent import (
    CELL_BOUND,
    Recurrence,
    RecurrenceScan,
    RecurrenceStep,
    RecurrentRuntime,
)


class _Gru(Recurrence):
    """The products and the step that both sides have."""

    def __init__(
        self,
        layer: GruLayer,
        number_format: Format,
        inputs: Sequence[tuple[int, float]],
    ) -> None:
        weight_ih, weight_hh, bias_ih, bias_hh = layer.gru.parameters()
        self.hidden = layer.gru.hidden_size
        self._format, self._device = number_format, weight_hh.device
        self._inputs = number_format.linear(weight_ih, bias_ih, inputs)
        self._state = number_format.linear(weight_hh, bias_hh, [(self.hidden, CELL_BOUND)])

    def native(self, runtime: RecurrentRuntime, reverse: bool = False) -> NativeLayer | None:
        """See Recurrence."""
        matrices = self._inputs.matrix, self._state.matrix
        return runtime.native_cell("gru", self.hidden, *matrices, reverse=reverse)

    def start(self, rows: int) -> State:
        """See Recurrence."""
        return (torch.zeros(rows, self.hidden, device=self._device),)

    def project(self, x: Tensor) -> Tensor:
        """See Recurrence."""
        return self._inputs(x).float()

    def advance(
        self, products: Tensor, state: State, out: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """See Recurrence."""
        (h,) = state
        recurrent = self._state(self._format.encode(h, CELL_BOUND)).float()
        h = gru_cell(products, recurrent, h, out)
        return self._format.encode(h, CELL_BOUND), (h,)


class GruStep(RecurrenceStep):
    """One time step of a target-side layer."""

    def __init__(self, layer: GruLayer, number_format: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, number_format, bounds, layer.gru.input_size)
        self.cell = _Gru(layer, number_format, self.inputs)


class GruScan(RecurrenceScan):
    """All time steps of a source-side layer."""

    def __init__(self, layer: GruLayer, number_format: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, number_format, bounds, layer.gru.input_size)
        self.cell = _Gru(layer, number_format, self.inputs)
        self.hidden = self.cell.hidden


def gru_cell(gates: Tensor, recurrent: Tensor, h: Tensor, out: Tensor | None = None) -> Tensor:
    """The inputs' part of the gates (R, 3H), written over, the state's (R, 3H), and h (R, H) → the
    next h; all in fp32."""
    H = h.shape[1]
    both = gates[:, : 2 * H].add_(recurrent[:, : 2 * H]).sigmoid_()
    reset_gate, update_gate = both[:, :H], both[:, H:]
    new = gates[:, 2 * H :].addcmul_(reset_gate, recurrent[:, 2 * H :]).tanh_()
    return torch.lerp(new, h, update_gate, out=out)  # (1 - update) new + update h
