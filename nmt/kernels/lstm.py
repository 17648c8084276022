"""LSTMs: whole sequences for training, by whichever path is the fastest, and one step for decoding.

B sentences, I input width, H units, R rows. Gates are in PyTorch's order: input gate, forget gate,
cell, output gate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.kernels.lstm_cpu import wide_lstm

State = tuple[Tensor, ...]


def lstm(
    layer: nn.LSTM, x: Tensor, state: State, bound: float | None = None
) -> tuple[Tensor, State]:
    """One layer over whole sequences: x (B, time, I), state (h, c) each (B, H) or empty →
    (B, time, H), (h, c). With a `bound`, cells stay within ±`bound` after each step."""
    if bound is not None:
        return bounded_lstm(layer, x, state, bound)
    return (wide_lstm if _is_wide(layer, x) else pytorch_lstm)(layer, x, state)


def _is_wide(layer: nn.LSTM, x: Tensor) -> bool:
    """Whether `wide_lstm` is faster than PyTorch's own LSTM."""
    return (
        torch.is_grad_enabled()
        and x.dtype == torch.bfloat16
        and x.device.type == "cpu"
        and x.shape[2] > layer.hidden_size
    )


def pytorch_lstm(layer: nn.LSTM, x: Tensor, state: State) -> tuple[Tensor, State]:
    """By oneDNN on a CPU and by cuDNN on a GPU."""
    start = (state[0][None], state[1][None]) if state else None
    output, (h, c) = layer(x, start)
    return output, (h[0], c[0])


def bounded_lstm(layer: nn.LSTM, x: Tensor, state: State, bound: float) -> tuple[Tensor, State]:
    """One step after the other, and several times slower."""
    h, c = state or [x.new_zeros(len(x), layer.hidden_size) for _ in "hc"]
    weight_ih, weight_hh, bias_ih, bias_hh = layer.parameters()
    outputs = []
    for gates in F.linear(x, weight_ih, bias_ih + bias_hh).unbind(1):
        input_gate, forget_gate, cell, output_gate = (gates + F.linear(h, weight_hh)).chunk(4, 1)
        c = torch.addcmul(forget_gate.sigmoid() * c, input_gate.sigmoid(), cell.tanh())
        c = c.clamp(-bound, bound)
        h = output_gate.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs, 1), (h, c)


def lstm_cell(
    gates: Tensor, c: Tensor, bound: float | None, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A step of decoding on a CPU: gates (R, 4H) with the cell's rows doubled, written over, and c
    (R, H) → the next h (in `out`, if it is given) and c, which stays within ±`bound` if there is
    one; all in fp32.

    tanh x = 2 sigmoid(2 x) - 1: with the cell's rows doubled, one sigmoid serves all gates, in a
    fraction of the time of tanh.
    """
    # A number of Python's as an operand would become a tensor first, which takes as long as the
    # operation itself for a single sentence.
    input_gate, forget_gate, cell, output_gate = gates.sigmoid_().view(len(c), 4, -1).unbind(1)
    c = (c * forget_gate).addcmul_(input_gate, cell, value=2).sub_(input_gate)
    if bound is not None:
        c.clamp_(-bound, bound)
    h = torch.addcmul(output_gate.neg(), (c + c).sigmoid_(), output_gate, value=2, out=out)
    return h, c
