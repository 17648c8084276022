"""How cuDNN wants the weights of recurrent layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MODES = {"LSTM": 2, "GRU": 3}  # cuDNN's numbers, by `nn.RNNBase.mode`


def flatten_weights(module: nn.Module) -> None:
    """Lay the weights of the recurrent layers in `module` out in one block each, as cuDNN reads
    them: otherwise it would copy them at every call. `nn.RNNBase.flatten_parameters` does so, but
    leaves out those in bf16 (PyTorch 2.11)."""
    for layer in module.modules():
        if not isinstance(layer, nn.RNNBase):
            continue
        weights: list[Tensor] = list(layer.parameters())
        if weights[0].is_cuda and weights[0].dtype == torch.bfloat16:
            sizes = layer.input_size, MODES[layer.mode], layer.hidden_size
            with torch.no_grad():
                torch._cudnn_rnn_flatten_weight(weights, 4, *sizes, 0, 1, True, False)
