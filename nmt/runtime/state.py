"""What decoding knows of the sentences in the running batch, beside the hypotheses' pieces.

All of it belongs to requests, none to the model. Sentences join and leave between any two steps.

B sentences, K hypotheses of each, R = B * K rows, S longest source, A attention units, H units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Sources:
    """The source side, once a sentence, wherever the attention runs."""

    keys: Tensor  # (B, S, A) as the attention's step wants them
    memory: Tensor  # (B, S, H) in fp32
    bias: Tensor  # (B, S) 0 at tokens, -inf at padding
    lengths: Tensor  # (B,) on the CPU, the end of the sentence included

    def select(self, sentences: Tensor) -> Sources:
        """Some of the sentences, padded no further than they need."""
        lengths = self.lengths[sentences]
        longest = int(lengths.max()) if len(lengths) else 0
        index = sentences.to(self.keys.device)
        return Sources(
            self.keys[:, :longest].index_select(0, index),
            self.memory[:, :longest].index_select(0, index),
            self.bias[:, :longest].index_select(0, index),
            lengths,
        )

    def join(self, other: Sources) -> Sources:
        """These sentences and then the others, padded to the longest."""
        longest = max(self.bias.shape[1], other.bias.shape[1])

        def both(mine: Tensor, others: Tensor, value: float = 0.0) -> Tensor:
            return torch.cat([pad_to(mine, longest, value), pad_to(others, longest, value)])

        return Sources(
            both(self.keys, other.keys),
            both(self.memory, other.memory),
            both(self.bias, other.bias, float("-inf")),
            torch.cat([self.lengths, other.lengths]),
        )


@dataclass(frozen=True)
class Words:
    """The part of the vocabulary that any sentence of a batch may write, in the output's place."""

    ids: Tensor  # (U,) pieces in rising order, on the CPU
    places: Tensor  # (V,) where each of them stands in `ids`, on the CPU
    bias: Tensor  # (B, U) 0, or -inf where a sentence may not write a piece; where the output is
    output: Callable[[Sequence[Tensor]], Tensor]  # an output layer with these pieces alone

    def select(self, sentences: Tensor) -> Words:
        """For some of the sentences."""
        return replace(self, bias=self.bias.index_select(0, sentences.to(self.bias.device)))


@dataclass(frozen=True)
class DecoderState:
    """Where all hypotheses stand. Immutable: a step returns the next one."""

    beams: int  # K
    recurrent: dict[str, tuple[Tensor, Tensor]]  # layer → h and c, each (R, H), on its device
    sources: Sources
    attended: Tensor | None  # (R, S) sums of the attention so far, if the search wants them
    allowed: Tensor | None = None  # (B, V) pieces that a sentence may write, on the CPU; None: all
    words: Words | None = None  # made of `allowed` when it is first needed

    def __len__(self) -> int:
        return len(self.sources.lengths)

    def reorder(self, rows: Tensor) -> DecoderState:
        """The same sentences; row i goes on from what was row `rows[i]` (R,)."""
        return self._with_rows(rows)

    def select(self, sentences: Tensor, rows: Tensor) -> DecoderState:
        """Some of the sentences, and the rows of the old state that their hypotheses go on from."""
        state = replace(
            self,
            sources=self.sources.select(sentences),
            allowed=None if self.allowed is None else self.allowed[sentences],
            words=None if self.words is None else self.words.select(sentences),
        )
        return state._with_rows(rows)

    def join(self, other: DecoderState) -> DecoderState:
        """These sentences and then the others."""
        assert self.beams == other.beams, "one beam size for all"
        assert (self.attended is None) == (other.attended is None), "one search for all"
        assert (self.allowed is None) == (other.allowed is None), "one search for all"
        sources, attended = self.sources.join(other.sources), None
        if self.attended is not None and other.attended is not None:
            longest = sources.bias.shape[1]
            attended = torch.cat([pad_to(self.attended, longest), pad_to(other.attended, longest)])
        recurrent = {
            name: (
                torch.cat([h, other.recurrent[name][0]]),
                torch.cat([c, other.recurrent[name][1]]),
            )
            for name, (h, c) in self.recurrent.items()
        }
        allowed = None
        if self.allowed is not None and other.allowed is not None:
            allowed = torch.cat([self.allowed, other.allowed])
        return DecoderState(self.beams, recurrent, sources, attended, allowed)

    def _with_rows(self, rows: Tensor) -> DecoderState:
        indices: dict[torch.device, Tensor] = {}

        def chosen(x: Tensor) -> Tensor:
            if x.device not in indices:
                indices[x.device] = rows.to(x.device, non_blocking=True)
            return x.index_select(0, indices[x.device])

        recurrent = {name: (chosen(h), chosen(c)) for name, (h, c) in self.recurrent.items()}
        attended = self.attended
        if attended is not None:
            attended = chosen(attended[:, : self.sources.bias.shape[1]])
        return replace(self, recurrent=recurrent, attended=attended)


def pad_to(x: Tensor, longest: int, value: float = 0.0) -> Tensor:
    """(B, S, …) → (B, longest, …) with `value` in the new places."""
    missing = longest - x.shape[1]
    return F.pad(x, [0, 0] * (x.dim() - 2) + [0, missing], value=value) if missing else x
