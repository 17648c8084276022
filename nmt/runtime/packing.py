"""Sentences of different lengths side by side without padding.

All first tokens come first, then all second ones, and so on, those of the longest sentence always
first: the sentences that have a t-th token are the first rows of those that have one before it. So
an LSTM's step is a product of these rows alone, and whatever does not depend on time is one product
over the N tokens.

B sentences, S tokens of the longest, N tokens of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Where the tokens of some sentences are. All on the CPU."""

    lengths: Tensor  # (B,) in the order given
    rows: list[int]  # (S,) sentences that have a t-th token
    places: Tensor  # (N,) of each token among the B * S positions with padding
    mirrored: Tensor  # (N,) where the token stands that is as far from its sentence's other end

    @classmethod
    def of(cls, lengths: Tensor) -> Packing:
        """For sentences of these lengths, each at least 1."""
        order = lengths.argsort(descending=True, stable=True)
        falling = lengths[order]
        longest = int(falling[0])
        there = torch.arange(longest)[:, None] < falling[None, :]  # (S, B)
        steps, sentences = there.nonzero(as_tuple=True)
        rows = there.sum(1)
        starts = rows.cumsum(0) - rows
        mirrored = starts[falling[sentences] - 1 - steps] + sentences
        return cls(lengths, rows.tolist(), order[sentences] * longest + steps, mirrored)

    def pack(self, padded: Tensor) -> Tensor:
        """(B, S, …) → (N, …)."""
        return padded.flatten(0, 1).index_select(0, self.places.to(padded.device))

    def pad(self, x: Tensor) -> Tensor:
        """(N, …) → (B, S, …) with 0 at padding."""
        B, S = len(self.lengths), len(self.rows)
        padded = x.new_zeros(B * S, *x.shape[1:])
        padded.index_copy_(0, self.places.to(x.device), x)
        return padded.view(B, S, *x.shape[1:])
