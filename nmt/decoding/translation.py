"""Texts, pieces and translations of a model whose weights may be in another process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nmt.config import Direction
from nmt.corpus.vocabulary import Vocabulary
from nmt.decoding.engine import Hypothesis
from nmt.errors import ModelFolderError
from nmt.model.folder import VOCABULARY, ModelDescription
from nmt.text.document import Splitter
from nmt.text.reinsertion import AlignedText

# Most pieces of a segment when a text is split, for models that do not tell what they were trained
# on.
LONGEST = 100
WORD_BEGINS = "\u2581"  # SentencePiece's mark


@dataclass(frozen=True)
class Alternative:
    """Another translation of the same text."""

    text: str
    score: float
    log_probability: float
    tokens: list[str]
    truncated: bool


@dataclass(frozen=True)
class Translation:
    """The best translation of one text."""

    text: str
    score: float  # log probability with length and coverage penalties; higher is better
    log_probability: float
    tokens: list[str]  # pieces of the translation
    source_tokens: list[str]  # pieces of the source
    # Attention of each of `tokens` to `source_tokens`, (T, S), if asked for. Rows sum to at most 1:
    # the rest is attention to the end of the source.
    alignment: np.ndarray | None = field(compare=False)
    alternatives: list[Alternative]  # the next best of `n_best`, without this one
    truncated: bool  # it reached the greatest length allowed
    # How many parts a source that is too long for the model was translated in. Their translations
    # are joined: tokens one after the other, an alignment in blocks, and no alternatives. What is
    # between parts (white space, symbols without a letter) is in `text` alone.
    parts: int = 1

    def pharaoh(self) -> str:
        """The alignment as fast_align and Marian write it: pairs of a source word and a target
        word, from 0, such as `0-0 1-2`. Each piece of the translation is aligned with the piece
        that it attends to most, and words are aligned where any of their pieces are."""
        assert self.alignment is not None, "alignments were asked for"
        if not self.alignment.size:
            return ""
        source, target = _word_of_pieces(self.source_tokens), _word_of_pieces(self.tokens)
        pairs = {(source[int(s)], target[t]) for t, s in enumerate(self.alignment.argmax(1))}
        return " ".join(f"{s}-{t}" for s, t in sorted(pairs))


def _word_of_pieces(pieces: Sequence[str]) -> list[int]:
    """The number of the word that each piece belongs to. SentencePiece marks where words begin; a
    mark alone belongs to the word that comes next, or at the end to the last."""
    words, word, inside = [], -1, False
    for piece in pieces:
        inside = inside and not piece.startswith(WORD_BEGINS)
        if not inside and piece != WORD_BEGINS:
            word, inside = word + 1, True
        words.append(word if inside else word + 1)
    return [max(0, min(number, word)) for number in words]


class TextCodec:
    """The directions and the vocabulary of a model: how texts become pieces, and pieces texts."""

    def __init__(self, description: ModelDescription, vocabulary: Vocabulary) -> None:
        """See `load_vocabulary`."""
        self.description = description
        self.vocabulary = vocabulary

    @property
    def directions(self) -> list[Direction]:
        """What the model translates."""
        return self.description.directions

    @property
    def longest_source(self) -> int:
        """Pieces of the longest source that the model was trained on."""
        return self.description.longest_source or LONGEST

    def splitter(self, direction: Direction, longest: int | None = None) -> Splitter:
        """How texts of a direction's source language are split into segments of at most so many
        pieces; None: `longest_source`."""
        return Splitter(direction.source, self.vocabulary.count, longest or self.longest_source)

    def translation(self, source: Sequence[int], hypotheses: list[Hypothesis]) -> Translation:
        """The translation of a source, from its hypotheses, the best first.

        Raises:
            ModelFolderError: there are none, since the model's weights are not finite.
        """
        if not hypotheses:
            raise ModelFolderError(
                "The model's scores must be numbers, but are not: its training has diverged."
            )
        best, *others = [self._alternative(hypothesis) for hypothesis in hypotheses]
        alignment = hypotheses[0].alignment
        return Translation(
            text=best.text,
            score=best.score,
            log_probability=best.log_probability,
            tokens=best.tokens,
            source_tokens=self.vocabulary.pieces(source),
            alignment=None if alignment is None else alignment[:, :-1].numpy(force=True).copy(),
            alternatives=others,
            truncated=best.truncated,
        )

    def _alternative(self, hypothesis: Hypothesis) -> Alternative:
        return Alternative(
            text=self.vocabulary.decode(hypothesis.pieces),
            score=hypothesis.score,
            log_probability=hypothesis.log_probability,
            tokens=self.vocabulary.pieces(hypothesis.pieces),
            truncated=hypothesis.truncated,
        )


def load_vocabulary(folder: Path, description: ModelDescription) -> Vocabulary:
    """The vocabulary of a model folder.

    Raises:
        ModelFolderError: it is missing, or not for this model.
    """
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    if len(vocabulary) != description.vocabulary_size:
        raise ModelFolderError(
            f"`{folder / VOCABULARY}` must have {description.vocabulary_size} pieces, as the "
            f"model, but has {len(vocabulary)} instead; get the folder again."
        )
    return vocabulary


def aligned_text(one: Translation | Alternative, best: Translation | None = None) -> AlignedText:
    """A translation with what is needed to put markup back into it. Alternatives have no alignment:
    their words count as spread evenly over the source of the `best` translation."""
    if isinstance(one, Translation):
        return AlignedText(one.text, one.tokens, one.source_tokens, one.alignment)
    assert best is not None, "an alternative is one of a translation"
    return AlignedText(one.text, one.tokens, best.source_tokens, None)
