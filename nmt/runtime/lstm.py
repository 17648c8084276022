"""LSTM layers in decoding. The state is h, coded, and c in fp32, each (R, H)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nmt.kernels import kernels_for
from nmt.kernels.lstm import lstm_cell
from nmt.kernels.native import NativeLayer
from nmt.model.layer import State
from nmt.model.lstm import LstmLayer
from nmt.precision.formats import Format
from nmt.runtime.layer import StepOutput, TargetLayer
from nmt.runtime.recurrent import CELL_BOUND, RecurrentRuntime, RecurrentScan
from nmt.runtime.state import Sources


def _start(number_format: Format, rows: int, units: int, device: torch.device) -> State:
    c = torch.zeros(rows, units, device=device)
    return number_format.encode(c, CELL_BOUND), c


def _matrices(layer: LstmLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of the inputs and of the state, and the sum of both biases, as `lstm_cell` reads
    them: with the cell's rows doubled, which is exact."""
    weight_ih, weight_hh, bias_ih, bias_hh = layer.lstm.parameters()
    double = torch.ones(4, 1, device=bias_ih.device)
    double[2] = 2  # input gate, forget gate, cell, output gate
    double = double.repeat_interleave(layer.lstm.hidden_size, 0)
    return weight_ih * double, weight_hh * double, (bias_ih + bias_hh) * double[:, 0]


class LstmStep(RecurrentRuntime, TargetLayer):
    """One time step. The matrices stand side by side, so that it is one product."""

    def __init__(self, layer: LstmLayer, number_format: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, number_format, bounds, layer.lstm.input_size)
        self.hidden = layer.lstm.hidden_size
        self.cells = None if layer.cells is None else layer.cells.bound
        weight_ih, weight_hh, bias = _matrices(layer)
        inputs = [*self.inputs, (self.hidden, CELL_BOUND)]
        self._linear = number_format.linear(torch.cat([weight_ih, weight_hh], 1), bias, inputs)

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        return self.native_cell("lstm", self.hidden, self._linear.matrix, None, self.cells)

    def start(self, rows: int) -> State:
        """See TargetLayer."""
        return _start(self.format, rows, self.hidden, self.device)

    def step(
        self,
        inputs: Sequence[Tensor],
        state: State,
        sources: Sources,  # noqa: ARG002 - as every layer
    ) -> StepOutput:
        """See TargetLayer."""
        h, c = state
        inputs = [x.to(self.device) for x in inputs]
        gates = self._linear(torch.cat([*inputs, h], 1))
        if (gpu := kernels_for(gates)) is not None:
            h, code, c = gpu.lstm_cell(gates, c, self.cells, h.dtype)
        else:
            h, c = lstm_cell(gates.float(), c, self.cells)
            code = self.format.encode(h, CELL_BOUND)
        return StepOutput(self.output(h, code, inputs), (code, c))


class LstmScan(RecurrentScan):
    """All time steps of a source-side layer."""

    def __init__(self, layer: LstmLayer, number_format: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, number_format, bounds, layer.lstm.input_size)
        self.hidden = layer.lstm.hidden_size
        self.cells = None if layer.cells is None else layer.cells.bound
        weight_ih, weight_hh, bias = _matrices(layer)
        self._linear = number_format.linear(weight_ih, bias, self.inputs)
        self._recurrent = number_format.linear(weight_hh, None, [(self.hidden, CELL_BOUND)])

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        matrices = self._linear.matrix, self._recurrent.matrix
        return self.native_cell("lstm", self.hidden, *matrices, self.cells, self.reverse)

    def start(self, rows: int) -> State:
        """See RecurrentScan."""
        return _start(self.format, rows, self.hidden, self.device)

    def project(self, x: Tensor) -> Tensor:
        """See RecurrentScan."""
        return self._linear(x).float()

    def advance(self, gates: Tensor, state: State, out: Tensor) -> tuple[Tensor, State]:
        """See RecurrentScan."""
        code, c = state
        h, c = lstm_cell(gates.add_(self._recurrent(code)), c, self.cells, out)
        code = self.format.encode(h, CELL_BOUND)
        return code, (code, c)
