"""The tokens that a translation may contain: likely translations of each source token, and frequent
tokens (Jean et al. 2015, section 3.3).

The output layer then scores hundreds of tokens instead of the whole vocabulary. Which ones depends
on the sentence alone, not on the rest of the batch.

V vocabulary, C candidates of a token, B sentences.
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
NONE = -1  # where a token has fewer than C candidates


@dataclass(frozen=True)
class Shortlist:
    """Which tokens may translate which."""

    candidates: Tensor  # (V, C) int32, the most likely first
    always: Tensor  # (A,) int32, whatever the source is

    def allowed(self, sources: Sequence[Sequence[int]]) -> Tensor:
        """Sources without special tokens → (B, V), true where a token may be written. Those of the
        source itself may be, since names are copied."""
        allowed = torch.zeros(len(sources), len(self.candidates), dtype=torch.bool)
        allowed[:, : EOS + 1] = True
        allowed[:, self.always.long()] = True
        rows = torch.tensor([i for i, source in enumerate(sources) for _ in source])
        tokens = torch.tensor([token for source in sources for token in source])
        if len(rows) == 0:
            return allowed
        allowed[rows, tokens] = True
        candidates = self.candidates[tokens].long()  # (tokens, C)
        exists = candidates != NONE
        allowed[rows[:, None].expand_as(candidates)[exists], candidates[exists]] = True
        return allowed

    def save(self, folder: Path) -> None:
        """Write it into a model folder."""
        save_file({"candidates": self.candidates, "always": self.always}, folder / SHORTLIST)

    @classmethod
    def load(cls, folder: Path, vocabulary: int) -> Shortlist | None:
        """The shortlist of a model folder; None if it has none.

        Raises:
            ModelFolderError: it is damaged, or not for this vocabulary.
        """
        file = folder / SHORTLIST
        if not file.exists():
            return None
        try:
            with safe_open(file, framework="pt") as stored:
                shortlist = cls(stored.get_tensor("candidates"), stored.get_tensor("always"))
        except (SafetensorError, OSError) as error:
            raise ModelFolderError(
                f"`{file}` must hold a shortlist, but is damaged: {error}"
            ) from None
        ranges = [(shortlist.candidates, NONE), (shortlist.always, 0)]
        fits = all(bool(((ids >= low) & (ids < vocabulary)).all()) for ids, low in ranges)
        if not fits or shortlist.candidates.dim() != 2 or len(shortlist.candidates) != vocabulary:
            raise ModelFolderError(
                f"`{file}` must be for {vocabulary} tokens, as the model is, but is not; "
                "get the folder again."
            )
        return shortlist
