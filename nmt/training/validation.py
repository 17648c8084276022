"""Scoring a model during training exactly as its users will run it: from a model folder."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from torch import Tensor

from nmt.config import BleuTokenizer, TrainConfig
from nmt.corpus.batching import ordered_batches
from nmt.corpus.prepare import PreparedData, ValidationSet
from nmt.decoding.translator import Translator
from nmt.evaluation import bleu
from nmt.evaluation.tokenizers import bleu_tokenizer
from nmt.model.batch import Batch
from nmt.model.folder import CARD, VOCABULARY, ModelDescription, replace_folder, write_model_folder
from nmt.parallel.executor import Executor
from nmt.training.card import model_card
from nmt.training.checkpoint import Progress
from nmt.training.scores import Scores, SetScores

VALIDATION_ROWS = 64  # sentence pairs in a batch for the validation loss


@dataclass(frozen=True)
class Candidate:
    """A model folder that may become the run's best. Its name is new each time: on a network file
    system, another machine might still see an earlier folder under the same name."""

    folder: Path
    parameters: int  # their number


def validation_batches(validation_set: ValidationSet) -> Iterator[Batch]:
    """A whole validation set, for its loss."""
    pairs = validation_set.source_ids, validation_set.target_ids
    for rows in ordered_batches(*pairs, VALIDATION_ROWS):
        yield Batch.from_rows(rows.source, rows.target)


def write_candidate(
    config: TrainConfig,
    data: PreparedData,
    description: ModelDescription,
    weights: Mapping[str, Tensor],
) -> Candidate:
    """Write a candidate, without its card, in the run's folder, and delete what an interrupted
    validation has left there."""
    config.folder.mkdir(parents=True, exist_ok=True)
    for earlier in config.folder.glob("candidate-*"):
        shutil.rmtree(earlier)
    vocabulary = config.folder / VOCABULARY
    data.vocabulary.save(vocabulary)
    folder = config.folder / f"candidate-{secrets.token_hex(4)}"
    write_model_folder(folder, description, weights, vocabulary, card="")
    return Candidate(folder, sum(weight.numel() for weight in weights.values()))


def validation_losses(executor: Executor, data: PreparedData) -> dict[str, float]:
    """The loss of the executor's weights on each whole validation set."""
    return {
        name: executor.validation_loss(validation_batches(validation_set))
        for name, validation_set in data.valid.items()
    }


def translate_sets(
    candidate: Candidate, config: TrainConfig, data: PreparedData, executor: Executor
) -> dict[str, list[str]]:
    """Translate the first sentences of each validation set → the translations, by the set's name,
    on the main process. Every process reads the candidate's folder and translates its share.

    Raises:
        NmtError: what any process raised, on all of them.
    """

    def translate(texts: Sequence[str]) -> list[str]:
        translator = Translator.load(candidate.folder, device=config.parallel.device)
        return [translation.text for translation in translator.translate(texts, config.decode)]

    count = config.training.validate_sentences
    if count == 0:
        return {name: [] for name in data.valid}
    sources = {name: validation_set.source[:count] for name, validation_set in data.valid.items()}
    everything = [text for texts in sources.values() for text in texts]
    translations = iter(executor.distribute(everything, translate))
    return {name: list(islice(translations, len(texts))) for name, texts in sources.items()}


def score_sets(
    data: PreparedData,
    losses: Mapping[str, float],
    translations: Mapping[str, Sequence[str]],
    tokenizer: BleuTokenizer = "auto",
) -> Scores:
    """Score the translations of each validation set. `tokenizer` is the setting of BLEU's."""
    sets: dict[str, SetScores] = {}
    signatures: dict[str, str] = {}
    for name, validation_set in data.valid.items():
        hypotheses = translations[name]
        if not hypotheses:
            sets[name] = SetScores(validation_set.direction.code, 0, losses[name])
            continue
        references = validation_set.target[: len(hypotheses)]
        scores = bleu.score(
            hypotheses,
            references,
            bootstrap=0,
            seed=0,
            metrics=("bleu", "chrf"),
            tokenizer=bleu_tokenizer(tokenizer, validation_set.direction.target),
        )
        signatures = {metric: score.signature for metric, score in scores.items()}
        sets[name] = SetScores(
            direction=validation_set.direction.code,
            sentences=len(hypotheses),
            loss=losses[name],
            bleu=scores["bleu"].score,
            chrf=scores["chrf"].score,
        )
    return Scores(sets, signatures.get("bleu"), signatures.get("chrf"))


def discard(candidate: Candidate) -> None:
    """Delete a candidate that is not the best model."""
    shutil.rmtree(candidate.folder)


def publish(
    candidate: Candidate,
    config: TrainConfig,
    data: PreparedData,
    scores: Scores,
    progress: Progress,
) -> None:
    """Write the candidate's card, and make it the run's best model."""
    card = model_card(config, data, candidate.parameters, progress, scores)
    (candidate.folder / CARD).write_text(card, encoding="utf-8")
    best = config.folder / "best"
    replace_folder(candidate.folder, best, best.with_name("best.old"))
