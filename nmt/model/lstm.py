"""LSTM layers, over whole padded batches for training and step by step for decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.kernels.lstm_cpu import wide_lstm
from nmt.model.clip import Clip
from nmt.model.context import ForwardContext
from nmt.model.initializers import Initializer, open_forget_gate, uniform, zeros
from nmt.model.layer import Layer, LayerOutput, State

LSTM_MODE = 2  # cuDNN's number of it


class LstmLayer(Layer):
    """One unidirectional LSTM layer: inputs (B, time, ·) side by side → (B, time, H).

    Runs on padded batches through `nn.LSTM` (oneDNN on a CPU, cuDNN on a GPU) or, where that is
    faster, `wide_lstm`; packed sequences leave that path and are slower in spite of skipping the
    padding. What follows a sentence's end is noise that must be masked by its readers.

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
        if bound is not None:
            output, state = bounded_lstm(self.lstm, x, state, bound)
        else:
            output, state = (wide_lstm if self._is_wide(x) else usual_lstm)(self.lstm, x, state)
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

    def _is_wide(self, x: Tensor) -> bool:
        """Whether `wide_lstm` is the faster way."""
        return (
            torch.is_grad_enabled()
            and x.dtype == torch.bfloat16
            and x.device.type == "cpu"
            and x.shape[2] > self.lstm.hidden_size
        )


def in_one_block(lstm: nn.LSTM) -> None:
    """Lay the weights out as cuDNN reads them, which would otherwise copy them at every call.
    `nn.LSTM.flatten_parameters` does so, but leaves out those in bf16 (PyTorch 2.11)."""
    weights: list[Tensor] = list(lstm.parameters())
    if weights[0].is_cuda and weights[0].dtype == torch.bfloat16:
        with torch.no_grad():
            torch._cudnn_rnn_flatten_weight(
                weights, 4, lstm.input_size, LSTM_MODE, lstm.hidden_size, 0, 1, True, False
            )


def usual_lstm(lstm: nn.LSTM, x: Tensor, state: State) -> tuple[Tensor, State]:
    """x (B, time, ·), state (h, c) each (B, H) or empty → (B, time, H), (h, c)."""
    start = (state[0][None], state[1][None]) if state else None
    output, (h, c) = lstm(x, start)
    return output, (h[0], c[0])


def bounded_lstm(lstm: nn.LSTM, x: Tensor, state: State, bound: float) -> tuple[Tensor, State]:
    """As `usual_lstm`, its cells within ±`bound` after each step: one step after the other, and
    several times slower."""
    h, c = state or [x.new_zeros(len(x), lstm.hidden_size) for _ in "hc"]
    weight_ih, weight_hh, bias_ih, bias_hh = lstm.parameters()
    outputs = []
    for gates in F.linear(x, weight_ih, bias_ih + bias_hh).unbind(1):
        let_in, keep, cell, let_out = (gates + F.linear(h, weight_hh)).chunk(4, 1)
        c = torch.addcmul(keep.sigmoid() * c, let_in.sigmoid(), cell.tanh()).clamp(-bound, bound)
        h = let_out.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs, 1), (h, c)


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
