"""The training loss: cross-entropy with label smoothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class SmoothedCrossEntropy:
    """Sum over the tokens of cross-entropy against (1 - s) · label + s / V (Szegedy et al. 2016).

    Computes the gradient together with the loss, in place, since both need the softmax: several
    times less memory traffic than `F.cross_entropy` and its backward pass.
    """

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, V), (N,) → the sum of N losses, a scalar in at least fp32."""
        loss: Tensor = _SmoothedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            logits, labels, self.smoothing
        )
        return loss


class _SmoothedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        V = logits.shape[1]
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        log_p = logits.log_softmax(1, dtype=dtype)  # (N, V)
        chosen = log_p.gather(1, labels[:, None])
        loss = -(1 - smoothing) * chosen.sum()
        if smoothing:
            loss = loss - smoothing * log_p.sum() / V
        if logits.requires_grad:
            gradient = log_p.exp_()
            if smoothing:
                gradient.sub_(smoothing / V)
            gradient.scatter_add_(
                1, labels[:, None], gradient.new_full(chosen.shape, smoothing - 1)
            )
            ctx.save_for_backward(gradient.to(logits.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0].to(gradient.dtype), None, None
