"""`python -m tests.benchmarks.batch_invariance model=<folder>`: does a translation depend on the
other sentences of its batch?

Translates test2016 with batches of 1, 8 and 64 sentences. In fp32, all translations must be
identical except for exact ties, which are listed; in bf16, 99% must be identical, and BLEU within
0.05. Writes `runs/bench/batch_invariance.json` and `.md`, and exits with 1 if that does not hold.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from nmt import Translation, Translator
from nmt.evaluation.bleu import score
from nmt.model.batch import EOS, Batch
from nmt.model.context import EVALUATION
from nmt.model.folder import read_weights
from nmt.model.graph import LayerStack
from tests.benchmarks.decode import decode_settings
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.options import read_options
from tests.benchmarks.ours import test2016

Precision = Literal["fp32", "bf16"]

TIE = 1e-5  # largest difference of log probabilities that rounding makes of an exact tie in fp32
LEAST_IDENTICAL, MOST_BLEU = 0.99, 0.05  # for bf16: fraction of sentences, difference of BLEU


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison."""

    model: Path
    sizes: tuple[int, ...] = (1, 8, 64)  # of batches; all are compared with the first
    searches: tuple[str, ...] = ("greedy", "beam5")
    precisions: tuple[str, ...] = ("fp32", "bf16")
    sentences: int = 1000  # of test2016
    bf16_sentences: int = 1000  # of test2016, for bf16; to be reduced where it is emulated
    threads: int = 2
    output: Path = Path("runs/bench")


@dataclass(frozen=True)
class Difference:
    """A sentence whose translations in two batches differ."""

    sentence: int  # line of the test set, from 1
    first: str
    second: str
    score_difference: float
    # Difference of the log probabilities of the first pieces in which the two translations differ,
    # computed in fp32 without a batch.
    gap: float
    tie: bool


@dataclass(frozen=True)
class Comparison:
    """Translations with one batch size, compared with those of the first size."""

    precision: str
    search: str
    size: int
    sentences: int
    identical: int
    bleu: float
    bleu_difference: float
    differences: list[Difference]

    @property
    def holds(self) -> bool:
        """Whether the translations meet the requirements of the precision."""
        if self.precision == "fp32":
            return all(difference.tie for difference in self.differences)
        share = self.identical / self.sentences
        return share >= LEAST_IDENTICAL and abs(self.bleu_difference) <= MOST_BLEU

    def row(self) -> str:
        """A row of the table."""
        ties = sum(difference.tie for difference in self.differences)
        return (
            f"| {self.precision} | {self.search} | {self.size} | {self.identical} of "
            f"{self.sentences} | {ties} | {self.bleu:.2f} | {self.bleu_difference:+.3f} | "
            f"{'yes' if self.holds else 'NO'} |"
        )


def main() -> None:
    """Compare all precisions and searches, and print and write the results."""
    settings = read_options(Settings, sys.argv[1:])
    comparisons: list[Comparison] = []
    for name in settings.precisions:
        precision: Precision = "bf16" if name == "bf16" else "fp32"
        translator = Translator.load(
            settings.model,
            device="cpu",
            precision=precision,
            emulate=True,
            threads=settings.threads,
        )
        judge = Judge(settings.model, translator)
        for search in settings.searches:
            comparisons += compare(settings, precision, search, translator, judge)
    text = table(comparisons)
    print(text)
    settings.output.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {
        "command": " ".join(["python -m tests.benchmarks.batch_invariance", *sys.argv[1:]]),
        "machine": describe_machine(),
        "comparisons": [{**asdict(each), "holds": each.holds} for each in comparisons],
    }
    file = settings.output / "batch_invariance.json"
    file.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", "utf-8")
    file.with_suffix(".md").write_text(text + "\n", "utf-8")
    sys.exit(not all(comparison.holds for comparison in comparisons))


def compare(
    settings: Settings, precision: Precision, search: str, translator: Translator, judge: Judge
) -> list[Comparison]:
    """Compare every batch size with the first one."""
    count = settings.bf16_sentences if precision == "bf16" else settings.sentences
    texts, references = test2016(count)
    decode = decode_settings(search)
    base: list[Translation] = []
    base_bleu, comparisons = 0.0, []
    for size in settings.sizes:
        sized = decode.model_copy(update={"batch_sentences": size})
        translations = translator.translate(texts, sized)
        hypotheses = [translation.text for translation in translations]
        bleu = score(hypotheses, references, bootstrap=0, seed=0, metrics=["bleu"])["bleu"].score
        if not base:
            base, base_bleu = translations, bleu
        differences = [
            judge.difference(i, texts[i], a, b, search)
            for i, (a, b) in enumerate(zip(base, translations, strict=True))
            if a.text != b.text
        ]
        comparisons.append(
            Comparison(
                precision=precision,
                search=search,
                size=size,
                sentences=len(texts),
                identical=len(texts) - len(differences),
                bleu=bleu,
                bleu_difference=bleu - base_bleu,
                differences=differences,
            )
        )
        print(comparisons[-1].row(), file=sys.stderr, flush=True)
    return comparisons


class Judge:
    """Decides whether two translations differ because two continuations are equally probable."""

    def __init__(self, folder: Path, translator: Translator) -> None:
        graph = translator.description.graph()
        self._stack: LayerStack = graph.build(graph.names, seed=0)
        self._stack.load(read_weights(folder, translator.description))
        self._vocabulary = translator.vocabulary
        pieces = translator.vocabulary.pieces(range(len(translator.vocabulary)))
        self._ids = {piece: i for i, piece in enumerate(pieces)}

    def difference(
        self, place: int, text: str, a: Translation, b: Translation, search: str
    ) -> Difference:
        """Compare two translations. Beam search chooses by the score of a hypothesis, greedy search
        by the probability of a piece."""
        by_score, gap = a.score - b.score, self._gap(text, a.tokens, b.tokens)
        tie = abs(gap if search == "greedy" else by_score) <= TIE
        return Difference(place + 1, a.text, b.text, by_score, gap, tie)

    @torch.no_grad()
    def _gap(self, text: str, a: Sequence[str], b: Sequence[str]) -> float:
        first, second = ([self._ids[piece] for piece in tokens] for tokens in (a, b))
        pairs = zip([*first, EOS], [*second, EOS], strict=False)
        place = next((i for i, (x, y) in enumerate(pairs) if x != y), None)
        if place is None:
            return 0.0
        source, beginning = np.array(self._vocabulary.encode(text)), np.array(first[:place], int)
        batch = Batch.from_rows([source], [beginning])
        log_p = self._stack(batch, EVALUATION)[-1].log_softmax(0)
        return float(log_p[[*first, EOS][place]] - log_p[[*second, EOS][place]])


def table(comparisons: Sequence[Comparison]) -> str:
    """A Markdown table, followed by all sentences that differ."""
    lines = [
        "| precision | search | batch | identical to the first | of the others, ties | BLEU "
        "| difference | holds |",
        "|---|---|---|---|---|---|---|---|",
        *[comparison.row() for comparison in comparisons],
    ]
    for c in comparisons:
        for d in c.differences:
            lines.append(
                f"\n{c.precision} {c.search}, batch {c.size}, line {d.sentence} (score "
                f"{d.score_difference:+.2e}, gap {d.gap:+.2e}{', tie' if d.tie else ''}):\n"
                f"- {d.first}\n- {d.second}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
