"""Sentences of different lengths side by side without padding.

All first tokens come first, then all second ones, and so on, those of the longest sentence always
first: the sentences that have a t-th token are the first rows of those that have one before it. So
a step of a recurrent layer is a product of these rows alone, and whatever does not depend on time
is one product over the N tokens.

B sentences, S tokens of the longest, N tokens of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Layout(Protocol):
    """How the tokens of a source side are arranged."""

    @property
    def lengths(self) -> Tensor:
        """(B,) of the sentences, on any device."""

    @property
    def longest(self) -> int:
        """S."""

    def pad(self, x: Tensor) -> Tensor:
        """Vectors of all tokens → (B, S, …)."""


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
        has_token = torch.arange(longest)[:, None] < falling[None, :]  # (S, B)
        steps, sentences = has_token.nonzero(as_tuple=True)
        rows = has_token.sum(1)
        starts = rows.cumsum(0) - rows
        mirrored = starts[falling[sentences] - 1 - steps] + sentences
        return cls(lengths, rows.tolist(), order[sentences] * longest + steps, mirrored)

    @property
    def longest(self) -> int:
        """S."""
        return len(self.rows)

    def pack(self, padded: Tensor) -> Tensor:
        """(B, S, …) → (N, …)."""
        return padded.flatten(0, 1).index_select(0, self.places.to(padded.device))

    def pad(self, x: Tensor) -> Tensor:
        """(N, …) → (B, S, …) with 0 at padding."""
        B, S = len(self.lengths), len(self.rows)
        padded = x.new_zeros(B * S, *x.shape[1:])
        padded.index_copy_(0, self.places.to(x.device), x)
        return padded.view(B, S, *x.shape[1:])


@dataclass(frozen=True)
class Padding:
    """Tokens that are padded as they are."""

    lengths: Tensor  # (B,)
    longest: int

    def pad(self, x: Tensor) -> Tensor:
        """(B, S, …), the same."""
        return x
