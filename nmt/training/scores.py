"""The scores of a validation: those of each validation set, and their means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import exp
from statistics import fmean

from nmt.config import VALIDATION_METRICS


def perplexity_of(loss: float) -> float:
    """The perplexity of a mean cross-entropy, bounded so that it stays a finite number."""
    return exp(min(loss, 700.0))


@dataclass(frozen=True)
class SetScores:
    """Scores of one validation set."""

    direction: str  # code, such as en-de
    sentences: int  # number of sentences that were translated
    loss: float  # mean per target token over the whole set: cross-entropy, without label smoothing
    bleu: float | None = None  # None: nothing was translated
    chrf: float | None = None

    @property
    def perplexity(self) -> float:
        """Of a target token."""
        return perplexity_of(self.loss)

    def as_values(self) -> dict[str, float | int | str]:
        """The scores by name."""
        return {**asdict(self), "perplexity": self.perplexity}


@dataclass(frozen=True)
class Scores:
    """The scores of one validation."""

    sets: Mapping[str, SetScores]  # by name of the validation set
    bleu_signature: str | None  # None: nothing was translated
    chrf_signature: str | None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that there are."""
        return VALIDATION_METRICS if self.bleu_signature else ("loss",)

    def score(self, name: str) -> float:
        """A score by its name in metrics.jsonl: `NAME.bleu` is that of one set, `bleu` the mean
        over all sets. One of `metrics`."""
        set_name, _, metric = name.rpartition(".")
        chosen = [self.sets[set_name]] if set_name else list(self.sets.values())
        return fmean(getattr(set_scores, metric) for set_scores in chosen)

    def quality(self, by: str) -> float:
        """The score `by`, negated if it is a loss, so that more is always better."""
        return -self.score(by) if by.rpartition(".")[2] == "loss" else self.score(by)

    @property
    def perplexity(self) -> float:
        """That of the mean loss."""
        return perplexity_of(self.score("loss"))

    def as_metrics(self) -> dict[str, float | int | str]:
        """Values for metrics.jsonl: the means over all sets, then the scores of each set."""
        values: dict[str, float | int | str] = {name: self.score(name) for name in self.metrics}
        values["perplexity"] = self.perplexity
        for name, scores in self.sets.items():
            values |= {
                f"{name}.{metric}": self.score(f"{name}.{metric}") for metric in self.metrics
            }
            values[f"{name}.perplexity"] = scores.perplexity
            values[f"{name}.sentences"] = scores.sentences
        if self.bleu_signature and self.chrf_signature:
            values["bleu_signature"] = self.bleu_signature
            values["chrf_signature"] = self.chrf_signature
        return values

    def __str__(self) -> str:
        """The means as text for the log, with the BLEU of each set if there are several."""
        text = f"loss {self.score('loss'):.3f}, perplexity {self.perplexity:.2f}"
        if not self.bleu_signature:
            return text
        text += f", BLEU {self.score('bleu'):.2f}, chrF {self.score('chrf'):.2f}"
        if len(self.sets) == 1:
            return text
        return f"{text} (BLEU {', '.join(f'{n} {s.bleu:.2f}' for n, s in self.sets.items())})"
