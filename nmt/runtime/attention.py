"""Attention in decoding.

B sentences, N tokens of their sources, S of the longest one, K hypotheses of each, R = B * K rows,
A attention units, H units.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nmt.kernels.attention import StepProducts, StepScores
from nmt.kernels.native import NativeLayer
from nmt.model.attention import Attention, AttentionKeys
from nmt.model.batch import length_mask
from nmt.model.graph import total
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
        self._width, self._products = len(layer.weight), layer.kind == "dot"
        self.bound = NOT_CODED

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        matrix = self._linear.matrix
        if matrix is None:
            return None
        return NativeLayer("keys", self._width, 0.0, first=matrix, products=self._products)

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
        self.heads = layer.heads
        self._scores: list[StepScores | StepProducts]
        if layer.kind == "dot":
            self._scores = [StepProducts()] * self.heads
        else:
            parts = layer.score_weight.chunk(self.heads, -1)
            self._scores = [StepScores(part) for part in parts]
        self._width = layer.query_weight.shape[1]  # of the memory, as of the queries
        self.device = layer.bias.device
        self.bound = memory  # a context is a mean of vectors of the memory

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        matrix = self._query.matrix
        if matrix is None:
            return None
        weights = [one.score_weight for one in self._scores if one.score_weight is not None]
        return NativeLayer(
            "attention",
            self._width,
            self.bound,
            first=matrix,
            weight=torch.cat(weights) if weights else None,
            products=not weights,
            heads=self.heads,
        )

    def remember(self, inputs: Sequence[Tensor], layout: Layout) -> Memory:
        """See TargetLayer: keys (…, A) and coded memory (…, H)."""
        keys, memory = (x.to(self.device) for x in inputs)
        mask = length_mask(layout.lengths, layout.longest).to(self.device)
        bias = torch.zeros(mask.shape, device=self.device)
        bias.masked_fill_(~mask, float("-inf"))
        memory = self.format.decode(memory, self.bound).float()
        return Memory(layout.pad(self._scores[0].keys(keys)), layout.pad(memory), bias)

    def step(
        self,
        inputs: Sequence[Tensor],
        state: State,  # noqa: ARG002 - as every layer
        sources: Sources,
    ) -> StepOutput:
        """See TargetLayer: queries (R, H) → coded contexts (R, H)."""
        memory = sources.memories[self.name]
        queries = self._query(inputs[0].to(self.device))
        if self.heads == 1:
            weights = self._weights(0, queries, memory.keys, memory)
            context = torch.bmm(weights, memory.values).flatten(0, 1)
            return StepOutput(self.format.encode(context, self.bound), (), weights)
        parts = (x.chunk(self.heads, -1) for x in (queries, memory.keys, memory.values))
        every, contexts = [], []
        for head, (q, keys, values) in enumerate(zip(*parts, strict=True)):
            every.append(self._weights(head, q.contiguous(), keys.contiguous(), memory))
            contexts.append(torch.bmm(every[-1], values).flatten(0, 1))
        context = torch.cat(contexts, -1)
        return StepOutput(self.format.encode(context, self.bound), (), total(every) / self.heads)

    def _weights(self, head: int, queries: Tensor, keys: Tensor, memory: Memory) -> Tensor:
        """The weights of one head, (B, K, S)."""
        return self._scores[head](queries, keys).add_(memory.bias[:, None]).softmax(-1)
