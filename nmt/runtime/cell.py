"""Layers with a cell that is written as text, in decoding. The state is h, and c if the cell has a
memory, in fp32, each (R, H)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nmt.errors import ModelFolderError
from nmt.kernels.cell import cell_step, compiled_cell
from nmt.kernels.native import NativeLayer, PackedMatrix
from nmt.model.cell import CellLayer
from nmt.model.layer import State
from nmt.precision.formats import Format
from nmt.rules.cell_check import bound_of
from nmt.runtime.layer import StepOutput, TargetLayer
from nmt.runtime.recurrent import CELL_BOUND, RecurrentRuntime, RecurrentScan
from nmt.runtime.state import Sources


class _Cell:
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

    @property
    def matrices(self) -> tuple[PackedMatrix | None, PackedMatrix | None]:
        """Of the inputs and of the state, for compiled code."""
        return self._inputs.matrix, None if self._state is None else self._state.matrix

    def native(self, runtime: RecurrentRuntime, reverse: bool = False) -> NativeLayer | None:
        """The layer for compiled code."""
        code = compiled_cell(self.text) if self._device.type == "cpu" else None
        if code is None:
            return None
        return runtime.native_cell(
            "cell", self.hidden, *self.matrices, reverse=reverse, cell=code.address
        )

    def start(self, rows: int) -> State:
        """The state before the first step."""
        zero = torch.zeros(rows, self.hidden, device=self._device)
        return (zero,) if self.cell.memory is None else (zero, zero)

    def project(self, x: Tensor) -> Tensor:
        """Coded inputs (R, ·) → the products with them in fp32."""
        return self._inputs(x).float()

    def advance(self, products: Tensor, state: State) -> tuple[Tensor, State]:
        """The products with the inputs, and the state → the code of the next h, and the next
        state."""
        recurrent = None
        if self._state is not None:
            recurrent = self._state(self._format.encode(state[0], CELL_BOUND)).float()
        state = cell_step(self.cell, products, recurrent, state)
        return self._format.encode(state[0], CELL_BOUND), state


class CellStep(RecurrentRuntime, TargetLayer):
    """One time step of a target-side layer."""

    def __init__(self, layer: CellLayer, number_format: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, number_format, bounds, layer.width)
        self._cell = _Cell(layer, number_format, self.inputs)

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        return self._cell.native(self)

    def start(self, rows: int) -> State:
        """See TargetLayer."""
        return self._cell.start(rows)

    def step(
        self,
        inputs: Sequence[Tensor],
        state: State,
        sources: Sources,  # noqa: ARG002 - as every layer
    ) -> StepOutput:
        """See TargetLayer."""
        inputs = [x.to(self.device) for x in inputs]
        x = torch.cat(inputs, 1) if len(inputs) > 1 else inputs[0]
        code, state = self._cell.advance(self._cell.project(x), state)
        return StepOutput(self.output(state[0], code, inputs), state)


class CellScan(RecurrentScan):
    """All time steps of a source-side layer."""

    def __init__(self, layer: CellLayer, number_format: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, number_format, bounds, layer.width)
        self._cell = _Cell(layer, number_format, self.inputs)
        self.hidden = self._cell.hidden

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        return self._cell.native(self, self.reverse)

    def start(self, rows: int) -> State:
        """See RecurrentScan."""
        return self._cell.start(rows)

    def project(self, x: Tensor) -> Tensor:
        """See RecurrentScan."""
        return self._cell.project(x)

    def advance(self, gates: Tensor, state: State, out: Tensor) -> tuple[Tensor, State]:
        """See RecurrentScan."""
        code, state = self._cell.advance(gates, state)
        out.copy_(state[0])
        return code, state
