"""`nmt-evaluate`: score a model folder on a test set, or a file of translations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.command import run_command
from nmt.config import (
    Direction,
    EvaluateConfig,
    TranslatorConfig,
    find_direction,
    join_directions,
)
from nmt.corpus.lines import read_lines, read_pair, read_parallel
from nmt.errors import InputError
from nmt.evaluation.bleu import Scores, check_lengths, score, sentence_scores
from nmt.evaluation.report import (
    Report,
    Segment,
    TranslationRun,
    make_folder,
    score_table,
    write_report,
)
from nmt.evaluation.tokenizers import bleu_tokenizer
from nmt.memory import spare_loaded_objects

if TYPE_CHECKING:
    from nmt.decoding import Translation, Translator


def main() -> None:
    """The console script."""
    run_command("nmt-evaluate", EvaluateConfig, evaluate, "evaluate")


def evaluate(config: EvaluateConfig) -> None:
    """Read or make the translations, score them, write the report and print its table.

    Raises:
        CorpusError, InputError: a file is missing, empty or damaged, the numbers of lines differ,
            the model lacks the direction, or BLEU is below `minimum_bleu`.
        ConfigurationError: the report's folder cannot be written to.
    """
    test_set = read_test_set(config)
    folder = Path(config.output.replace("{name}", test_set.name))
    make_folder(folder)
    files = test_set.files
    tokenizer = bleu_tokenizer(config.bleu_tokenizer, _corpus_target(config))
    translating: TranslationRun | None = None
    translations: Sequence[Translation | None] = [None] * len(test_set.reference)
    if config.hypothesis is not None:
        files = {**files, "hypothesis": config.hypothesis}
        hypotheses = list(read_lines(config.hypothesis))
        check_lengths(len(hypotheses), len(test_set.reference))
    else:
        translating, translations = translate(config, test_set)
        hypotheses = [translation.text for translation in translations]
        tokenizer = bleu_tokenizer(config.bleu_tokenizer, translating.direction.target)
    scores = score(
        hypotheses,
        test_set.reference,
        bootstrap=config.bootstrap,
        seed=config.seed,
        tokenizer=tokenizer,
    )
    segments = make_segments(test_set, hypotheses, translations, tokenizer)
    write_report(folder, Report(test_set.name, files, scores, segments, translating))
    print(f"{test_set.name}: {len(segments)} sentences\n\n{score_table(scores)}\n")
    if translating is not None:
        print(f"{len(segments) / translating.seconds:.1f} sentences per second")
    print(f"Report: {folder / 'report.md'}", flush=True)
    check_quality(scores, config.minimum_bleu)


def _corpus_target(config: EvaluateConfig) -> str | None:
    """The target language of the corpus; None for files."""
    if config.data is None or config.split is None:
        return None
    return config.data.splits[config.split].direction.target


def check_quality(scores: Scores, minimum: float | None) -> None:
    """Check that BLEU is high enough, for scripts that must not continue with a bad model.

    Raises:
        InputError: BLEU is lower than `minimum`.
    """
    if minimum is not None and scores["bleu"].score < minimum:
        raise InputError(
            f"BLEU must be at least {minimum:g} (`minimum_bleu`), "
            f"but is {scores['bleu'].score:.2f} instead."
        )


@dataclass(frozen=True)
class ReadTestSet:
    """A test set: source and reference, line by line."""

    name: str
    files: dict[str, str]  # source, reference → path
    source: Sequence[str] | None  # None if translations are scored without it
    reference: Sequence[str]


def read_test_set(config: EvaluateConfig) -> ReadTestSet:
    """Read the test set that the configuration names.

    Raises:
        CorpusError: a file is missing, damaged or empty, or the files are not parallel.
    """
    if config.data is not None and config.split is not None:
        name, corpus = f"{config.data.name}.{config.split}", config.data.splits[config.split]
        where = {"source": ", ".join(corpus.source), "reference": ", ".join(corpus.target)}
        pairs = list(read_parallel(corpus))
    else:
        assert config.reference is not None, "the configuration has one without `data`"
        name = Path(config.reference).name.removesuffix(".gz")
        if config.source is None:
            reference = list(read_lines(config.reference))
            return ReadTestSet(
                config.name or name, {"reference": config.reference}, None, reference
            )
        where = {"source": config.source, "reference": config.reference}
        pairs = list(read_pair(config.source, config.reference))
    source, reference = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return ReadTestSet(config.name or name, where, source, reference)


def translate(
    config: EvaluateConfig, test_set: ReadTestSet
) -> tuple[TranslationRun, list[Translation]]:
    """Translate the test set with the model that the configuration names."""
    # Imported only here because torch takes a second to import, and scoring a file needs none.
    from nmt.decoding import Translator

    chosen = config.translator
    assert chosen is not None, "the configuration has a model or a file of translations"
    assert test_set.source is not None, "the configuration has a source with a model"
    translator = Translator.from_settings(chosen.folder, chosen, config.decode)
    spare_loaded_objects()
    direction = find_test_direction(config, translator)
    started = time.perf_counter()
    translations = translator.translate(
        test_set.source, source=direction.source, target=direction.target
    )
    seconds = time.perf_counter() - started
    return TranslationRun(
        model=describe_model(chosen, translator, direction),
        direction=direction,
        decode=config.decode,
        seconds=seconds,
        source_tokens=sum(len(translation.source_tokens) for translation in translations),
        tokens=sum(len(translation.tokens) for translation in translations),
        truncated=sum(translation.truncated for translation in translations),
        in_parts=sum(translation.parts > 1 for translation in translations),
    ), translations


def find_test_direction(config: EvaluateConfig, translator: Translator) -> Direction:
    """The direction to evaluate: that of the corpus, or `direction` for files.

    Raises:
        InputError: the model lacks the direction, or has several and `direction` is not set.
    """
    if config.data is None or config.split is None:
        wanted = config.direction
        if wanted is None:
            return find_direction(translator.directions)
        return find_direction(translator.directions, wanted.source, wanted.target)
    corpus = config.data.splits[config.split].direction
    if corpus not in translator.directions:
        known = join_directions(translator.directions)
        raise InputError(
            f"`data={config.data.name}` must be in a direction of the model ({known}), but "
            f"`{config.split}` is {corpus} instead; choose another corpus or model."
        )
    return corpus


def describe_model(
    chosen: TranslatorConfig, translator: Translator, direction: Direction
) -> dict[str, str]:
    """Facts about the model and what it was run on, for the report."""
    import torch  # only here, for the same reason

    description = translator.description
    model = description.model
    return {
        "folder": chosen.folder,
        "direction": direction.code,
        "architecture": f"{model.architecture} {model.name}: {model.summary}, "
        f"vocabulary of {description.vocabulary_size:,}",
        "trained in": description.precision,
        "translated in": translator.precision,
        "device": ", ".join(translator.stepper.devices),
        **({} if chosen.plan is None else {"plan": chosen.plan}),
        "threads": str(torch.get_num_threads()),
    }


def make_segments(
    test_set: ReadTestSet,
    hypotheses: Sequence[str],
    translations: Sequence[Translation | None],
    tokenizer: str,
) -> list[Segment]:
    """A segment for each line of the test set."""
    nothing: list[str | None] = [None] * len(hypotheses)
    sources = nothing if test_set.source is None else test_set.source
    sentences = sentence_scores(hypotheses, test_set.reference, tokenizer)
    rows = zip(sources, test_set.reference, hypotheses, sentences, translations, strict=True)
    return [
        Segment(
            source=source,
            reference=reference,
            hypothesis=hypothesis,
            sentence=sentence,
            model_score=None if translation is None else translation.score,
            truncated=None if translation is None else translation.truncated,
        )
        for source, reference, hypothesis, sentence, translation in rows
    ]


if __name__ == "__main__":
    main()
