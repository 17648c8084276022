"""One step of the search: the model's step, and the continuations that are best by it.

B sentences, K hypotheses of each, R = B * K rows, S longest source, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from nmt.decoding.beam import Candidates, best_candidates
from nmt.runtime.state import DecoderState
from nmt.runtime.stepper import Stepper


@dataclass(frozen=True)
class StepInput:
    """What a step reads of the search. All on the CPU."""

    rows: Tensor | None  # (R,) of the state, which each hypothesis goes on from; None: its own
    pieces: Tensor  # (B, K) each hypothesis' last piece
    running: Tensor  # (B, K) log probabilities; -inf: there is no such hypothesis
    banned: tuple[Tensor, Tensor] | None  # hypotheses (of R) and pieces that they must not write


@dataclass(frozen=True)
class StepOutcome:
    """What a step gave."""

    candidates: Candidates  # on the CPU
    attention: Tensor  # (B, K, S) in fp32, wherever the model is
    state: DecoderState  # may be written over by the next step


class SearchStep:
    """Steps of one running batch."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper

    def __call__(self, state: DecoderState, step_input: StepInput) -> StepOutcome:
        """One piece more of every hypothesis."""
        if step_input.rows is not None:
            state = state.reorder(step_input.rows)
        result = self._stepper.step(state, step_input.pieces.flatten())
        words, logits = result.state.sources.words, result.logits
        banned = step_input.banned
        if banned is not None:
            rows, pieces = banned
            if words is not None:  # a piece that is banned has been written, so it is among them
                pieces = words.places[pieces]
            banned = rows.to(logits.device), pieces.to(logits.device)
        candidates = best_candidates(
            logits.view(*step_input.pieces.shape, -1), step_input.running.to(logits.device), banned
        ).to("cpu")
        if words is not None:
            candidates = replace(candidates, pieces=words.ids[candidates.pieces])
        return StepOutcome(candidates, result.attention, result.state)

    def start(
        self, sources: Sequence[Sequence[int]], beams: int, coverage: bool, narrow: bool
    ) -> DecoderState:
        """See `Stepper.start`."""
        return self._stepper.start(sources, beams, coverage, narrow)

    def rest(self) -> None:
        """The batch is empty: what is kept for its steps may serve another one."""
