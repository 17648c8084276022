"""GRU layers in decoding. The state is h in fp32, (R, H).

The reset gate is applied to what the state contributes to the new value, so that inputs and state
need a product each. Gates are in PyTorch's order: reset gate, update gate, new value.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nmt.kernels.native import NativeLayer, PackedMatrix
from nmt.model.gru import GruLayer
from nmt.model.layer import State
from nmt.precision.formats import Format
from nmt.runtime.layer import StepOutput, TargetLayer
from nmt.runtime.recurrent import CELL_BOUND, RecurrentRuntime, RecurrentScan
from nmt.runtime.state import Sources


class _Cell:
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

    @property
    def matrices(self) -> tuple[PackedMatrix | None, PackedMatrix | None]:
        """Of the inputs and of the state, for compiled code."""
        return self._inputs.matrix, self._state.matrix

    def start(self, rows: int) -> State:
        """The state before the first step."""
        return (torch.zeros(rows, self.hidden, device=self._device),)

    def project(self, x: Tensor) -> Tensor:
        """Coded inputs (R, ·) → their part of the gates (R, 3H) in fp32."""
        return self._inputs(x).float()

    def advance(
        self, gates: Tensor, state: State, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The inputs' part of the gates, which is written over, and the state → the next h, in
        `out` if it is given, and its code."""
        (h,) = state
        recurrent = self._state(self._format.encode(h, CELL_BOUND)).float()
        h = gru_cell(gates, recurrent, h, out)
        return h, self._format.encode(h, CELL_BOUND)


class GruStep(RecurrentRuntime, TargetLayer):
    """One time step of a target-side layer."""

    def __init__(self, layer: GruLayer, number_format: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, number_format, bounds, layer.gru.input_size)
        self._cell = _Cell(layer, number_format, self.inputs)

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        return self.native_cell("gru", self._cell.hidden, *self._cell.matrices)

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
        h, code = self._cell.advance(self._cell.project(x), state)
        return StepOutput(self.output(h, code, inputs), (h,))


class GruScan(RecurrentScan):
    """All time steps of a source-side layer."""

    def __init__(self, layer: GruLayer, number_format: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, number_format, bounds, layer.gru.input_size)
        self._cell = _Cell(layer, number_format, self.inputs)
        self.hidden = self._cell.hidden

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        return self.native_cell("gru", self.hidden, *self._cell.matrices, reverse=self.reverse)

    def start(self, rows: int) -> State:
        """See RecurrentScan."""
        return self._cell.start(rows)

    def project(self, x: Tensor) -> Tensor:
        """See RecurrentScan."""
        return self._cell.project(x)

    def advance(self, gates: Tensor, state: State, out: Tensor) -> tuple[Tensor, State]:
        """See RecurrentScan."""
        h, code = self._cell.advance(gates, state, out)
        return code, (h,)


def gru_cell(gates: Tensor, recurrent: Tensor, h: Tensor, out: Tensor | None = None) -> Tensor:
    """The inputs' part of the gates (R, 3H), written over, the state's (R, 3H), and h (R, H) → the
    next h; all in fp32."""
    H = h.shape[1]
    both = gates[:, : 2 * H].add_(recurrent[:, : 2 * H]).sigmoid_()
    reset_gate, update_gate = both[:, :H], both[:, H:]
    new = gates[:, 2 * H :].addcmul_(reset_gate, recurrent[:, 2 * H :]).tanh_()
    return torch.lerp(new, h, update_gate, out=out)  # (1 - update) new + update h
