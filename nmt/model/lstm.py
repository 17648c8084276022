"""LSTM layers, over whole padded batches for training and step by step for decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nmt.kernels.lstm import lstm
from nmt.model.clip import Clip
from nmt.model.context import ForwardContext
from nmt.model.initializers import Initializer, open_forget_gate, uniform, zeros
from nmt.model.layer import Layer, LayerOutput, State


class LstmLayer(Layer):
    """One unidirectional LSTM layer: inputs (B, time, ·) side by side → (B, time, H).

    Runs on padded batches: packed sequences are slower in spite of skipping the padding. What
    follows a sentence's end is noise that its readers must mask.

    The first `residuals` inputs are added to the output (GNMT, section 3.1), and the sum is kept
    within `clip`.
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
    ) -> None:
        super().__init__(name)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.dropout = dropout
        self.residuals = residuals
        self.time = time
        self.clip = clip if residuals else None  # an LSTM's own output is within 1
        self.cells = clip if clip is not None and clip.cells_from is not None else None

    def forward(
        self, inputs: Sequence[Tensor], state: State, context: ForwardContext
    ) -> LayerOutput:
        """(x (B, time, H), more (B, time, ·) …), state (h, c) each (B, H) or empty →
        (B, time, H), (h, c)."""
        x = torch.cat(list(inputs), -1) if len(inputs) > 1 else inputs[0]
        x = context.drop(x, self.name, self.dropout, self.time)
        bound = None if self.cells is None else self.cells.of_cells(context)
        output, state = lstm(self.lstm, x, state, bound)
        for x in inputs[: self.residuals]:
            output = output + x
        if self.clip is not None:
            output = self.clip(output, context)
        return LayerOutput(output, state)

    def initial_values(self) -> Mapping[str, Initializer]:
        """See Layer."""
        return {
            "lstm.weight_ih_l0": uniform,
            "lstm.weight_hh_l0": uniform,
            "lstm.bias_ih_l0": open_forget_gate,
            "lstm.bias_hh_l0": zeros,
        }


class ReversedLstmLayer(LstmLayer):
    """The right-to-left half of a bidirectional layer over padded input.

    Each sentence is reversed by index from its own end, so that reading begins at its last token
    and padding comes last; no packing needed.
    """

    def forward(
        self,
        inputs: Sequence[Tensor],
        state: State,  # noqa: ARG002 - as every layer
        context: ForwardContext,
    ) -> LayerOutput:
        """(x (B, S, H), lengths (B,)) → (B, S, H), no state: it reads from the end."""
        x, lengths = inputs
        index = reversal_index(lengths, x.shape[1])[:, :, None]
        output = super().forward([x.gather(1, index.expand_as(x))], (), context).value
        return LayerOutput(output.gather(1, index.expand_as(output)))


def reversal_index(lengths: Tensor, longest: int) -> Tensor:
    """(B,) → (B, longest): position i of a sentence of length n maps to n - 1 - i, padding to
    itself. Applied twice it is the identity."""
    positions = torch.arange(longest, device=lengths.device)[None, :]
    lengths = lengths[:, None]
    return torch.where(positions < lengths, lengths - 1 - positions, positions)
