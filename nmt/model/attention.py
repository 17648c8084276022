"""Attention: additive (Bahdanau et al. 2015), as GNMT uses it, or by scaled products (Luong et al.
2015; Vaswani et al. 2017), with one head or several.

The queries are the bottom decoder layer's outputs and do not depend on earlier contexts, so a
whole target is processed at once and the decoder's layers can run as a pipeline (GNMT, 3.3).

Each head has its share of the attention's units, and gives its share of the context's: the mean of
that part of the memory by its own weights.

B sentences, T target positions, S source positions, A attention units, H units of the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nmt.kernels.attention import additive_scores
from nmt.kernels.products import linear
from nmt.model.batch import length_mask
from nmt.model.context import ForwardContext
from nmt.model.graph import total
from nmt.model.initializers import Initializer, uniform, zeros
from nmt.model.layer import Layer, LayerOutput, State

Kind = Literal["additive", "dot"]


class AttentionKeys(Layer):
    """The source side of the attention, computed once a sentence: (B, S, H) → (B, S, A)."""

    def __init__(self, name: str, width: int, units: int, kind: Kind = "additive") -> None:
        super().__init__(name)
        self.kind = kind
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
    """For each target position, the mean of the encoder's outputs weighted by the softmax of
    v · tanh(W query + key + bias), or of (W query + bias) · key / √A."""

    def __init__(
        self, name: str, width: int, units: int, heads: int = 1, kind: Kind = "additive"
    ) -> None:
        super().__init__(name)
        self.heads, self.kind = heads, kind
        self.query_weight = nn.Parameter(torch.empty(units, width))
        self.bias = nn.Parameter(torch.empty(units))
        if kind == "additive":
            self.score_weight = nn.Parameter(torch.empty(1, units))

    def forward(
        self,
        inputs: Sequence[Tensor],
        state: State,  # noqa: ARG002 - as every layer
        context: ForwardContext,  # noqa: ARG002
    ) -> LayerOutput:
        """(queries (B, T, H), keys (B, S, A), memory (B, S, H), lengths (B,)) → (B, T, H)."""
        queries, keys, memory, lengths = inputs
        every = self.weights_of_heads(queries, keys, length_mask(lengths, keys.shape[1]))
        contexts = [
            torch.bmm(weights.to(memory.dtype), part)
            for weights, part in zip(every, memory.chunk(self.heads, -1), strict=True)
        ]
        return LayerOutput(contexts[0] if self.heads == 1 else torch.cat(contexts, -1))

    def initial_values(self) -> Mapping[str, Initializer]:
        """See Layer."""
        values: dict[str, Initializer] = {"query_weight": uniform, "bias": zeros}
        if self.kind == "additive":
            values["score_weight"] = uniform
        return values

    def weights(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """(B, T, H), (B, S, A), mask (B, S) true at tokens → (B, T, S) in at least fp32, rows
        summing to 1: the mean of all heads."""
        return total(self.weights_of_heads(queries, keys, mask)) / self.heads

    def weights_of_heads(self, queries: Tensor, keys: Tensor, mask: Tensor) -> list[Tensor]:
        """The same for each head."""
        projected = linear(queries, self.query_weight, self.bias)
        found = []
        for head in range(self.heads):
            scores = self._scores(projected, keys, head)
            if scores.dtype in (torch.bfloat16, torch.float16):
                scores = scores.float()
            found.append(scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(-1))
        return found

    def _scores(self, queries: Tensor, keys: Tensor, head: int) -> Tensor:
        """Scores of one head, (B, T, S)."""
        if self.heads > 1:
            queries, keys = (x.chunk(self.heads, -1)[head].contiguous() for x in (queries, keys))
        if self.kind == "dot":
            return torch.bmm(queries, keys.transpose(1, 2)).div(queries.shape[-1] ** 0.5)
        return additive_scores(queries, keys, self.score_weight.chunk(self.heads, -1)[head])
