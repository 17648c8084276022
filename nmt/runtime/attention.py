"""Additive attention in decoding.

B sentences, N tokens of their sources, S of the longest one, K hypotheses of each, R = B * K rows,
A attention units, H units.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nmt.kernels.attention import StepScores
from nmt.kernels.native import NativeLayer
from nmt.model.attention import Attention, AttentionKeys
from nmt.model.batch import length_mask
from nmt.model.layer import State
from nmt.precision.formats import Format
from nmt.runtime.layer import NOT_CODED, SourceLayer, StepOutput, TargetLayer
from nmt.runtime.packing import Layout, Packing
from nmt.runtime.state import Memory, Sources


class KeysProduct(SourceLayer):
    """The source's part of the scores: (N, H) → (N, A), not coded."""

    def __init__(
        self, layer: AttentionKeys, number_format: Format, bounds: Sequence[float]
    ) -> None:
        self.device = layer.weight.device
        (bound,) = bounds
        self._linear = number_format.linear(layer.weight, None, [(layer.weight.shape[1], bound)])
        self._width = len(layer.weight)
        self.bound = NOT_CODED

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        matrix = self._linear.matrix
        return None if matrix is None else NativeLayer("keys", self._width, 0.0, first=matrix)

    def encode(self, inputs: Sequence[Tensor], packing: Packing) -> Tensor:  # noqa: ARG002 - as others
        """See SourceLayer."""
        return self._linear(inputs[0].to(self.device))


class AttentionStep(TargetLayer):
    """Queries of K hypotheses against their sentence's keys, which are there once."""

    def __init__(self, layer: Attention, number_format: Format, bounds: Sequence[float]) -> None:
        queries, _, memory = bounds
        self.name = layer.name
        self.format = number_format
        width = layer.query_weight.shape[1]
        self._query = number_format.linear(layer.query_weight, layer.bias, [(width, queries)])
        self._scores = StepScores(layer.score_weight)
        self._width = layer.query_weight.shape[1]  # of the memory, as of the queries
        self.device = layer.bias.device
        self.bound = memory  # a context is a mean of vectors of the memory

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        matrix, weight = self._query.matrix, self._scores.score_weight
        return (
            None
            if matrix is None
            else NativeLayer("attention", self._width, self.bound, first=matrix, weight=weight)
        )

    def remember(self, inputs: Sequence[Tensor], layout: Layout) -> Memory:
        """See TargetLayer: keys (…, A) and coded memory (…, H)."""
        keys, memory = (x.to(self.device) for x in inputs)
        mask = length_mask(layout.lengths, layout.longest).to(self.device)
        bias = torch.zeros(mask.shape, device=self.device)
        bias.masked_fill_(~mask, float("-inf"))
        memory = self.format.decode(memory, self.bound).float()
        return Memory(layout.pad(self._scores.keys(keys)), layout.pad(memory), bias)

    def step(
        self,
        inputs: Sequence[Tensor],
        state: State,  # noqa: ARG002 - as every layer
        sources: Sources,
    ) -> StepOutput:
        """See TargetLayer: queries (R, H) → coded contexts (R, H)."""
        memory = sources.memories[self.name]
        scores = self._scores(self._query(inputs[0].to(self.device)), memory.keys)
        weights = scores.add_(memory.bias[:, None]).softmax(-1)
        context = torch.bmm(weights, memory.values).flatten(0, 1)
        return StepOutput(self.format.encode(context, self.bound), (), weights)
