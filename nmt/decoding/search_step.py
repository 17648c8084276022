"""One step of the search: the model's step, and the best continuations by it.

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
    """What a step needs to know of the search. All on the CPU."""

    rows: Tensor | None  # (R,) the row of the state that each hypothesis continues; None: its own
    tokens: Tensor  # (B, K) each hypothesis' last token
    running: Tensor  # (B, K) log probabilities; -inf: there is no such hypothesis
    banned: tuple[Tensor, Tensor] | None  # hypotheses (of R) and tokens that they must not write


@dataclass(frozen=True)
class StepOutcome:
    """What a step returns."""

    candidates: Candidates  # on the CPU
    attention: Tensor  # (B, K, S) in fp32, wherever the model is
    state: DecoderState  # the next step may overwrite it


class SearchStep:
    """Steps one running batch."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper

    def __call__(self, state: DecoderState, step_input: StepInput) -> StepOutcome:
        """Extend every hypothesis by one token."""
        if step_input.rows is not None:
            state = state.reorder(step_input.rows)
        result = self._stepper.step(state, step_input.tokens.flatten())
        words, logits = result.state.sources.words, result.logits
        banned = step_input.banned
        if banned is not None:
            rows, tokens = banned
            if words is not None:  # a banned token has been written before, so it is one of them
                tokens = words.places[tokens]
            banned = rows.to(logits.device), tokens.to(logits.device)
        candidates = best_candidates(
            logits.view(*step_input.tokens.shape, -1), step_input.running.to(logits.device), banned
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
        """The batch is empty: release what its steps use to another batch."""
