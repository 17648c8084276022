"""Word embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.model.context import ForwardContext
from nmt.model.initializers import Initializer, uniform
from nmt.model.layer import Layer, LayerOutput, State


class Embedding(Layer):
    """Tokens (B, time) → vectors (B, time, H), scaled so that they have unit variance."""

    def __init__(
        self, name: str, vocabulary: int, width: int, drop_words: float, time: int
    ) -> None:
        super().__init__(name)
        self.weight = nn.Parameter(torch.empty(vocabulary, width))
        self.drop_words = drop_words
        self.time = time

    def forward(
        self,
        inputs: Sequence[Tensor],
        state: State,  # noqa: ARG002 - as every layer
        context: ForwardContext,
    ) -> LayerOutput:
        """(ids (B, time),) → (B, time, H)."""
        (ids,) = inputs
        # The same matrix serves as output layer where tied, which wants small entries; scaled by
        # sqrt(H) they are inputs of unit size (Vaswani et al. 2017, section 3.4).
        x = F.embedding(ids, self.weight) * self.weight.shape[1] ** 0.5
        name = f"{self.name}/words"
        return LayerOutput(context.drop(x, name, self.drop_words, self.time, whole=True))

    def initial_values(self) -> Mapping[str, Initializer]:
        """See Layer."""
        return {"weight": uniform}
