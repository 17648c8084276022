"""Training in bf16: layers compute with rounded copies of fp32 parameters, and the optimizer
updates the fp32 ones.

Parameters are rounded once for each step, not for each micro-batch; the gradients of micro-batches
are summed in fp32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nmt.kernels.cudnn import flatten_weights
from nmt.model.graph import LayerStack


class MasterWeights:
    """The fp32 parameters behind a stack of bf16 layers."""

    def __init__(self, stack: LayerStack) -> None:
        self._working = stack.canonical_parameters()
        self.parameters = {
            name: nn.Parameter(parameter.detach().clone())
            for name, parameter in self._working.items()
        }
        for name, parameter in self._working.items():
            parameter.data = parameter.data.to(torch.bfloat16)
            parameter.register_post_accumulate_grad_hook(self._moving_into(self.parameters[name]))
        flatten_weights(stack)

    @staticmethod
    def _moving_into(master: nn.Parameter) -> Callable[[Tensor], None]:
        def move(parameter: Tensor) -> None:
            assert parameter.grad is not None
            if master.grad is None:
                master.grad = parameter.grad.float()
            else:
                master.grad += parameter.grad
            parameter.grad = None

        return move

    @torch.no_grad()
    def publish(self) -> None:
        """Round the updated parameters into the layers."""
        working: list[Tensor] = list(self._working.values())
        torch._foreach_copy_(working, [self.parameters[name] for name in self._working])
