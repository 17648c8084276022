"""The output layer: vectors → scores of all tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nmt.kernels.products import linear
from nmt.model.clip import LOGITS
from nmt.model.context import ForwardContext
from nmt.model.graph import total
from nmt.model.initializers import Initializer, uniform, zeros
from nmt.model.layer import Layer, LayerOutput, State


class Output(Layer):
    """Logits of the N target tokens of a batch, sentence by sentence.

    Leaving the padding out saves its share (15 to 25%) of the model's most expensive product.
    """

    def __init__(
        self, name: str, width: int, vocabulary: int, dropout: float, clipped: bool = False
    ) -> None:
        super().__init__(name)
        self.weight = nn.Parameter(torch.empty(vocabulary, width))
        self.bias = nn.Parameter(torch.empty(vocabulary))
        self.dropout = dropout
        self.clipped = clipped  # whether logits are clipped to LOGITS

    def forward(
        self,
        inputs: Sequence[Tensor],
        state: State,  # noqa: ARG002 - as every layer
        context: ForwardContext,
    ) -> LayerOutput:
        """(x (B, T, H), more to be added to it …, `Batch.target_index` (N,)) → (N, V)."""
        *vectors, index = inputs
        x = context.drop(total(vectors), self.name, self.dropout, 2)
        return LayerOutput(self.logits(x.flatten(0, 1).index_select(0, index)))

    def initial_values(self) -> Mapping[str, Initializer]:
        """See Layer."""
        return {"weight": uniform, "bias": zeros}

    def logits(self, x: Tensor) -> Tensor:
        """(…, H) → (…, V)."""
        logits = linear(x, self.weight, self.bias)
        return logits.clamp(-LOGITS, LOGITS) if self.clipped else logits
