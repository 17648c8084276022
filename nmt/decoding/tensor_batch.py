"""The running batch in PyTorch's operations, for any number of rows and any device.

Each step extends every hypothesis of every sentence by one piece, however far each has come. Python
code runs for finished sentences only; everything else is a fixed number of tensor operations.

A sentence is finished when K of its hypotheses are, when no open hypothesis can overtake the
`n_best` best finished ones (an open hypothesis' log probability cannot rise, and its length penalty
is at most that of the longest translation allowed), or at that longest length. In the last case
open hypotheses rank behind all finished ones and are marked `truncated`.

B sentences, K hypotheses of each, R = B * K rows, S longest source, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nmt.config import DecodeConfig
from nmt.decoding.beam import NEVER, Candidates, split
from nmt.decoding.cuda_graphs import fastest_search_step
from nmt.decoding.history import Histories
from nmt.decoding.open_sentence import (
    Finished,
    Hypothesis,
    OpenSentence,
    Request,
    longest_translation,
)
from nmt.decoding.penalties import CoveragePenalty, LengthPenalty, RepetitionGuard
from nmt.decoding.search_step import SearchStep, StepInput
from nmt.model.batch import BOS
from nmt.runtime.state import DecoderState
from nmt.runtime.stepper import Stepper


@dataclass(frozen=True)
class _BeamState:
    """The progress of all sentences. On the CPU."""

    last: Tensor  # (B, K) the last piece of each hypothesis, which is read next
    running: Tensor  # (B, K) log probabilities; -inf where there is no hypothesis
    longest: Tensor  # (B,) most pieces of a translation, EOS included
    repeats: Tensor  # (B,) how often an n-gram may occur
    finished: Tensor  # (B,) finished hypotheses
    threshold: Tensor  # (B,) see OpenSentence.threshold

    @classmethod
    def start(cls, beams: int, longest: Sequence[int], repeats: Sequence[int]) -> _BeamState:
        """The state of sentences that have no pieces yet."""
        sentences = len(longest)
        running = torch.full((sentences, beams), NEVER)
        running[:, 0] = 0.0  # all hypotheses are equal at first: one is enough
        return cls(
            last=torch.full((sentences, beams), BOS),
            running=running,
            longest=torch.tensor(longest, dtype=torch.int64),
            repeats=torch.tensor(repeats, dtype=torch.int64),
            finished=torch.zeros(sentences, dtype=torch.int64),
            threshold=torch.full((sentences,), NEVER),
        )

    def join(self, other: _BeamState) -> _BeamState:
        """The sentences of both, these first."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _BeamState(*(torch.cat(pair) for pair in pairs))

    def select(self, sentences: Tensor) -> _BeamState:
        """Some of the sentences."""
        return _BeamState(*(values[sentences] for values in vars(self).values()))


class TensorBatch:
    """Owns a running batch. Not thread-safe."""

    def __init__(
        self,
        stepper: Stepper,
        decode: DecodeConfig,
        alignments: bool = False,
        search_step: SearchStep | None = None,
    ) -> None:
        """`search_step` performs the steps; None: the fastest one for the model's device."""
        self._search_step = search_step or fastest_search_step(stepper)
        self._decode = decode
        self._beams = decode.beam_size
        self._length_penalty = LengthPenalty(decode.length_penalty)
        self._coverage_penalty = CoveragePenalty(decode.coverage_penalty)
        self._guard = RepetitionGuard(decode.no_repeat_ngram, decode.max_repeats)
        self._sentences: list[OpenSentence] = []
        self._beam_state = _BeamState.start(self._beams, [], [])
        self._histories = Histories(self._beams, alignments)
        self._state: DecoderState | None = None  # None: there are no sentences
        self._rows: Tensor | None = None  # the state's row of each hypothesis; None: its own

    def __len__(self) -> int:
        return len(self._sentences)

    @property
    def ids(self) -> list[Hashable]:
        """The sentences in the batch."""
        return [sentence.request.id for sentence in self._sentences]

    @property
    def longest_source(self) -> int:
        """S: the positions that all sources in the batch are padded to."""
        return 0 if self._state is None else self._state.sources.longest

    @torch.inference_mode()
    def admit(self, requests: Sequence[Request]) -> None:
        """Encode sentences and add them to the batch."""
        if not requests:
            return
        coverage = self._decode.coverage_penalty > 0
        sources = [request.source for request in requests]
        state = self._search_step.start(sources, self._beams, coverage, self._decode.shortlist)
        if self._state is None:
            self._state = state
        else:
            before = self._state if self._rows is None else self._state.reorder(self._rows)
            self._state, self._rows = before.join(state), None
        for request in requests:
            self._sentences.append(OpenSentence.of(request, self._decode))
        new = _BeamState.start(
            self._beams,
            [longest_translation(request, self._decode) for request in requests],
            [self._guard.limit(source) for source in sources],
        )
        self._beam_state = self._beam_state.join(new)
        self._histories.admit(len(requests), self.longest_source)

    @torch.inference_mode()
    def step(self) -> list[Finished]:
        """Extend every hypothesis by one piece → the finished sentences, which leave the batch."""
        if self._state is None:
            return []
        B, K = len(self), self._beams
        beam_state = self._beam_state
        step_input = StepInput(self._rows, beam_state.last, beam_state.running, self._banned())
        outcome = self._search_step(self._state, step_input)
        self._state, self._rows, candidates = outcome.state, None, outcome.candidates
        parts = split(candidates, K)
        self._take_finished(candidates, parts.finished)
        parents = candidates.beams.gather(1, parts.continued)
        pieces = candidates.pieces.gather(1, parts.continued)
        self._beam_state = replace(
            self._beam_state, last=pieces, running=candidates.scores.gather(1, parts.continued)
        )
        self._histories.append(parents, pieces, outcome.attention)
        done = self._done()
        rows = (torch.arange(B)[:, None] * K + parents).flatten()
        leaving = self._leave(done.nonzero()[:, 0], rows)
        if leaving:
            self._keep((~done).nonzero()[:, 0], rows)
        elif K > 1:
            self._rows = rows
        return leaving

    @torch.inference_mode()
    def cancel(self, request_id: Hashable) -> bool:
        """Remove a sentence from the batch; false if it is not in it."""
        ids = self.ids
        if request_id not in ids:
            return False
        place = ids.index(request_id)
        others = torch.tensor([i for i in range(len(ids)) if i != place], dtype=torch.int64)
        rows = torch.arange(len(ids) * self._beams) if self._rows is None else self._rows
        self._keep(others, rows)
        return True

    def _banned(self) -> tuple[Tensor, Tensor] | None:
        if self._guard.size == 0:
            return None
        K = self._beams
        rows, pieces = self._guard.banned(
            self._histories.pieces.flatten(0, 1),
            self._histories.lengths.repeat_interleave(K),
            self._beam_state.repeats.repeat_interleave(K),
        )
        return (rows, pieces) if len(rows) else None

    def _take_finished(self, candidates: Candidates, finished: Tensor) -> None:
        """Keep the hypotheses that end in this step, as they are before its piece."""
        places = finished.nonzero()
        if len(places) == 0:
            return
        sentences, ranks = places[:, 0], places[:, 1]
        beams = candidates.beams[sentences, ranks]
        coverage = self._coverage(sentences * self._beams + beams)
        log_probabilities = candidates.scores[sentences, ranks].tolist()
        for i, beam, log_probability, penalty in zip(
            sentences.tolist(), beams.tolist(), log_probabilities, coverage, strict=True
        ):
            length = int(self._histories.lengths[i]) + 1
            self._sentences[i].add(
                self._hypothesis(i, beam, log_probability, length, penalty, truncated=False)
            )
        self._beam_state = replace(
            self._beam_state,
            finished=self._beam_state.finished + finished.sum(1),
            threshold=torch.tensor([sentence.threshold for sentence in self._sentences]),
        )

    def _done(self) -> Tensor:
        """(B,) whether each sentence is finished."""
        at_end = self._histories.lengths >= self._beam_state.longest
        enough = self._beam_state.finished >= self._beams
        if self._beams == 1:
            return at_end | enough
        penalty = ((5 + self._beam_state.longest) / 6) ** self._length_penalty.alpha
        best_possible = (
            self._beam_state.running.amax(1) / penalty
        )  # the coverage penalty is never positive
        return at_end | enough | (self._beam_state.threshold >= best_possible)

    def _leave(self, places: Tensor, rows: Tensor) -> list[Finished]:
        """The results of some sentences. `rows` (R,) are the rows that this step's hypotheses
        continued."""
        found: list[Finished] = []
        coverage: list[float] = []  # of all their hypotheses, if open ones are needed
        for n, i in enumerate(places.tolist()):
            sentence, K = self._sentences[i], self._beams
            best = sentence.finished[: sentence.n_best]
            missing = sentence.n_best - len(best)
            if missing:
                coverage = coverage or self._coverage(rows.view(-1, K)[places].flatten())
                best = best + self._open_ones(i, coverage[n * K : (n + 1) * K], missing)
            found.append(Finished(sentence.request.id, best))
        return found

    def _open_ones(self, i: int, coverage: Sequence[float], count: int) -> list[Hypothesis]:
        """The best open hypotheses of sentence i, which are truncated here."""
        length = int(self._histories.lengths[i])
        penalty, running = self._length_penalty(length), self._beam_state.running[i].tolist()
        beams = [beam for beam in range(self._beams) if running[beam] > NEVER]
        beams.sort(key=lambda beam: -(running[beam] / penalty + coverage[beam]))
        return [
            self._hypothesis(i, beam, running[beam], length, coverage[beam], truncated=True)
            for beam in beams[:count]
        ]

    def _hypothesis(
        self,
        i: int,
        beam: int,
        log_probability: float,
        length: int,
        coverage: float,
        truncated: bool,
    ) -> Hypothesis:
        alignment = self._histories.alignment(i, beam)
        if alignment is not None:
            assert self._state is not None, "the batch has sentences"
            alignment = alignment[:, : int(self._state.sources.lengths[i])]
        score = log_probability / self._length_penalty(length) + coverage
        pieces = self._histories.written(i, beam)
        return Hypothesis(pieces, score, log_probability, truncated, alignment)

    def _coverage(self, rows: Tensor) -> list[float]:
        """Coverage penalties of hypotheses as they were before this step's piece."""
        assert self._state is not None, "the batch has sentences"
        attended = self._state.attended
        if attended is None:
            return [0.0] * len(rows)
        lengths = self._state.sources.lengths[rows // self._beams].to(attended.device)
        penalties: list[float] = self._coverage_penalty(
            attended[rows.to(attended.device)], lengths
        ).tolist()
        return penalties

    def _keep(self, sentences: Tensor, rows: Tensor) -> None:
        """Remove all other sentences. The hypotheses of these continue `rows` (R,)."""
        assert self._state is not None, "the batch has sentences"
        rows = rows.view(-1, self._beams)[sentences].flatten()
        self._state = self._state.select(sentences, rows) if len(sentences) else None
        self._rows = None
        if self._state is None:
            self._search_step.rest()
        self._histories.select(sentences, self.longest_source)
        self._beam_state = self._beam_state.select(sentences)
        self._sentences = [self._sentences[i] for i in sentences.tolist()]
