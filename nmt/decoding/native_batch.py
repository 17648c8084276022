"""The running batch in compiled code, on CPUs: one call makes a step of all sentences.

It searches as `TensorBatch` does, which the tests compare it with.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nmt.config import DecodeConfig
from nmt.decoding.beam import NEVER
from nmt.decoding.open_sentence import (
    Finished,
    Hypothesis,
    OpenSentence,
    Request,
    longest_translation,
)
from nmt.decoding.penalties import CoveragePenalty, LengthPenalty, RepetitionGuard
from nmt.kernels.native import MAX_BEAMS
from nmt.model.batch import EOS
from nmt.model.shortlist import Shortlist
from nmt.runtime.native import NativeModel, NativeSentence, Search, Sentences, Written


@dataclass
class _Running:
    """A sentence in the batch."""

    open: OpenSentence
    native: NativeSentence
    penalty: float  # length penalty of the longest translation


class NativeBatch:
    """Owns a running batch. Not thread-safe."""

    def __init__(
        self,
        model: NativeModel,
        decode: DecodeConfig,
        alignments: bool,
        shortlist: Shortlist | None,
        threads: int | None = None,
    ) -> None:
        """`shortlist` is the model's. Works with `threads`; None: as many as PyTorch."""
        assert decode.beam_size <= MAX_BEAMS, "the compiled code has room for that many"
        self._model, self._decode, self._alignments = model, decode, alignments
        self._shortlist = shortlist if decode.shortlist else None
        self._length_penalty = LengthPenalty(decode.length_penalty)
        self._coverage_penalty = CoveragePenalty(decode.coverage_penalty)
        self._guard = RepetitionGuard(decode.no_repeat_ngram, decode.max_repeats)
        self._threads = threads or torch.get_num_threads()
        self._room = model.room(self._threads)
        self._running: list[_Running] = []
        self._sentences = Sentences([])

    def __len__(self) -> int:
        return len(self._running)

    @property
    def ids(self) -> list[Hashable]:
        """The sentences in the batch."""
        return [one.open.request.id for one in self._running]

    @property
    def longest_source(self) -> int:
        """S: the positions of the longest source in the batch."""
        return max((one.native.struct.S for one in self._running), default=0)

    def admit(self, requests: Sequence[Request]) -> None:
        """Encode sentences and add them to the batch."""
        sources = [[*request.source, EOS] for request in requests]
        searches = [self._search(request) for request in requests]
        natives = self._model.start(sources, searches, self._threads)
        for request, search, native in zip(requests, searches, natives, strict=True):
            sentence = OpenSentence.of(request, self._decode)
            penalty = self._length_penalty(search.longest)
            self._running.append(_Running(sentence, native, penalty))
        self._changed()

    def step(self) -> list[Finished]:
        """Extend every hypothesis by one piece → the finished sentences, which leave the batch."""
        if not self._running:
            return []
        events = self._model.step(self._sentences, self._room, self._threads)
        leaving = [i for i in events if self._is_done(self._running[i])]
        if not leaving:
            return []
        finished = [self._finished(self._running[i]) for i in leaving]
        for i in reversed(leaving):
            del self._running[i]
        self._changed()
        return finished

    def cancel(self, request_id: Hashable) -> bool:
        """Remove a sentence from the batch; false if it is not in it."""
        if request_id not in self.ids:
            return False
        del self._running[self.ids.index(request_id)]
        self._changed()
        return True

    def _changed(self) -> None:
        self._sentences = Sentences([one.native for one in self._running])

    def _search(self, request: Request) -> Search:
        words = None
        if self._shortlist is not None:
            words = self._shortlist.allowed([request.source])[0].nonzero()[:, 0]
        return Search(
            self._decode.beam_size,
            longest_translation(request, self._decode),
            self._guard.size,
            self._guard.limit(request.source),
            self._decode.coverage_penalty,
            self._alignments,
            words,
        )

    def _is_done(self, running: _Running) -> bool:
        """Take the hypotheses that ended in the last step → whether their sentence is done."""
        native, sentence = running.native, running.open
        for written in native.ended():
            sentence.add(self._hypothesis(written, native.length, truncated=False))
        # An open hypothesis' log probability cannot rise, and its length penalty is at most that
        # of the longest translation.
        bound = sentence.threshold * running.penalty if sentence.threshold > NEVER else NEVER
        return native.is_done(bound)

    def _finished(self, running: _Running) -> Finished:
        """A sentence's translations: open hypotheses, which are truncated here, rank last."""
        sentence, native = running.open, running.native
        best = sentence.finished[: sentence.n_best]
        missing = sentence.n_best - len(best)
        if missing:
            found = [
                self._hypothesis(written, native.length, truncated=True)
                for written in native.open(self._coverage)
            ]
            best += sorted(found, key=lambda one: -one.score)[:missing]
        return Finished(sentence.request.id, best)

    def _hypothesis(self, written: Written, length: int, truncated: bool) -> Hypothesis:
        """What was written, with its score at that length, an end included."""
        score = written.log_probability / self._length_penalty(length) + written.coverage
        return Hypothesis(
            written.tokens, score, written.log_probability, truncated, written.alignment
        )

    def _coverage(self, attended: NDArray[np.float32]) -> list[float]:
        lengths = torch.full((len(attended),), attended.shape[1])
        penalties: list[float] = self._coverage_penalty(
            torch.from_numpy(attended), lengths
        ).tolist()
        return penalties
