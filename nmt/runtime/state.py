"""What decoding knows of the sentences in the running batch, beside the hypotheses' tokens.

All of it belongs to requests, none to the model. Sentences join and leave between any two steps.

B sentences, K hypotheses of each, R = B * K rows, S longest source, A attention units, H units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.model.layer import State


@dataclass(frozen=True)
class Memory:
    """What one attention layer reads of the source side, once for each sentence, on its device."""

    keys: Tensor  # (B, S, A) as the layer's step reads them
    values: Tensor  # (B, S, H) in fp32
    bias: Tensor  # (B, S) 0 at tokens, -inf at padding

    def select(self, sentences: Tensor, longest: int) -> Memory:
        """Some of the sentences, with that many positions."""
        index = sentences.to(self.bias.device)
        return Memory(
            self.keys[:, :longest].index_select(0, index),
            self.values[:, :longest].index_select(0, index),
            self.bias[:, :longest].index_select(0, index),
        )

    def join(self, other: Memory, longest: int) -> Memory:
        """These sentences and then the others, all padded to that many positions."""

        def joined(first: Tensor, second: Tensor, padding: float = 0.0) -> Tensor:
            return torch.cat([pad_to(first, longest, padding), pad_to(second, longest, padding)])

        return Memory(
            joined(self.keys, other.keys),
            joined(self.values, other.values),
            joined(self.bias, other.bias, float("-inf")),
        )


@dataclass(frozen=True)
class Words:
    """The tokens that any sentence of a batch may write, and the output layer for them alone."""

    ids: Tensor  # (U,) tokens in rising order, on the CPU
    places: Tensor  # (V,) where each of them stands in `ids`, on the CPU
    bias: Tensor  # (B, U) 0, or -inf where a sentence may not write a token; where the output is
    output: Callable[[Sequence[Tensor]], Tensor]  # the output layer's inputs → logits (R, U)

    def select(self, sentences: Tensor) -> Words:
        """For some of the sentences."""
        return replace(self, bias=self.bias.index_select(0, sentences.to(self.bias.device)))


@dataclass(frozen=True)
class Sources:
    """What steps read of the sentences of a batch, which does not change from step to step."""

    memories: Mapping[str, Memory]  # by the attention layer's name
    lengths: Tensor  # (B,) on the CPU, the end of the sentence included
    longest: int  # S, positions with padding
    allowed: Tensor | None = None  # (B, V) tokens that a sentence may write, on the CPU; None: all
    words: Words | None = None  # made of `allowed` at the next step

    def __len__(self) -> int:
        return len(self.lengths)

    def select(self, sentences: Tensor) -> Sources:
        """Some of the sentences, padded no further than they need."""
        lengths = self.lengths[sentences]
        longest = int(lengths.max()) if len(lengths) else 0
        return Sources(
            {name: memory.select(sentences, longest) for name, memory in self.memories.items()},
            lengths,
            longest,
            None if self.allowed is None else self.allowed[sentences],
            None if self.words is None else self.words.select(sentences),
        )

    def join(self, other: Sources) -> Sources:
        """These sentences and then the others, padded to the longest."""
        assert (self.allowed is None) == (other.allowed is None), "one search for all"
        longest = max(self.longest, other.longest)
        allowed = None
        if self.allowed is not None and other.allowed is not None:
            allowed = torch.cat([self.allowed, other.allowed])
        return Sources(
            {
                name: memory.join(other.memories[name], longest)
                for name, memory in self.memories.items()
            },
            torch.cat([self.lengths, other.lengths]),
            longest,
            allowed,
        )


@dataclass(frozen=True)
class DecoderState:
    """How far all hypotheses are. Immutable: a step returns the next one."""

    beams: int  # K
    recurrent: Mapping[str, State]  # layer → its tensors, each (R, …), on its device
    sources: Sources
    attended: Tensor | None  # (R, S) sums of the attention so far, if the search wants them

    def __len__(self) -> int:
        return len(self.sources)

    def reorder(self, rows: Tensor) -> DecoderState:
        """The same sentences; row i continues what was row `rows[i]` (R,)."""
        return self._with_rows(rows)

    def select(self, sentences: Tensor, rows: Tensor) -> DecoderState:
        """Some of the sentences, and the rows of the old state that their hypotheses continue."""
        return replace(self, sources=self.sources.select(sentences))._with_rows(rows)

    def join(self, other: DecoderState) -> DecoderState:
        """These sentences and then the others."""
        assert self.beams == other.beams, "one beam size for all"
        assert (self.attended is None) == (other.attended is None), "one search for all"
        sources, attended = self.sources.join(other.sources), None
        if self.attended is not None and other.attended is not None:
            longest = sources.longest
            attended = torch.cat([pad_to(self.attended, longest), pad_to(other.attended, longest)])
        recurrent = {
            name: tuple(map(torch.cat, zip(state, other.recurrent[name], strict=True)))
            for name, state in self.recurrent.items()
        }
        return DecoderState(self.beams, recurrent, sources, attended)

    def _with_rows(self, rows: Tensor) -> DecoderState:
        indices: dict[torch.device, Tensor] = {}

        def chosen(x: Tensor) -> Tensor:
            if x.device not in indices:
                indices[x.device] = rows.to(x.device, non_blocking=True)
            return x.index_select(0, indices[x.device])

        recurrent = {name: tuple(map(chosen, state)) for name, state in self.recurrent.items()}
        attended = self.attended
        if attended is not None:
            attended = chosen(attended[:, : self.sources.longest])
        return replace(self, recurrent=recurrent, attended=attended)


def pad_to(x: Tensor, longest: int, value: float = 0.0) -> Tensor:
    """(B, S, …) → (B, longest, …) with `value` in the new places."""
    missing = longest - x.shape[1]
    return F.pad(x, [0, 0] * (x.dim() - 2) + [0, missing], value=value) if missing else x
