"""Warnings about a run that will not get where its user wants it."""

from __future__ import annotations

import logging
from math import log

from nmt.config import TrainConfig
from nmt.corpus.prepare import PreparedData
from nmt.evaluation.tokenizers import bleu_tokenizer
from nmt.rules.check import examine
from nmt.rules.known import read_rule
from nmt.training.scores import Scores

logger = logging.getLogger(__name__)

ZERO = 0.005  # scores below are shown as 0.00
ZEROS = 3  # validations in a row with such a score before the warning
DIVERGED = 2.0  # times the loss of a uniform guess


def notice_blank_lines(data: PreparedData) -> None:
    """Warn of validation sets with blank lines, whose scores mean little."""
    for name, one in data.valid.items():
        for side, lines in (("source", one.source), ("target", one.target)):
            blank = sum(not line.strip() for line in lines)
            if blank:
                logger.warning(
                    "`data.valid.%s` has %d blank lines of %d on its %s side, which makes its "
                    "scores useless for choosing the best model; check the files",
                    name,
                    blank,
                    len(lines),
                    side,
                )


def notice_tokenizer(config: TrainConfig) -> None:
    """Log how BLEU cuts words, unless it is as usual.

    Raises:
        ConfigurationError: the configured tokenizer is not installed.
    """
    (direction,) = config.data.directions
    name = bleu_tokenizer(config.training.bleu_tokenizer, direction.target)
    if name != "13a":
        logger.info(
            "BLEU cuts %s by the tokenizer %s (`training.bleu_tokenizer=%s`)",
            direction.target,
            name,
            config.training.bleu_tokenizer,
        )


def notice_rule(config: TrainConfig) -> None:
    """Warn of an update rule by which nothing will be learned."""
    if config.optimizer.rule is None:
        return
    problem = examine(read_rule(config.optimizer.rule, config.optimizer.betas)).problem()
    if problem is not None:
        logger.warning(
            "`optimizer.rule` (%s) will hardly train anything, since %s",
            config.optimizer.rule,
            problem,
        )


def notice_zeros(config: TrainConfig, scores: Scores, before: int) -> int:
    """Warn once if the score that decides has stayed 0. `before` is the number of validations in a
    row with 0 before this one → the number with it."""
    by = config.training.best_by
    if by.rpartition(".")[2] == "loss" or scores.score(by) >= ZERO:
        return 0
    if before + 1 == ZEROS:
        logger.warning(
            "%s has been 0 in %d validations in a row, so it cannot choose the best model; if the "
            "loss falls, set `training.bleu_tokenizer` to one for the target language, or "
            "`training.best_by=loss`; otherwise check the data",
            by,
            ZEROS,
        )
    return before + 1


def has_diverged(loss: float, vocabulary: int) -> bool:
    """Whether a training loss is far above that of a uniform guess over the vocabulary."""
    return loss > DIVERGED * log(vocabulary)


def notice_divergence(loss: float, step: int, vocabulary: int) -> None:
    """Warn of a training loss far above that of a guess."""
    logger.warning(
        "the training loss is %g at step %d, far above that of a uniform guess over the vocabulary "
        "(%.1f): training has diverged; stop it, and use a lower `optimizer.learning_rate` or "
        "`optimizer.clip_norm`, or a longer `schedule.warmup_steps`, in a new run",
        loss,
        step,
        log(vocabulary),
    )
