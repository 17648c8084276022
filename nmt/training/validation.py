"""Scoring a model during training exactly as its users will run it: from a model folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nmt.config import TrainConfig
from nmt.corpus.batching import ordered_batches
from nmt.corpus.prepare import PreparedData, ValidationSet
from nmt.decoding.translator import Translator
from nmt.evaluation import bleu
from nmt.model.batch import Batch
from nmt.model.folder import CARD, VOCABULARY, ModelDescription, replace_folder, write_model_folder
from nmt.parallel.local import mean_loss
from nmt.training.card import model_card
from nmt.training.checkpoint import Progress
from nmt.training.loss import SmoothedCrossEntropy
from nmt.training.scores import Scores, SetScores

VALIDATION_ROWS = 64  # sentence pairs in a batch for the validation loss


@dataclass(frozen=True)
class Candidate:
    """Weights that may become the best model."""

    config: TrainConfig
    data: PreparedData
    description: ModelDescription
    weights: Mapping[str, Tensor]

    @property
    def folder(self) -> Path:
        """Where it is until it is published or discarded."""
        return self.config.folder / "candidate"


def validation_batches(validation_set: ValidationSet) -> Iterator[Batch]:
    """A whole validation set, for its loss."""
    pairs = validation_set.source_ids, validation_set.target_ids
    for rows in ordered_batches(*pairs, VALIDATION_ROWS):
        yield Batch.from_rows(rows.source, rows.target)


def score_candidate(candidate: Candidate, losses: Mapping[str, float] | None) -> Scores:
    """Write the candidate's folder, translate the first sentences of each validation set with it,
    and score. `losses` are its weights' on each set, or None where no executor has these weights,
    as with averages."""
    config, data = candidate.config, candidate.data
    config.folder.mkdir(parents=True, exist_ok=True)
    vocabulary = config.folder / VOCABULARY
    data.vocabulary.save(vocabulary)
    write_model_folder(
        candidate.folder, candidate.description, candidate.weights, vocabulary, card=""
    )
    if losses is None:
        losses = _losses_of(candidate)
    translator = Translator.load(candidate.folder, device=config.parallel.device)
    sets, signatures = {}, {}
    for name, validation_set in data.valid.items():
        scores = _translation_scores(translator, validation_set, config)
        signatures = {metric: score.signature for metric, score in scores.items()}
        sets[name] = SetScores(
            direction=validation_set.direction.code,
            sentences=min(len(validation_set), config.training.validate_sentences),
            loss=losses[name],
            bleu=scores["bleu"].score,
            chrf=scores["chrf"].score,
        )
    return Scores(sets, signatures["bleu"], signatures["chrf"])


def _translation_scores(
    translator: Translator, validation_set: ValidationSet, config: TrainConfig
) -> bleu.Scores:
    count = config.training.validate_sentences
    translations = translator.translate(validation_set.source[:count], config.decode)
    hypotheses = [translation.text for translation in translations]
    references = validation_set.target[:count]
    return bleu.score(hypotheses, references, bootstrap=0, seed=0, metrics=("bleu", "chrf"))


def _losses_of(candidate: Candidate) -> dict[str, float]:
    """On each whole validation set, in this process."""
    config = candidate.config
    cuda = config.parallel.device != "cpu" and torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    graph = candidate.description.graph()
    stack = graph.build(graph.names, seed=0)
    stack.load(candidate.weights)
    stack.to(device)
    loss = SmoothedCrossEntropy(config.training.label_smoothing)
    return {
        name: mean_loss(stack, validation_batches(validation_set), loss, device)
        for name, validation_set in candidate.data.valid.items()
    }


def discard(candidate: Candidate) -> None:
    """Delete a candidate that is not the best model."""
    shutil.rmtree(candidate.folder)


def publish(candidate: Candidate, scores: Scores, progress: Progress, seconds: float) -> None:
    """Make the candidate the run's best model."""
    progress = Progress(**{**vars(progress), "seconds": seconds})
    parameters = sum(weight.numel() for weight in candidate.weights.values())
    card = model_card(candidate.config, candidate.data, parameters, progress, scores)
    (candidate.folder / CARD).write_text(card, encoding="utf-8")
    best = candidate.config.folder / "best"
    replace_folder(candidate.folder, best, best.with_name("best.old"))
