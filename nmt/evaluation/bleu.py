"""Corpus and sentence scores by sacreBLEU, with bootstrap intervals that depend on a seed alone.

sacreBLEU silently scores only as many lines as the shorter side has, and fails on no lines at all;
both are errors here. Hypotheses and references are plain text: detokenised and cased.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from nmt.errors import InputError

Metric = BLEU | CHRF | TER

METRICS: dict[str, Callable[[], Metric]] = {
    "bleu": lambda: BLEU(tokenize="13a"),
    # The closest to papers that lower-case and tokenise (Multi30k, IWSLT 2014). Their figures come
    # from tokenised files and another script, and cannot be compared directly.
    "bleu_lowercase": lambda: BLEU(tokenize="13a", lowercase=True, force=True),
    "chrf": lambda: CHRF(),
    "ter": lambda: TER(),  # lower is better
}
LABELS = {"bleu": "BLEU", "bleu_lowercase": "BLEU, lower-cased", "chrf": "chrF2", "ter": "TER"}
ALL = tuple(METRICS)


@dataclass(frozen=True)
class Score:
    """A metric over a whole test set, in percent."""

    score: float
    interval: tuple[float, float] | None  # 95%, by bootstrap; None if there were no resamples
    signature: str  # sacreBLEU's, which describes how to reproduce the number


Scores = dict[str, Score]


@dataclass(frozen=True)
class SentenceScore:
    """Scores of a sentence, in percent. BLEU is smoothed, with effective order."""

    bleu: float
    chrf: float


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    bootstrap: int,
    seed: int,
    metrics: Sequence[str] = ALL,
) -> Scores:
    """Each of `metrics` (names of `METRICS`) over the corpus, by name.

    With `bootstrap` > 0, that many resamples of the sentences give a 95% percentile interval. They
    are the same for all metrics, and the same that `sacrebleu -m … --confidence` draws with
    `SACREBLEU_SEED` set to `seed`; sacreBLEU prints half the width of the interval.

    Raises:
        InputError: different numbers of lines, or none.
    """
    check_lengths(len(hypotheses), len(references))
    return {
        name: _score(METRICS[name](), hypotheses, references, bootstrap, seed) for name in metrics
    }


def sentence_scores(hypotheses: Sequence[str], references: Sequence[str]) -> list[SentenceScore]:
    """Scores of each sentence: for finding examples, not for comparing systems."""
    check_lengths(len(hypotheses), len(references))
    bleu, chrf = BLEU(tokenize="13a", effective_order=True, force=True), CHRF()
    return [
        SentenceScore(
            float(bleu.sentence_score(hypothesis, [reference]).score),
            float(chrf.sentence_score(hypothesis, [reference]).score),
        )
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]


def check_lengths(hypotheses: int, references: int) -> None:
    """Raise InputError unless both sides have the same number of lines, and more than none."""
    if hypotheses != references:
        raise InputError(
            f"The hypotheses must have as many lines as the references ({references}), "
            f"but have {hypotheses} instead; line i of one must translate what line i of the "
            "other does."
        )
    if not references:
        raise InputError(
            "There must be at least one line to score, but both the hypotheses and the references "
            "are empty instead; check the files."
        )


def _score(
    metric: Metric,
    hypotheses: Sequence[str],
    references: Sequence[str],
    bootstrap: int,
    seed: int,
) -> Score:
    # sacreBLEU's own bootstrap holds resamples × sentences × statistics numbers in memory, which is
    # gigabytes for a large test set, and takes its seed only from the environment. So we use parts.
    statistics = metric._extract_corpus_statistics(hypotheses, [references])
    interval = None
    if bootstrap:
        interval = _interval(metric, np.array(statistics, dtype=np.float64), bootstrap, seed)
        metric.n_bootstrap, metric.seed = bootstrap, str(seed)  # for the signature
    value = float(metric._aggregate_and_compute(statistics).score)
    return Score(value, interval, str(metric.get_signature()))


def _interval(
    metric: Metric, statistics: np.ndarray, bootstrap: int, seed: int
) -> tuple[float, float]:
    """`statistics`: sentences × counts. The 2.5% and 97.5% points of the resampled scores."""
    random, sentences = np.random.default_rng(seed), len(statistics)
    resampled = sorted(
        float(metric._compute_score_from_stats(statistics[sample].sum(0)).score)
        for sample in (random.choice(sentences, size=sentences) for _ in range(bootstrap))
    )
    tail = bootstrap // 40
    return resampled[tail], resampled[-1 - tail]
