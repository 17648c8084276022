"""Additive attention (Bahdanau et al. 2015), as GNMT uses it.

The queries are the bottom decoder layer's outputs and do not depend on earlier contexts, so a
whole target is processed at once and the decoder's layers can run as a pipeline (GNMT, 3.3).

B sentences, T target positions, S source positions, A attention units, H units of the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nmt.kernels.attention import additive_scores
from nmt.kernels.products import linear
from nmt.model.batch import length_mask
from nmt.model.context import ForwardContext
from nmt.model.initializers import Initializer, uniform, zeros
from nmt.model.layer import Layer, LayerOutput, State


class AttentionKeys(Layer):
    """The source side of the attention, computed once a sentence: (B, S, H) → (B, S, A)."""

    def __init__(self, name: str, width: int, units: int) -> None:
        super().__init__(name)
        self.weight = nn.Parameter(torch.empty(units, width))

    def forward(
        self,
        inputs: Sequence[Tensor],
        state: State,  # noqa: ARG002 - as every layer
        context: ForwardContext,  # noqa: ARG002
    ) -> LayerOutput:
        """(memory (B, S, H),) → (B, S, A)."""
        return LayerOutput(linear(inputs[0], self.weight))

    def initial_values(self) -> Mapping[str, Initializer]:
        """See Layer."""
        return {"weight": uniform}


class Attention(Layer):
    """For each target position, the mean of the encoder's outputs weighted by
    softmax(v · tanh(W query + key + bias))."""

    def __init__(self, name: str, width: int, units: int) -> None:
        super().__init__(name)
        self.query_weight = nn.Parameter(torch.empty(units, width))
        self.bias = nn.Parameter(torch.empty(units))
        self.score_weight = nn.Parameter(torch.empty(1, units))

    def forward(
        self,
        inputs: Sequence[Tensor],
        state: State,  # noqa: ARG002 - as every layer
        context: ForwardContext,  # noqa: ARG002
    ) -> LayerOutput:
        """(queries (B, T, H), keys (B, S, A), memory (B, S, H), lengths (B,)) → (B, T, H)."""
        queries, keys, memory, lengths = inputs
        weights = self.weights(queries, keys, length_mask(lengths, keys.shape[1]))
        return LayerOutput(torch.bmm(weights.to(memory.dtype), memory))

    def initial_values(self) -> Mapping[str, Initializer]:
        """See Layer."""
        return {"query_weight": uniform, "bias": zeros, "score_weight": uniform}

    def weights(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """(B, T, H), (B, S, A), mask (B, S) true at tokens → (B, T, S) in at least fp32, rows
        summing to 1."""
        projected = linear(queries, self.query_weight, self.bias)
        scores = additive_scores(projected, keys, self.score_weight)
        if scores.dtype in (torch.bfloat16, torch.float16):
            scores = scores.float()
        return scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(-1)
