"""Scoring a model while it is trained, exactly as its user will meet it: as a model folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from nmt.config import TrainConfig
from nmt.corpus.batching import ordered_batches
from nmt.corpus.prepare import PreparedData
from nmt.decoding.translator import Translator
from nmt.evaluation.bleu import score
from nmt.model.batch import Batch
from nmt.model.folder import CARD, VOCABULARY, ModelDescription, replace_folder, write_model_folder
from nmt.parallel.local import mean_loss
from nmt.training.card import model_card
from nmt.training.checkpoint import Progress
from nmt.training.loss import SmoothedCrossEntropy

VALIDATION_ROWS = 64  # sentences of a batch for the validation loss


@dataclass(frozen=True)
class Candidate:
    """Weights that may become the best model."""

    config: TrainConfig
    data: PreparedData
    description: ModelDescription
    weights: Mapping[str, Tensor]

    @property
    def folder(self) -> Path:
        """Where it is until it is published or replaced by the next one."""
        return self.config.folder / "candidate"


@dataclass(frozen=True)
class Scores:
    """One validation."""

    loss: float  # mean of a target token; smoothed as in training
    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str
    sentences: int

    def quality(self, by: str) -> float:
        """The number by which models are compared; more is better."""
        return {"bleu": self.bleu, "chrf": self.chrf, "loss": -self.loss}[by]

    def as_dict(self) -> dict[str, float | str]:
        """For metrics.jsonl and the model card."""
        return asdict(self)


def validation_batches(data: PreparedData) -> Iterator[Batch]:
    """The validation set for its loss."""
    for rows in ordered_batches(data.valid_source_ids, data.valid_target_ids, VALIDATION_ROWS):
        yield Batch.from_rows(rows.source, rows.target)


def score_candidate(candidate: Candidate, loss: float | None) -> Scores:
    """Write the candidate's folder, translate a part of the validation set with it, and score.
    `loss` is that of its weights, or None where no executor has them: averages."""
    config, data = candidate.config, candidate.data
    config.folder.mkdir(parents=True, exist_ok=True)
    vocabulary = config.folder / VOCABULARY
    data.vocabulary.save(vocabulary)
    write_model_folder(
        candidate.folder, candidate.description, candidate.weights, vocabulary, card=""
    )
    if loss is None:
        loss = _loss_of(candidate)
    count = config.training.validate_sentences
    translator = Translator.load(candidate.folder, device=config.parallel.device)
    translations = translator.translate(data.valid_source[:count], config.decode)
    hypotheses = [translation.text for translation in translations]
    scores = score(
        hypotheses, data.valid_target[:count], bootstrap=0, seed=0, metrics=("bleu", "chrf")
    )
    return Scores(
        loss,
        scores["bleu"].score,
        scores["chrf"].score,
        scores["bleu"].signature,
        scores["chrf"].signature,
        len(hypotheses),
    )


def _loss_of(candidate: Candidate) -> float:
    """On the whole validation set, in this process."""
    config = candidate.config
    cuda = config.parallel.device != "cpu" and torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    graph = candidate.description.graph()
    stack = graph.build(graph.names, seed=0)
    stack.load(candidate.weights)
    loss = SmoothedCrossEntropy(config.training.label_smoothing)
    return mean_loss(stack.to(device), validation_batches(candidate.data), loss, device)


def discard(candidate: Candidate) -> None:
    """Another model stays the best."""
    shutil.rmtree(candidate.folder)


def publish(candidate: Candidate, scores: Scores, progress: Progress, seconds: float) -> None:
    """Make the candidate the run's best model."""
    progress = Progress(**{**vars(progress), "seconds": seconds})
    parameters = sum(weight.numel() for weight in candidate.weights.values())
    card = model_card(candidate.config, candidate.data, parameters, progress, scores.as_dict())
    (candidate.folder / CARD).write_text(card, encoding="utf-8")
    best = candidate.config.folder / "best"
    replace_folder(candidate.folder, best, best.with_name("best.old"))
