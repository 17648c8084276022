"""Sentences in the running batch: what was asked, and what has been found so far."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from nmt.config import DecodeConfig
from nmt.decoding.beam import NEVER


@dataclass(frozen=True)
class Request:
    """One sentence to translate."""

    id: Hashable  # unique in the batch
    source: Sequence[int]  # pieces without special ones
    n_best: int | None = None  # None: as in the engine's settings
    longest: int | None = None  # pieces of the translation, EOS included; None: by the settings


@dataclass(frozen=True)
class Hypothesis:
    """One translation of a sentence."""

    pieces: list[int]  # without special ones
    score: float  # log probability with both penalties
    log_probability: float
    truncated: bool  # it reached the longest length allowed
    alignment: Tensor | None  # (T, S) attention, rows summing to 1; S includes EOS


@dataclass(frozen=True)
class Finished:
    """A sentence that has left the batch, with its translations, the best first."""

    id: Hashable
    hypotheses: list[Hypothesis]


@dataclass
class OpenSentence:
    """A sentence's request and its finished hypotheses."""

    request: Request
    n_best: int
    finished: list[Hypothesis] = field(default_factory=list)  # the best first

    @classmethod
    def of(cls, request: Request, decode: DecodeConfig) -> OpenSentence:
        """A sentence that joins a batch with these settings."""
        n_best = request.n_best or decode.n_best
        assert n_best <= decode.beam_size, "n_best is at most the beam size"
        return cls(request, n_best)

    def add(self, hypothesis: Hypothesis) -> None:
        """Keep a finished hypothesis."""
        self.finished.append(hypothesis)
        self.finished.sort(key=lambda one: -one.score)  # stable: ties keep their order

    @property
    def threshold(self) -> float:
        """The score that an open hypothesis has to beat."""
        enough = len(self.finished) >= self.n_best
        return self.finished[self.n_best - 1].score if enough else NEVER


def longest_translation(request: Request, decode: DecodeConfig) -> int:
    """Most pieces of a request's translation, EOS included."""
    if request.longest is not None:
        return max(1, request.longest)
    ratio, offset = decode.max_length_ratio, decode.max_length_offset
    return max(1, int(ratio * (len(request.source) + 1)) + offset)
