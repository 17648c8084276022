"""Word embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.model.dropout import ForwardPass
from nmt.model.graph import Layer, State


class Embedding(Layer):
    """Pieces (B, time) → vectors (B, time, H), scaled so that they have unit variance."""

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
        state: State,  # noqa: ARG002 - same for all
        within: ForwardPass,
    ) -> tuple[Tensor, State]:
        """(ids (B, time),) → (B, time, H)."""
        (ids,) = inputs
        # The same matrix serves as output layer where tied, which wants small entries; scaled by
        # sqrt(H) they are inputs of unit size (Vaswani et al. 2017, section 3.4).
        x = F.embedding(ids, self.weight) * self.weight.shape[1] ** 0.5
        return within.drop(x, f"{self.name}/words", self.drop_words, self.time, whole=True), ()
