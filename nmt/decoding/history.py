"""The pieces of all hypotheses of the running batch, and the attention behind them. On the CPU.

B sentences, K hypotheses of each, C capacity (grows), S longest source.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.runtime.state import pad_to

FIRST_CAPACITY = 32


@dataclass(frozen=True)
class AttentionHistory:
    """The attention of every step. Hypotheses branch; instead of moving their whole attention, each
    step records which hypothesis every new one continues."""

    attention: Tensor  # (B, C, K, S) of the hypotheses before each step
    parents: Tensor  # (B, C, K) for each hypothesis after a step, its beam before the step


class Histories:
    """The pieces of each hypothesis and, with `alignments`, their attention."""

    def __init__(self, beams: int, alignments: bool) -> None:
        self.pieces = torch.zeros(0, beams, FIRST_CAPACITY, dtype=torch.int64)
        self.lengths = torch.zeros(0, dtype=torch.int64)  # (B,) pieces written so far
        self._attention = _empty_attention(0, FIRST_CAPACITY, beams, 0) if alignments else None

    def __len__(self) -> int:
        return len(self.lengths)

    def admit(self, sentences: int, longest: int) -> None:
        """Add sentences without pieces; `longest` is S once they are in."""
        _, K, C = self.pieces.shape
        self.pieces = torch.cat([self.pieces, self.pieces.new_zeros(sentences, K, C)])
        self.lengths = torch.cat([self.lengths, self.lengths.new_zeros(sentences)])
        if self._attention is not None:
            new = _empty_attention(sentences, C, K, longest)
            self._attention = AttentionHistory(
                torch.cat([_pad_sources(self._attention.attention, longest), new.attention]),
                torch.cat([self._attention.parents, new.parents]),
            )

    def append(self, parents: Tensor, pieces: Tensor, attention: Tensor) -> None:
        """Hypothesis k of each sentence continues hypothesis `parents[k]` with `pieces[k]`, each
        (B, K); `attention` (B, K, S) is that of the hypotheses before the step."""
        self._grow()
        K = self.pieces.shape[1]
        if K > 1:
            self.pieces = self.pieces.gather(1, parents[..., None].expand_as(self.pieces))
        place = self.lengths[:, None, None].expand(-1, K, 1)
        self.pieces.scatter_(2, place, pieces[..., None])
        if self._attention is not None:
            rows = torch.arange(len(self))
            self._attention.attention[rows, self.lengths] = attention.to("cpu")
            self._attention.parents[rows, self.lengths] = parents
        self.lengths = self.lengths + 1

    def select(self, sentences: Tensor, longest: int) -> None:
        """Keep these sentences only; `longest` is S of the rest."""
        self.pieces = self.pieces[sentences]
        self.lengths = self.lengths[sentences]
        if self._attention is not None:
            self._attention = AttentionHistory(
                self._attention.attention[sentences, :, :, :longest],
                self._attention.parents[sentences],
            )

    def written(self, sentence: int, beam: int) -> list[int]:
        """The pieces of one hypothesis."""
        pieces: list[int] = self.pieces[sentence, beam, : self.lengths[sentence]].tolist()
        return pieces

    def alignment(self, sentence: int, beam: int) -> Tensor | None:
        """The attention of one hypothesis for each of its pieces: (T, S)."""
        if self._attention is None:
            return None
        length = int(self.lengths[sentence])
        parents = self._attention.parents[sentence, :length].tolist()
        beams = [beam] * (length + 1)  # the beam that held it before each step
        for step in reversed(range(length)):
            beams[step] = parents[step][beams[step + 1]]
        return self._attention.attention[sentence, torch.arange(length), beams[:length]]

    def _grow(self) -> None:
        B, K, C = self.pieces.shape
        if len(self) == 0 or int(self.lengths.max()) < C:
            return
        self.pieces = torch.cat([self.pieces, torch.zeros_like(self.pieces)], 2)
        if self._attention is not None:
            more = _empty_attention(B, C, K, self._attention.attention.shape[-1])
            self._attention = AttentionHistory(
                torch.cat([self._attention.attention, more.attention], 1),
                torch.cat([self._attention.parents, more.parents], 1),
            )


def _empty_attention(sentences: int, capacity: int, beams: int, longest: int) -> AttentionHistory:
    return AttentionHistory(
        torch.zeros(sentences, capacity, beams, longest),
        torch.zeros(sentences, capacity, beams, dtype=torch.int64),
    )


def _pad_sources(attention: Tensor, longest: int) -> Tensor:
    B, C, K, S = attention.shape
    return pad_to(attention.view(B * C * K, S), longest).view(B, C, K, max(S, longest))
