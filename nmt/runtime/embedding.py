"""Embeddings: a row of the matrix for each token, on either side."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from torch import Tensor
from torch.nn import functional as F

from nmt.kernels.native import NativeLayer
from nmt.model.embedding import Embedding
from nmt.model.layer import State
from nmt.precision.formats import Format
from nmt.runtime.layer import SourceLayer, StepOutput, TargetLayer
from nmt.runtime.packing import Packing
from nmt.runtime.state import Sources


class EmbeddingRows(SourceLayer, TargetLayer):
    """The scaled matrix, coded: (…,) tokens → (…, H)."""

    def __init__(
        self,
        layer: Embedding,
        number_format: Format,
        bounds: Sequence[float],  # noqa: ARG002 - tokens have none
    ) -> None:
        weight = layer.weight * sqrt(layer.weight.shape[1])
        self.bound = max(float(weight.abs().max()), 1e-30)
        self.weight = number_format.encode(weight, self.bound)
        self.device = self.weight.device

    def native(self) -> NativeLayer:
        """See RuntimeLayer."""
        return NativeLayer("embedding", self.weight.shape[1], self.bound, table=self.weight)

    def encode(self, inputs: Sequence[Tensor], packing: Packing) -> Tensor:  # noqa: ARG002 - as others
        """See SourceLayer."""
        return F.embedding(inputs[0].to(self.device), self.weight)

    def step(
        self,
        inputs: Sequence[Tensor],
        state: State,  # noqa: ARG002 - as every layer
        sources: Sources,  # noqa: ARG002
    ) -> StepOutput:
        """See TargetLayer."""
        return StepOutput(F.embedding(inputs[0].to(self.device), self.weight))
