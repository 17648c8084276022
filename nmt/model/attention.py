"""Additive attention (Bahdanau et al. 2015), as GNMT uses it.

The queries are the bottom decoder layer's outputs and do not depend on earlier contexts, so a
whole target is attended at once and the decoder's layers can run as a pipeline (GNMT, 3.3).

B sentences, T target positions, S source positions, A attention units, H units of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.model.batch import length_mask
from nmt.model.dropout import ForwardPass
from nmt.model.graph import Layer, State
from nmt.model.products import linear


class AttentionKeys(Layer):
    """The source side of the attention, computed once a sentence: (B, S, H) → (B, S, A)."""

    def __init__(self, name: str, width: int, units: int) -> None:
        super().__init__(name)
        self.weight = nn.Parameter(torch.empty(units, width))

    def forward(
        self,
        inputs: Sequence[Tensor],
        state: State,
        within: ForwardPass,  # noqa: ARG002 - same for all
    ) -> tuple[Tensor, State]:
        """(memory (B, S, H),) → (B, S, A)."""
        return linear(inputs[0], self.weight), state


class Attention(Layer):
    """Where each target position looks: a mean of the encoder's outputs, weighted by
    softmax(v · tanh(W query + key + bias))."""

    def __init__(self, name: str, width: int, units: int) -> None:
        super().__init__(name)
        self.query_weight = nn.Parameter(torch.empty(units, width))
        self.bias = nn.Parameter(torch.empty(units))
        self.score_weight = nn.Parameter(torch.empty(1, units))

    def forward(
        self,
        inputs: Sequence[Tensor],
        state: State,
        within: ForwardPass,  # noqa: ARG002 - same for all
    ) -> tuple[Tensor, State]:
        """(queries (B, T, H), keys (B, S, A), memory (B, S, H), lengths (B,)) → (B, T, H)."""
        queries, keys, memory, lengths = inputs
        weights = self.weights(queries, keys, length_mask(lengths, keys.shape[1]))
        return torch.bmm(weights.to(memory.dtype), memory), state

    def weights(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """(B, T, H), (B, S, A), mask (B, S) true at tokens → (B, T, S) in at least fp32, rows
        summing to 1."""
        projected = linear(queries, self.query_weight, self.bias)
        if torch.is_grad_enabled() and projected.device.type == "cpu":
            scores: Tensor = _Scores.apply(projected, keys, self.score_weight)  # type: ignore[no-untyped-call]
        else:
            energies = torch.tanh(projected[:, :, None, :] + keys[:, None, :, :])  # (B, T, S, A)
            scores = F.linear(energies, self.score_weight)[..., 0]
        if scores.dtype in (torch.bfloat16, torch.float16):
            scores = scores.float()
        return scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(-1)


class _Scores(torch.autograd.Function):
    """v · tanh(query + key) of all pairs, for training on a CPU: sentence by sentence, so that its
    energies stay in the caches from one operation to the next."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, keys: Tensor, score_weight: Tensor) -> Tensor:
        (B, T, A), S = projected.shape, keys.shape[1]
        energies = projected.new_empty(B, T, S, A)
        scores = projected.new_empty(B, T, S)
        for query, key, energy, score in zip(projected, keys, energies, scores, strict=True):
            torch.add(query[:, None], key[None], out=energy)
            energy.tanh_()
            torch.mv(energy.view(T * S, A), score_weight[0], out=score.view(T * S))
        ctx.save_for_backward(energies, score_weight)
        return scores

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,), (energies, score_weight) = gradients, ctx.saved_tensors
        B, T, S, A = energies.shape
        d_projected, d_keys = energies.new_empty(B, T, A), energies.new_empty(B, S, A)
        d_weight = energies.new_zeros(A, dtype=torch.promote_types(energies.dtype, torch.float32))
        sentences = zip(gradient, energies, d_projected, d_keys, strict=True)
        for d_score, energy, d_query, d_key in sentences:
            d_weight += d_score.reshape(T * S) @ energy.view(T * S, A)
            d_energy = torch.addcmul(score_weight, energy * energy, score_weight, value=-1)
            d_energy *= d_score[:, :, None]
            torch.sum(d_energy, 1, out=d_query)
            torch.sum(d_energy, 0, out=d_key)
        return d_projected, d_keys, d_weight[None].to(score_weight.dtype)
