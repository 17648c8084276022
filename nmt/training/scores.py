"""The scores of a validation: of each set, and their means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from statistics import fmean

from nmt.config import VALIDATION_METRICS


@dataclass(frozen=True)
class SetScores:
    """Scores on one validation set."""

    direction: str  # its code, such as en-de
    sentences: int  # that were translated
    loss: float  # mean of a target token, over the whole set; smoothed as in training
    bleu: float
    chrf: float


@dataclass(frozen=True)
class Scores:
    """One validation: scores by name of the validation set."""

    sets: Mapping[str, SetScores]
    bleu_signature: str
    chrf_signature: str

    def score(self, name: str) -> float:
        """By its name in metrics.jsonl: `NAME.bleu` of one set, `bleu` for the mean over all."""
        set_name, _, metric = name.rpartition(".")
        chosen = [self.sets[set_name]] if set_name else list(self.sets.values())
        return fmean(getattr(one, metric) for one in chosen)

    def quality(self, by: str) -> float:
        """The number by which models are compared; more is better."""
        return -self.score(by) if by.rpartition(".")[2] == "loss" else self.score(by)

    def as_metrics(self) -> dict[str, float | int | str]:
        """For metrics.jsonl: the means over all sets, then each set's scores."""
        values: dict[str, float | int | str] = {
            name: self.score(name) for name in VALIDATION_METRICS
        }
        for name, scores in self.sets.items():
            values |= {
                f"{name}.{metric}": self.score(f"{name}.{metric}") for metric in VALIDATION_METRICS
            }
            values[f"{name}.sentences"] = scores.sentences
        return values | {
            "bleu_signature": self.bleu_signature,
            "chrf_signature": self.chrf_signature,
        }

    def __str__(self) -> str:
        """For the log: the means, and each set's BLEU where there are several."""
        loss, bleu, chrf = map(self.score, ("loss", "bleu", "chrf"))
        text = (
            f"loss {loss:.3f}, perplexity {exp(min(loss, 20)):.2f}, BLEU {bleu:.2f}, "
            f"chrF {chrf:.2f}"
        )
        if len(self.sets) == 1:
            return text
        return f"{text} (BLEU {', '.join(f'{n} {s.bleu:.2f}' for n, s in self.sets.items())})"
