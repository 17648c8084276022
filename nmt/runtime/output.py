"""The output layer in decoding: scores of all tokens of the vocabulary, or of those that a batch's
sentences may write.

B sentences, K hypotheses of each, R = B * K rows, V vocabulary, U tokens that some sentence may
write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nmt.kernels.native import NativeLayer, PackedMatrix, packed
from nmt.model.clip import LOGITS
from nmt.model.layer import State
from nmt.model.output import Output
from nmt.precision.formats import Format, Weights
from nmt.runtime.layer import NOT_CODED, StepOutput, TargetLayer
from nmt.runtime.state import Sources, Words

MULTIPLE = 256  # of tokens that are scored


class OutputStep(TargetLayer):
    """One or more coded (R, H), to be added up → logits (R, V) or (R, U) in fp32."""

    def __init__(self, layer: Output, number_format: Format, bounds: Sequence[float]) -> None:
        self.bound = NOT_CODED
        # In bf16 the product's result is rounded; what is added to it afterwards is not.
        self._bias = layer.bias.float() if number_format.rounds else None
        bias = None if number_format.rounds else layer.bias
        inputs = [(layer.weight.shape[1], sum(bounds))]
        self._format, self._bounds, self._clipped = number_format, bounds, layer.clipped
        self._weights: Weights | None = number_format.weights(layer.weight, bias, inputs)
        self.device = self._weights.values.device
        self._scores = self._scores_of(self._weights, self._bias)

    def score_all(self) -> None:
        """Free what `narrowed` needs, a second copy of the weights."""
        self._weights = None

    def native(self) -> NativeLayer | None:
        """See RuntimeLayer."""
        matrix = self._scores.matrix
        clip = LOGITS if self._clipped else None
        return (
            None
            if matrix is None
            else NativeLayer(
                "output",
                0,
                0.0,
                first=matrix,
                weight=self._bias,
                logit_clip=clip,
            )
        )

    def native_words(self, ids: Tensor) -> tuple[PackedMatrix, Tensor | None]:
        """The matrix of some tokens for compiled code, and what is added to its results."""
        assert self._weights is not None, "they were not freed"
        weights = self._weights.rows(ids)
        matrix = packed(weights.values, weights.scales, weights.bias)
        assert matrix is not None, "the whole matrix is there, too"
        return matrix, None if self._bias is None else self._bias[ids].contiguous()

    def step(
        self,
        inputs: Sequence[Tensor],
        state: State,  # noqa: ARG002 - as every layer
        sources: Sources,
    ) -> StepOutput:
        """See TargetLayer."""
        words = sources.words
        if words is None:
            return StepOutput(self._scores(inputs))
        logits = words.output(inputs)
        # In a tenth of the time that filling by a mask takes.
        logits.view(len(sources), -1, logits.shape[1]).add_(words.bias[:, None])
        return StepOutput(logits)

    def narrowed(self, sources: Sources) -> Sources:
        """The sources with the output layer for the tokens alone that their sentences may write."""
        allowed = sources.allowed
        assert allowed is not None, "there is a shortlist"
        assert self._weights is not None, "they were not freed"
        scored = allowed.any(0)
        # A multiple, since oneDNN makes a program for each number of tokens that it meets.
        others = (~scored).nonzero()[: -int(scored.sum()) % MULTIPLE, 0]
        scored[others] = True
        ids = scored.nonzero()[:, 0]
        places = torch.zeros(allowed.shape[1], dtype=torch.int64)
        places[ids] = torch.arange(len(ids))
        rows = ids.to(self.device)
        bias = None if self._bias is None else self._bias[rows]
        scores = self._scores_of(self._weights.rows(rows), bias)
        blocked = ~allowed.index_select(1, ids)
        hopeless = torch.zeros(blocked.shape).masked_fill_(blocked, float("-inf"))
        words = Words(ids, places, hopeless.to(rows.device), scores)
        return replace(sources, words=words)

    def _scores_of(self, weights: Weights, bias: Tensor | None) -> _Scores:
        return _Scores(self._format, weights, bias, self._bounds, self._clipped)


class _Scores:
    """The scores of some or all tokens."""

    def __init__(
        self,
        number_format: Format,
        weights: Weights,
        bias: Tensor | None,
        bounds: Sequence[float],
        clipped: bool,
    ) -> None:
        self._format = number_format
        self._device = weights.values.device
        self._linear, self._bias = number_format.prepared(weights), bias
        self._bounds, self._bound, self._clipped = bounds, sum(bounds), clipped

    @property
    def matrix(self) -> PackedMatrix | None:
        """For compiled code."""
        return self._linear.matrix

    def __call__(self, vectors: Sequence[Tensor]) -> Tensor:
        """One or more coded (R, H), to be added up → logits (R, tokens) in fp32."""
        x = self._format.add([vector.to(self._device) for vector in vectors], self._bounds)
        logits = self._linear.exact(self._format.encode(x, self._bound))
        if self._bias is not None:
            logits.add_(self._bias)
        return logits.clamp_(-LOGITS, LOGITS) if self._clipped else logits
