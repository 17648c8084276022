"""The LSTM of a CPU in bf16, for training layers whose input is wider than their state.

oneDNN's backward pass of such a layer reaches only about 60% of the rate of its matrix products
(Zen 4 and 5); here it is 90%. The products with the inputs and the gradients of the weights are one
product each over all time steps, and all that does not depend on the step before is computed for
all steps at once, so that a step backward is one product and four passes over (B, H).

T time steps, B sentences, I input width, H units. Gates are in PyTorch's order: input, forget,
cell, output.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]


def wide_lstm(lstm: nn.LSTM, x: Tensor, state: State) -> tuple[Tensor, State]:
    """One layer's parameters, x (B, T, I), state (h, c) each (B, H) or empty → (B, T, H), (h, c).
    The same numbers as `lstm` itself up to rounding."""
    h, c = state or [x.new_zeros(len(x), lstm.hidden_size) for _ in "hc"]
    weight_ih, weight_hh, bias_ih, bias_hh = lstm.parameters()
    output, h, c = _WideLstm.apply(x, h, c, weight_ih, weight_hh, bias_ih + bias_hh)  # type: ignore[no-untyped-call]
    return output, (h, c)


class _WideLstm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, h, c, weight_ih, weight_hh, bias = given
        B, T, I = x.shape  # noqa: E741 - the legend's name
        H = weight_hh.shape[1]
        x = x.transpose(0, 1).reshape(T * B, I)
        gates = torch.addmm(bias, x, weight_ih.t()).view(T, B, 4 * H)
        hidden = x.new_empty(T + 1, B, H)  # before the first step, and after each
        cells = x.new_empty(T + 1, B, H)
        squashed = x.new_empty(T, B, H)  # tanh of the cells
        hidden[0], cells[0] = h, c
        recurrent = weight_hh.t()
        steps = zip(
            gates.unbind(),
            hidden[:T].unbind(),
            hidden[1:].unbind(),
            cells[:T].unbind(),
            cells[1:].unbind(),
            squashed.unbind(),
            strict=True,
        )
        for gate, h_before, h_after, c_before, c_after, tanh_c in steps:
            gate.addmm_(h_before, recurrent)
            gate[:, : 2 * H].sigmoid_()
            gate[:, 2 * H : 3 * H].tanh_()
            gate[:, 3 * H :].sigmoid_()
            i, f, g, o = gate.split(H, 1)
            torch.mul(f, c_before, out=c_after)
            c_after.addcmul_(i, g)
            torch.tanh(c_after, out=tanh_c)
            torch.mul(o, tanh_c, out=h_after)
        ctx.save_for_backward(x, gates, hidden, cells, squashed, weight_ih, weight_hh)
        return hidden[1:].transpose(0, 1), hidden[T].clone(), cells[T].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        x, gates, hidden, cells, squashed, weight_ih, weight_hh = ctx.saved_tensors
        T, B, H = squashed.shape
        i, f, g, o = gates.split(H, 2)
        # Derivatives of the cell, and then of the hidden vector, by what goes into the gates.
        by_cell = x.new_empty(T, B, 3, H)
        torch.mul(_slope_of_sigmoid(i), g, out=by_cell[:, :, 0])
        torch.mul(_slope_of_sigmoid(f), cells[:T], out=by_cell[:, :, 1])
        torch.addcmul(i, g * g, i, value=-1, out=by_cell[:, :, 2])
        by_hidden = _slope_of_sigmoid(o).mul_(squashed)
        hidden_by_cell = torch.addcmul(o, squashed * squashed, o, value=-1)

        d_output, d_h, d_c = gradients
        d_outputs = d_output.transpose(0, 1).contiguous().unbind()
        d_gates = x.new_empty(T, B, 4, H)
        d_h = d_outputs[T - 1] + d_h
        d_c = d_c.clone()
        for t in reversed(range(T)):
            d_gate = d_gates[t]
            torch.mul(d_h, by_hidden[t], out=d_gate[:, 3])
            d_c.addcmul_(d_h, hidden_by_cell[t])
            torch.mul(d_c[:, None], by_cell[t], out=d_gate[:, :3])
            d_c.mul_(f[t])
            flat = d_gate.view(B, 4 * H)
            d_h = torch.addmm(d_outputs[t - 1], flat, weight_hh) if t else flat @ weight_hh
        flat = d_gates.view(T * B, 4 * H)
        return (
            (flat @ weight_ih).view(T, B, -1).transpose(0, 1),
            d_h,
            d_c,
            flat.t() @ x,
            flat.t() @ hidden[:T].view(T * B, H),
            flat.sum(0, dtype=torch.promote_types(x.dtype, torch.float32)).to(x.dtype),
        )


def _slope_of_sigmoid(y: Tensor) -> Tensor:
    """The derivative of a sigmoid whose value is y: y - y²."""
    return torch.addcmul(y, y, y, value=-1)
