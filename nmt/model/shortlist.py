"""The pieces that a translation may have: likely ones for each piece of the source, and frequent
ones (Jean et al. 2015, section 3.3).

The output layer then scores hundreds of pieces instead of the whole vocabulary. Which ones depends
on the sentence alone, not on what else is translated.

V vocabulary, C candidates of a piece, B sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nmt.errors import ModelFolderError
from nmt.model.batch import EOS

SHORTLIST = "shortlist.safetensors"
NONE = -1  # where a piece has fewer than C candidates


@dataclass(frozen=True)
class Shortlist:
    """What may translate what."""

    candidates: Tensor  # (V, C) int32, the most likely first
    always: Tensor  # (A,) int32, whatever the source is

    def allowed(self, sources: Sequence[Sequence[int]]) -> Tensor:
        """Sources without special pieces → (B, V), true where a piece may be written. The source's
        own pieces may: names are copied."""
        found = torch.zeros(len(sources), len(self.candidates), dtype=torch.bool)
        found[:, : EOS + 1] = True
        found[:, self.always.long()] = True
        rows = torch.tensor([i for i, source in enumerate(sources) for _ in source])
        pieces = torch.tensor([piece for source in sources for piece in source])
        if len(rows) == 0:
            return found
        found[rows, pieces] = True
        candidates = self.candidates[pieces].long()  # (tokens, C)
        there = candidates != NONE
        found[rows[:, None].expand_as(candidates)[there], candidates[there]] = True
        return found

    def save(self, folder: Path) -> None:
        """Write it into a model folder."""
        save_file({"candidates": self.candidates, "always": self.always}, folder / SHORTLIST)

    @classmethod
    def load(cls, folder: Path, vocabulary: int) -> Shortlist | None:
        """The one of a model folder, if it has one.

        Raises:
            ModelFolderError: it is damaged, or not for this vocabulary.
        """
        file = folder / SHORTLIST
        if not file.exists():
            return None
        try:
            with safe_open(file, framework="pt") as stored:
                found = cls(stored.get_tensor("candidates"), stored.get_tensor("always"))
        except (SafetensorError, OSError) as error:
            raise ModelFolderError(
                f"`{file}` must hold a shortlist, but is damaged: {error}"
            ) from None
        ranges = [(found.candidates, NONE), (found.always, 0)]
        fits = all(bool(((ids >= low) & (ids < vocabulary)).all()) for ids, low in ranges)
        if not fits or found.candidates.dim() != 2 or len(found.candidates) != vocabulary:
            raise ModelFolderError(
                f"`{file}` must be for {vocabulary} pieces, as the model, but is not; "
                "get the folder again."
            )
        return found
