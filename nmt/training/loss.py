"""The training loss: cross-entropy with label smoothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nmt.kernels import kernels_for
from nmt.model.batch import PAD

ROWS = 128  # tokens whose logits are processed at a time, so that they stay in the cache


class SmoothedCrossEntropy:
    """Sum over the tokens of cross-entropy against (1 - s) · label + s / V (Szegedy et al. 2016).

    Computes the gradient together with the loss, since both need the softmax: several times less
    memory traffic than `F.cross_entropy` and its backward pass.
    """

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, V) and (N,) → the sum of N losses, a scalar in at least fp32. The label PAD has no
        loss."""
        loss: Tensor
        if (kernels := kernels_for(logits)) is not None:
            loss = kernels.smoothed_cross_entropy(logits, labels, self.smoothing, PAD)
        else:
            loss = _SmoothedCrossEntropy.apply(  # type: ignore[no-untyped-call]
                logits, labels, self.smoothing
            )
        return loss


class _SmoothedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        V = logits.shape[1]
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        loss = torch.zeros((), dtype=dtype, device=logits.device)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        rows = ROWS if logits.device.type == "cpu" else max(1, len(logits))
        for first in range(0, len(logits), rows):
            x, y = logits[first : first + rows], labels[first : first + rows, None]
            largest, place = x.max(1, keepdim=True)
            softmax = x.softmax(1, dtype=dtype)  # (rows, V)
            # The largest probability is at least 1 / V: its logarithm is exact enough.
            log_sums = largest.to(dtype) - softmax.gather(1, place).log()
            losses = log_sums - (1 - smoothing) * x.gather(1, y).to(dtype)
            if smoothing:
                losses -= smoothing / V * x.sum(1, keepdim=True, dtype=dtype)
            padding = y == PAD
            loss += losses.masked_fill_(padding, 0).sum()
            if gradient is not None:
                softmax.sub_(smoothing / V)
                softmax.scatter_add_(1, y, softmax.new_full(y.shape, smoothing - 1))
                if x.is_cuda or bool(padding.any()):  # asking a GPU would block
                    softmax.masked_fill_(padding, 0)
                gradient[first : first + rows] = softmax
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None
