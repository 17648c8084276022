"""What recurrent layers of both sides share, whatever their cell.

Every layer is computed step by step: `nn.LSTM` and the like pack their weights anew at every call.
A target-side step is one or two products; a source-side layer multiplies its inputs of all time
steps at once.

N tokens, R rows, H units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.kernels.native import NativeLayer, PackedMatrix
from nmt.model.layer import State
from nmt.model.recurrent import RecurrentLayer
from nmt.precision.formats import Format
from nmt.runtime.layer import RuntimeLayer, SourceLayer, StepOutput, TargetLayer
from nmt.runtime.packing import Packing
from nmt.runtime.state import Sources

NORMAL_RANGE = 6.0  # what normalised values are clipped to in int8, before their gain
CELL_BOUND = 1.0  # of a cell's output: LSTMs and GRUs end with a tanh that is scaled down


class RecurrentRuntime(RuntimeLayer):
    """A layer's residual connections and range."""

    def __init__(
        self, layer: RecurrentLayer, number_format: Format, bounds: Sequence[float], width: int
    ) -> None:
        """`bounds` are those of the inputs, which are `width` wide together."""
        self.format = number_format
        self.device = next(layer.parameters()).device
        self.residuals = layer.residuals
        self._residual_bounds = list(bounds[: self.residuals])
        self.gain, self.shift = layer.gain, layer.shift
        own, self.clip = CELL_BOUND, None if layer.clip is None else layer.clip.bound
        if self.gain is not None and self.shift is not None:
            own = NORMAL_RANGE * float(self.gain.abs().max()) + float(self.shift.abs().max())
        self.bound = own + sum(self._residual_bounds)
        if self.clip is not None:
            self.bound = min(self.bound, self.clip)
        elif self.gain is not None and number_format.weight_type == torch.int8:
            self.clip = self.bound
        self.inputs = [(width // len(bounds), bound) for bound in bounds]

    def native_cell(
        self,
        kind: str,
        hidden: int,
        first: PackedMatrix | None,
        second: PackedMatrix | None,
        cell_clip: float | None = None,
        reverse: bool = False,
        cell: int | None = None,
    ) -> NativeLayer | None:
        """A layer with such a cell for compiled code, if its first matrix is there for it; `cell`
        is the address of a cell's own code."""
        if first is None:
            return None
        return NativeLayer(
            kind,
            hidden,
            self.bound if self.residuals or self.gain is not None else CELL_BOUND,
            first=first,
            second=second,
            residuals=self.residuals,
            clip=self.clip,
            cell_clip=cell_clip,
            reverse=reverse,
            cell=cell,
            gain=self.gain,
            shift=self.shift,
        )

    def output(self, h: Tensor, code: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        """The cell's output, its code, and the coded inputs → the layer's output, coded."""
        if not self.residuals and self.gain is None:
            return code
        result = h
        if self.gain is not None:
            result = F.layer_norm(h.float(), self.gain.shape, self.gain, self.shift)
        if self.residuals:
            result = result + self.format.add(inputs[: self.residuals], self._residual_bounds)
        if self.clip is not None:
            result.clamp_(-self.clip, self.clip)
        return self.format.encode(result, self.bound)


class RecurrentScan(RecurrentRuntime, SourceLayer):
    """All time steps of a source-side layer."""

    hidden: int  # H

    def __init__(
        self, layer: RecurrentLayer, number_format: Format, bounds: Sequence[float], width: int
    ) -> None:
        super().__init__(layer, number_format, bounds, width)
        self.reverse = layer.reverse

    @abstractmethod
    def start(self, rows: int) -> State:
        """The state before the first step."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The inputs' part of the gates, of all time steps: (N, ·) → (N, gates * H) in fp32."""

    @abstractmethod
    def advance(self, gates: Tensor, state: State, out: Tensor) -> tuple[Tensor, State]:
        """One step of some rows: the inputs' part of their gates, which may be written over, and
        their state → the code of h, which is written into `out`, and the next state."""

    def encode(self, inputs: Sequence[Tensor], packing: Packing) -> Tensor:
        """See SourceLayer."""
        inputs = [x.to(self.device) for x in inputs]
        mirrored = packing.mirrored.to(self.device) if self.reverse else None
        x = torch.cat(inputs, 1) if len(inputs) > 1 else inputs[0]
        if mirrored is not None:
            x = x[mirrored]
        gates = self.project(x)
        hidden = gates.new_empty(len(gates), self.hidden)
        rows, codes = packing.rows[0], []
        state = self.start(rows)
        for part, out in zip(gates.split(packing.rows), hidden.split(packing.rows), strict=True):
            if len(part) < rows:
                rows = len(part)
                state = tuple(s[:rows] for s in state)
            code, state = self.advance(part, state, out)
            codes.append(code)
        code = torch.cat(codes)
        if mirrored is not None:
            code = code[mirrored]
            hidden = hidden[mirrored] if self.residuals or self.gain is not None else hidden
        return self.output(hidden, code, inputs)


class Recurrence(ABC):
    """A cell with a product with its inputs and another one with its state, as both sides run it.
    The first part of its state is h in fp32, (R, H)."""

    hidden: int  # H

    @abstractmethod
    def native(self, runtime: RecurrentRuntime, reverse: bool = False) -> NativeLayer | None:
        """A layer with it for compiled code."""

    @abstractmethod
    def start(self, rows: int) -> State:
        """The state before the first step."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """Coded inputs (R, ·) → the products with them in fp32."""

    @abstractmethod
    def advance(
        self, products: Tensor, state: State, out: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """The products with the inputs, which may be written over, and the state → the code of the
        next h, which is in `out` if that is given, and the next state."""


class RecurrenceStep(RecurrentRuntime, TargetLayer):
    """One time step of a target-side layer with such a cell."""

    cell: Recurrence

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        return self.cell.native(self)

    def start(self, rows: int) -> State:
        """See TargetLayer."""
        return self.cell.start(rows)

    def step(
        self,
        inputs: Sequence[Tensor],
        state: State,
        sources: Sources,  # noqa: ARG002 - as every layer
    ) -> StepOutput:
        """See TargetLayer."""
        inputs = [x.to(self.device) for x in inputs]
        x = torch.cat(inputs, 1) if len(inputs) > 1 else inputs[0]
        code, state = self.cell.advance(self.cell.project(x), state)
        return StepOutput(self.output(state[0], code, inputs), state)


class RecurrenceScan(RecurrentScan):
    """All time steps of a source-side layer with such a cell."""

    cell: Recurrence

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        return self.cell.native(self, self.reverse)

    def start(self, rows: int) -> State:
        """See RecurrentScan."""
        return self.cell.start(rows)

    def project(self, x: Tensor) -> Tensor:
        """See RecurrentScan."""
        return self.cell.project(x)

    def advance(self, gates: Tensor, state: State, out: Tensor) -> tuple[Tensor, State]:
        """See RecurrentScan."""
        return self.cell.advance(gates, state, out)
