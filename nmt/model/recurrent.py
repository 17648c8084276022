"""What all recurrent layers share, whatever their cell: inputs side by side, dropout, the direction
of reading, residual connections and a range for the output.

B sentences, H units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.model.clip import Clip
from nmt.model.context import ForwardContext
from nmt.model.initializers import Initializer, ones, zeros
from nmt.model.layer import Layer, LayerOutput, State


class RecurrentLayer(Layer):
    """One recurrent layer: inputs (B, time, ·) side by side → (B, time, H).

    Runs on padded batches: packed sequences are slower in spite of skipping the padding. What
    follows a sentence's end is noise that its readers must mask.

    The first `residuals` inputs are added to the output (GNMT, section 3.1), and the sum is kept
    within `clip`. A `reverse` layer is the right-to-left half of a bidirectional one.
    """

    def __init__(
        self,
        name: str,
        width: int,
        hidden: int,
        dropout: float,
        residuals: int,
        time: int,
        clip: Clip | None = None,
        reverse: bool = False,
        normalise: bool = False,
    ) -> None:
        """`width` is that of all inputs together; `time` is 1 on the source side, 2 on the target
        side (see `ForwardContext.drop`). `normalise`: layer normalisation (Ba et al. 2016) of the
        cell's output, before residual connections."""
        super().__init__(name)
        self.dropout = dropout
        self.residuals = residuals
        self.time = time
        self.reverse = reverse
        # A cell's own output is within 1.
        self.clip = clip if residuals or normalise else None
        self.cells = clip if clip is not None and clip.cells_from is not None else None
        self.make_cell(width, hidden)
        self.gain = nn.Parameter(torch.empty(hidden)) if normalise else None
        self.shift = nn.Parameter(torch.empty(hidden)) if normalise else None

    def make_cell(self, width: int, hidden: int) -> None:
        """Add the cell's parameters."""
        raise NotImplementedError

    def initial_values(self) -> Mapping[str, Initializer]:
        """See Layer: those of the normalisation. Cells add their own."""
        return {} if self.gain is None else {"gain": ones, "shift": zeros}

    def sequence(self, x: Tensor, state: State, context: ForwardContext) -> tuple[Tensor, State]:
        """The cell over time: x (B, time, width) and the state to start from (empty: zeros) →
        (B, time, H) and the state after the last step."""
        raise NotImplementedError

    def forward(
        self, inputs: Sequence[Tensor], state: State, context: ForwardContext
    ) -> LayerOutput:
        """(x (B, time, H), more (B, time, ·) …), and if `reverse` the lengths (B,) → (B, time, H)
        and the cell's state; a layer that reads from the end has none."""
        if self.reverse:
            return self._reversed(inputs, context)
        x = torch.cat(list(inputs), -1) if len(inputs) > 1 else inputs[0]
        x = context.drop(x, self.name, self.dropout, self.time)
        output, state = self.sequence(x, state, context)
        return LayerOutput(self._finished(output, inputs, context), state)

    def _reversed(self, inputs: Sequence[Tensor], context: ForwardContext) -> LayerOutput:
        """Each sentence is reversed by index from its own end, so that reading begins at its last
        token and padding comes last; no packing needed."""
        *vectors, lengths = inputs
        index = reversal_index(lengths, vectors[0].shape[1])[:, :, None]
        turned = [x.gather(1, index.expand_as(x)) for x in vectors]
        x = torch.cat(turned, -1) if len(turned) > 1 else turned[0]
        x = context.drop(x, self.name, self.dropout, self.time)
        output, _ = self.sequence(x, (), context)
        output = self._finished(output, turned, context)
        return LayerOutput(output.gather(1, index.expand_as(output)))

    def _finished(
        self, output: Tensor, inputs: Sequence[Tensor], context: ForwardContext
    ) -> Tensor:
        if self.gain is not None:
            output = F.layer_norm(output, self.gain.shape, self.gain, self.shift)
        for x in inputs[: self.residuals]:
            output = output + x
        return output if self.clip is None else self.clip(output, context)


def reversal_index(lengths: Tensor, longest: int) -> Tensor:
    """(B,) → (B, longest): position i of a sentence of length n maps to n - 1 - i, padding to
    itself. Applied twice it is the identity."""
    positions = torch.arange(longest, device=lengths.device)[None, :]
    lengths = lengths[:, None]
    return torch.where(positions < lengths, lengths - 1 - positions, positions)
