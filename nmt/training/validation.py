"""Scoring a model during training exactly as its users will run it: from a model folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from torch import Tensor

from nmt.config import TrainConfig
from nmt.corpus.batching import ordered_batches
from nmt.corpus.prepare import PreparedData, ValidationSet
from nmt.decoding.translator import Translator
from nmt.evaluation import bleu
from nmt.model.batch import Batch
from nmt.model.folder import CARD, VOCABULARY, ModelDescription, replace_folder, write_model_folder
from nmt.parallel.executor import Executor
from nmt.training.card import model_card
from nmt.training.checkpoint import Progress
from nmt.training.scores import Scores, SetScores

VALIDATION_ROWS = 64  # sentence pairs in a batch for the validation loss


@dataclass(frozen=True)
class Candidate:
    """A model that may become the run's best."""

    config: TrainConfig
    data: PreparedData
    description: ModelDescription

    @property
    def folder(self) -> Path:
        """Where it is until it is published or discarded."""
        return self.config.folder / "candidate"


def validation_batches(validation_set: ValidationSet) -> Iterator[Batch]:
    """A whole validation set, for its loss."""
    pairs = validation_set.source_ids, validation_set.target_ids
    for rows in ordered_batches(*pairs, VALIDATION_ROWS):
        yield Batch.from_rows(rows.source, rows.target)


def write_candidate(candidate: Candidate, weights: Mapping[str, Tensor]) -> int:
    """Write the candidate's folder, without its card → the number of parameters."""
    folder = candidate.config.folder
    folder.mkdir(parents=True, exist_ok=True)
    candidate.data.vocabulary.save(folder / VOCABULARY)
    write_model_folder(
        candidate.folder, candidate.description, weights, folder / VOCABULARY, card=""
    )
    return sum(weight.numel() for weight in weights.values())


def validation_losses(executor: Executor, data: PreparedData) -> dict[str, float]:
    """The loss of the executor's weights on each whole validation set."""
    return {
        name: executor.validation_loss(validation_batches(validation_set))
        for name, validation_set in data.valid.items()
    }


def translate_sets(candidate: Candidate, executor: Executor) -> dict[str, list[str]]:
    """Translate the first sentences of each validation set → the translations, by the set's name,
    on the main process. Every process reads the candidate's folder and translates its share.

    Raises:
        NmtError: what any process raised, on all of them.
    """
    count = candidate.config.training.validate_sentences
    sources = {name: found.source[:count] for name, found in candidate.data.valid.items()}
    everything = [text for texts in sources.values() for text in texts]
    translations = iter(executor.distribute(everything, partial(_translate, candidate)))
    return {name: list(islice(translations, len(texts))) for name, texts in sources.items()}


def _translate(candidate: Candidate, texts: Sequence[str]) -> list[str]:
    config = candidate.config
    translator = Translator.load(candidate.folder, device=config.parallel.device)
    return [translation.text for translation in translator.translate(texts, config.decode)]


def score_candidate(
    candidate: Candidate, losses: Mapping[str, float], translations: Mapping[str, Sequence[str]]
) -> Scores:
    """Score the translations of each validation set."""
    sets, signatures = {}, {}
    for name, validation_set in candidate.data.valid.items():
        hypotheses = translations[name]
        references = validation_set.target[: len(hypotheses)]
        scores = bleu.score(hypotheses, references, bootstrap=0, seed=0, metrics=("bleu", "chrf"))
        signatures = {metric: score.signature for metric, score in scores.items()}
        sets[name] = SetScores(
            direction=validation_set.direction.code,
            sentences=len(hypotheses),
            loss=losses[name],
            bleu=scores["bleu"].score,
            chrf=scores["chrf"].score,
        )
    return Scores(sets, signatures["bleu"], signatures["chrf"])


def discard(candidate: Candidate) -> None:
    """Delete a candidate that is not the best model."""
    shutil.rmtree(candidate.folder)


def publish(candidate: Candidate, parameters: int, scores: Scores, progress: Progress) -> None:
    """Write the card of the candidate, which has so many parameters, and make it the run's best
    model."""
    card = model_card(candidate.config, candidate.data, parameters, progress, scores)
    (candidate.folder / CARD).write_text(card, encoding="utf-8")
    best = candidate.config.folder / "best"
    replace_folder(candidate.folder, best, best.with_name("best.old"))
