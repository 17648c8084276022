"""Layers with a cell that is written as text, in decoding. The state is h, and c if the cell has a
memory, in fp32, each (R, H)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nmt.errors import ModelFolderError
from nmt.kernels.cell import cell_step, compiled_cell
from nmt.kernels.native import NativeLayer
from nmt.model.cell import CellLayer
from nmt.model.layer import State
from nmt.precision.formats import Format
from nmt.rules.cell_check import bound_of
from nmt.runtime.recurrent import (
    CELL_BOUND,
    Recurrence,
    RecurrenceScan,
    RecurrenceStep,
    RecurrentRuntime,
)


class _Cell(Recurrence):
    """The products and the step that both sides have."""

    def __init__(
        self, layer: CellLayer, number_format: Format, inputs: Sequence[tuple[int, float]]
    ) -> None:
        if number_format.weight_type == torch.int8 and bound_of(layer.cell) is None:
            raise ModelFolderError(
                "A model in int8 must have cells whose state stays within ±1, but that of "
                f"`{layer.text}` does not; use `precision=fp32` or bf16."
            )
        self.hidden, self.cell, self.text = layer.hidden, layer.cell, layer.text
        self._format, self._device = number_format, layer.weight_ih.device
        self._inputs = number_format.linear(layer.weight_ih, layer.bias_ih, inputs)
        self._state = None
        if layer.cell.states:
            width = [(layer.hidden, CELL_BOUND)]
            self._state = number_format.linear(layer.weight_hh, layer.bias_hh, width)

    def native(self, runtime: RecurrentRuntime, reverse: bool = False) -> NativeLayer | None:
        """See Recurrence."""
        code = compiled_cell(self.text) if self._device.type == "cpu" else None
        if code is None:
            return None
        state = None if self._state is None else self._state.matrix
        return runtime.native_cell(
            "cell", self.hidden, self._inputs.matrix, state, reverse=reverse, cell=code.address
        )

    def start(self, rows: int) -> State:
        """See Recurrence."""
        zero = torch.zeros(rows, self.hidden, device=self._device)
        return (zero,) if self.cell.memory is None else (zero, zero)

    def project(self, x: Tensor) -> Tensor:
        """See Recurrence."""
        return self._inputs(x).float()

    def advance(
        self, products: Tensor, state: State, out: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """See Recurrence."""
        recurrent = None
        if self._state is not None:
            recurrent = self._state(self._format.encode(state[0], CELL_BOUND)).float()
        state = cell_step(self.cell, products, recurrent, state)
        if out is not None:
            out.copy_(state[0])
        return self._format.encode(state[0], CELL_BOUND), state


class CellStep(RecurrenceStep):
    """One time step of a target-side layer."""

    def __init__(self, layer: CellLayer, number_format: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, number_format, bounds, layer.width)
        self.cell = _Cell(layer, number_format, self.inputs)


class CellScan(RecurrenceScan):
    """All time steps of a source-side layer."""

    def __init__(self, layer: CellLayer, number_format: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, number_format, bounds, layer.width)
        self.cell = _Cell(layer, number_format, self.inputs)
        self.hidden = self.cell.hidden
