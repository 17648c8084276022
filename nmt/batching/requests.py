"""What callers ask a running batch for, what they get, and what it needs of models."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from nmt.config import DecodeConfig
from nmt.decoding.engine import Finished, Hypothesis, Request
from nmt.decoding.translation import Translation
from nmt.errors import NmtError


class QueueFullError(NmtError):
    """The queue has no room for these sentences."""


class DeadlineError(NmtError):
    """A request's deadline passed before its last sentence was translated."""


class ClosedError(NmtError):
    """The batch is shutting down and accepts nothing more."""


class SearchSettings(NamedTuple):
    """Settings that all sentences of one engine share."""

    beam_size: int
    alignments: bool


class RequestOptions(NamedTuple):
    """How a caller wants its sentences translated."""

    search: SearchSettings
    n_best: int = 1
    longest: int | None = None  # pieces of a translation; None: by its source's


class Limits(NamedTuple):
    """Bounds on the sentences that wait and on those decoded together."""

    waiting_sentences: int  # of all callers; a single one may have half of them
    waiting_tokens: int  # source pieces of all callers
    batch_sentences: int  # decoded together at usual lengths; see nmt.decoding.batch_policy


class BatchEngine(Protocol):
    """An `Engine`, in this process or in another."""

    def __len__(self) -> int:
        """Sentences in the batch."""

    @property
    def longest_source(self) -> int:
        """Source positions of the longest sentence in the batch."""

    @property
    def admission_seconds(self) -> float:
        """Seconds that the last admission took."""

    def admit(self, requests: Sequence[Request]) -> None:
        """Add sentences to the batch."""

    def cancel(self, request_id: int) -> bool:
        """Remove a sentence; false if it is not in the batch."""

    def step(self) -> list[Finished]:
        """Decode one piece of every hypothesis → the sentences that are finished."""


class BatchModel(Protocol):
    """What a running batch needs of a model: a `Translator`, or one in another process."""

    def engine(self, decode: DecodeConfig, alignments: bool) -> BatchEngine:
        """A new, empty batch."""

    def translation(self, source: Sequence[int], hypotheses: list[Hypothesis]) -> Translation:
        """The translation that hypotheses, the best first, stand for."""


@dataclass(eq=False)  # compared by identity
class Submission:
    """Sentences of one caller that are answered together."""

    translator: BatchModel
    sources: Sequence[Sequence[int]]
    options: RequestOptions
    caller: Hashable
    deadline: float  # of time.monotonic
    future: Future[list[Translation]] = field(default_factory=Future)
    found: dict[int, Translation] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        """Whether it has been answered or cancelled."""
        return self.future.done()


class Waiting(NamedTuple):
    """A sentence that has not joined the batch yet."""

    submission: Submission
    place: int

    @property
    def source(self) -> Sequence[int]:
        """Its pieces."""
        return self.submission.sources[self.place]


@dataclass
class Statistics:
    """Counts so far, and the present load. Read by other threads."""

    waiting_sentences: int = 0
    waiting_tokens: int = 0
    running_sentences: int = 0
    padding: float = 0.0  # fraction of the running batch's source positions
    steps: int = 0
    sentences: int = 0  # translated
    source_tokens: int = 0
    target_tokens: int = 0
    truncated: int = 0
    busy_seconds: float = 0.0


Observer = Callable[[str, float], None]  # called with a name and a value, from the batch's thread
