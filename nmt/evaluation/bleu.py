"""Corpus and sentence scores by sacreBLEU, with reproducible bootstrap intervals.

If the hypotheses and references differ in number, sacreBLEU silently ignores the surplus lines, and
it crashes if there are none; both are errors here. Hypotheses and references are plain text,
detokenised and cased.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics.bleu import BLEU, BLEUScore
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from nmt.errors import InputError

Metric = BLEU | CHRF | TER

# Makers of the metrics, given BLEU's tokenizer.
METRICS: dict[str, Callable[[str], Metric]] = {
    "bleu": lambda tokenizer: BLEU(tokenize=tokenizer),
    # The closest to papers that report lower-cased, tokenised BLEU (Multi30k, IWSLT 2014). Their
    # figures come from tokenised files and another script, and cannot be compared directly.
    "bleu_lowercase": lambda tokenizer: BLEU(tokenize=tokenizer, lowercase=True, force=True),
    "chrf": lambda _: CHRF(),
    "ter": lambda _: TER(),  # lower is better
}
LABELS = {"bleu": "BLEU", "bleu_lowercase": "BLEU, lower-cased", "chrf": "chrF2", "ter": "TER"}
ALL = tuple(METRICS)


@dataclass(frozen=True)
class BleuParts:
    """What a BLEU score is made of. It is the brevity penalty times the geometric mean of the
    precisions."""

    brevity_penalty: float
    length_ratio: float  # words of the hypotheses over those of the references
    hypothesis_words: int
    reference_words: int
    precisions: tuple[float, ...]  # of 1-, 2-, 3- and 4-grams, in percent

    def __str__(self) -> str:
        precisions = " / ".join(f"{value:.1f}" for value in self.precisions)
        return (
            f"brevity penalty {self.brevity_penalty:.3f}, length ratio {self.length_ratio:.3f} "
            f"({self.hypothesis_words} / {self.reference_words} words), 1- to 4-gram precisions "
            f"{precisions}"
        )


@dataclass(frozen=True)
class Score:
    """The score of a whole test set by one metric, in percent."""

    score: float
    interval: tuple[float, float] | None  # 95% bootstrap interval; None without resamples
    signature: str  # sacreBLEU's signature, which says how to reproduce the score
    parts: BleuParts | None = None  # of BLEU; None for other metrics


Scores = dict[str, Score]


@dataclass(frozen=True)
class SentenceScore:
    """Scores of one sentence, in percent. BLEU is smoothed and uses the effective order."""

    bleu: float
    chrf: float


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    bootstrap: int,
    seed: int,
    metrics: Sequence[str] = ALL,
    tokenizer: str = "13a",
) -> Scores:
    """Score a corpus by each of `metrics` (names of `METRICS`). `tokenizer` is BLEU's, see
    `nmt.evaluation.tokenizers`.

    With `bootstrap` > 0, that many resamples of the sentences give a 95% percentile interval. They
    are the same for all metrics, and the same as those of `sacrebleu -m … --confidence` with
    `SACREBLEU_SEED` set to `seed`; sacreBLEU prints half the width of the interval.

    Raises:
        InputError: the numbers of lines differ, or there are no lines.
    """
    check_lengths(len(hypotheses), len(references))
    return {
        name: _score(METRICS[name](tokenizer), hypotheses, references, bootstrap, seed)
        for name in metrics
    }


def sentence_scores(
    hypotheses: Sequence[str], references: Sequence[str], tokenizer: str = "13a"
) -> list[SentenceScore]:
    """Score each sentence, to find examples; not suitable for comparing systems."""
    check_lengths(len(hypotheses), len(references))
    bleu, chrf = BLEU(tokenize=tokenizer, effective_order=True, force=True), CHRF()
    return [
        SentenceScore(
            float(bleu.sentence_score(hypothesis, [reference]).score),
            float(chrf.sentence_score(hypothesis, [reference]).score),
        )
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]


def check_lengths(hypotheses: int, references: int) -> None:
    """Check that there are as many hypotheses as references, and at least one.

    Raises:
        InputError: the numbers differ, or are 0.
    """
    if hypotheses != references:
        raise InputError(
            f"The hypotheses must have as many lines as the references ({references}), "
            f"but have {hypotheses} instead; line i of both must be a translation of the same "
            "sentence."
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
    # gigabytes for a large test set, and reads its seed from the environment only. Therefore its
    # private functions are called here.
    statistics = metric._extract_corpus_statistics(hypotheses, [references])
    interval = None
    if bootstrap:
        interval = _interval(metric, np.array(statistics, dtype=np.float64), bootstrap, seed)
        metric.n_bootstrap, metric.seed = bootstrap, str(seed)  # for the signature
    found = metric._aggregate_and_compute(statistics)
    parts = _parts(found) if isinstance(found, BLEUScore) else None
    return Score(float(found.score), interval, str(metric.get_signature()), parts)


def _parts(found: BLEUScore) -> BleuParts:
    return BleuParts(
        brevity_penalty=float(found.bp),
        length_ratio=float(found.ratio),
        hypothesis_words=int(found.sys_len),
        reference_words=int(found.ref_len),
        precisions=tuple(map(float, found.precisions)),
    )


def _interval(
    metric: Metric, statistics: np.ndarray, bootstrap: int, seed: int
) -> tuple[float, float]:
    """The 2.5% and 97.5% percentiles of the scores of the resamples. `statistics` is (sentences,
    counts)."""
    rng, sentences = np.random.default_rng(seed), len(statistics)
    resampled = sorted(
        float(metric._compute_score_from_stats(statistics[sample].sum(0)).score)
        for sample in (rng.choice(sentences, size=sentences) for _ in range(bootstrap))
    )
    tail = bootstrap // 40
    return resampled[tail], resampled[-1 - tail]
