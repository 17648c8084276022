"""What a model reads: padded token ids, and the fields that layers may name as inputs.

Shapes: B sentences, S longest source, T longest target (both with one special token), padding 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nmt.kernels.transfer import moved, usual_rows

PAD, UNK, BOS, EOS = 0, 1, 2, 3


@dataclass(frozen=True)
class Batch:
    """Sentence pairs ready for training. Immutable; cutting one makes views.

    Every tensor but `places` has one row for each sentence, so that a field that is added later is
    divided with the others. `first_row`, `first_step` and `global_shape` say which part of the
    global batch this is, so that whatever is random depends on the place in the global batch and
    not on how the batch was divided.
    """

    source: Tensor  # (B, S) tokens and EOS
    source_lengths: Tensor  # (B,) EOS included
    target_input: Tensor  # (B, T) BOS and tokens
    target_output: Tensor  # (B, T) tokens and EOS
    target_lengths: Tensor  # (B,)
    first_row: int
    global_shape: tuple[int, int, int]  # B, S, T of the global batch
    first_step: int = 0  # of the side that is divided into chunks, if one is
    places: Tensor | None = None  # see `target_index`; None: worked out from the lengths

    def __post_init__(self) -> None:
        if self.places is None:
            mask = length_mask(self.target_lengths, self.target_input.shape[1])
            object.__setattr__(self, "places", mask.flatten().nonzero()[:, 0])

    @classmethod
    def from_rows(
        cls, source: Sequence[np.ndarray], target: Sequence[np.ndarray], device: str = "cpu"
    ) -> Batch:
        """Pad rows of tokens, without special ones, into a whole global batch."""
        source_ids, source_lengths = pad([[*row, EOS] for row in source])
        target_input, _ = pad([[BOS, *row] for row in target])
        target_output, target_lengths = pad([[*row, EOS] for row in target])
        batch = cls(
            source_ids,
            source_lengths,
            target_input,
            target_output,
            target_lengths,
            0,
            (*source_ids.shape, target_input.shape[1]),
        )
        return batch.to(device)

    @property
    def rows(self) -> int:
        """Sentences in this part of the batch."""
        return len(self.source)

    @property
    def tokens(self) -> int:
        """Target tokens, EOS included and padding not: what the loss is a mean over."""
        return int(self.target_lengths.sum())

    @property
    def target_index(self) -> Tensor:
        """(N,) where the target's tokens are among the B * T positions, sentence by sentence. On a
        GPU some padding may follow (`usual_rows`); its label PAD counts for nothing.

        Computed once where the batch is made or divided: on a GPU it would have to wait for the
        number of tokens. So batches are divided first and moved afterwards.
        """
        assert self.places is not None, "set when the batch was made"
        return self.places

    @property
    def labels(self) -> Tensor:
        """(N,) the target's tokens in the order of the output layer's rows."""
        return self.target_output.flatten()[self.target_index]

    def to(self, device: str | torch.device) -> Batch:
        """The same batch on another device."""
        device = torch.device(device)
        index = usual_rows(self.target_index, self.target_input.numel(), device)
        values: dict[str, Any] = {
            field.name: moved(value, device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        values["places"] = moved(index, device)
        return replace(self, **values)

    def split(self, parts: int) -> list[Batch]:
        """Split into `parts` of nearly equal rows, each padded only to its own longest row."""
        bounds = [self.rows * i // parts for i in range(parts + 1)]
        assert all(a < b for a, b in pairwise(bounds)), "a part has no rows"
        return [self._rows(a, b) for a, b in pairwise(bounds)]

    def _rows(self, first: int, end: int) -> Batch:
        rows: dict[str, Any] = {
            field.name: value[first:end]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor) and field.name != "places"
        }
        S, T = int(rows["source_lengths"].max()), int(rows["target_lengths"].max())
        rows["source"] = rows["source"][:, :S]
        rows["target_input"] = rows["target_input"][:, :T]
        rows["target_output"] = rows["target_output"][:, :T]
        return replace(self, **rows, places=None, first_row=self.first_row + first)

    def source_steps(self, first: int, end: int) -> Batch:
        """The source's time steps from `first` to before `end`, with the lengths that are in them;
        the target whole."""
        return replace(
            self,
            source=self.source[:, first:end],
            source_lengths=(self.source_lengths - first).clamp(0, end - first),
            first_step=first,
        )

    def target_steps(self, first: int, end: int) -> Batch:
        """Likewise of the target; the source whole."""
        return replace(
            self,
            target_input=self.target_input[:, first:end],
            target_output=self.target_output[:, first:end],
            target_lengths=(self.target_lengths - first).clamp(0, end - first),
            first_step=first,
            places=None,
        )

    def field(self, name: str) -> Tensor:
        """The field that a layer's input `batch.<name>` means."""
        value = getattr(self, name)
        assert isinstance(value, Tensor), name
        return value


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Rows of ids → (B, longest) padded with PAD, and (B,) lengths."""
    lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
    ids = np.full((len(rows), int(lengths.max())), PAD, dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    return torch.from_numpy(ids), torch.from_numpy(lengths)


def length_mask(lengths: Tensor, longest: int) -> Tensor:
    """(B,) lengths → (B, longest), true where there is a token."""
    return torch.arange(longest, device=lengths.device)[None, :] < lengths[:, None]
