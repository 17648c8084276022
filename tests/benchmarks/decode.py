"""Decoding: throughput on test2016 in every number format, latency of a single sentence, cold start
of nmt-translate, and the BLEU that int8 loses.

Without a trained model, weights are random, and all translations have the average length of the
references: the same work as that of a trained model, except that lengths do not vary.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from torch import Tensor

from nmt import Translator
from nmt.config import DecodeConfig, TrainConfig
from nmt.corpus.prepare import PreparedData
from nmt.corpus.vocabulary import EOS, Vocabulary
from nmt.evaluation.bleu import score
from nmt.memory import keep_memory, spare_loaded_objects
from nmt.model.folder import (
    VOCABULARY,
    WEIGHTS,
    ModelDescription,
    read_description,
    write_model_folder,
)
from tests.benchmarks import ctranslate
from tests.benchmarks import joey as joey_nmt
from tests.benchmarks.ctranslate import FORMATS, CTranslate2
from tests.benchmarks.joey import JoeyNmt
from tests.benchmarks.marian import KINDS, PEER, Marian
from tests.benchmarks.options import Options
from tests.benchmarks.ours import in_new_process, prepared, test2016, training_config
from tests.benchmarks.results import Report

BEAMS = {"greedy": 1, "beam5": 5}  # conf/decode → beam size
ALONE = 50  # sentences translated one at a time
NEVER = -1e4  # logit of a piece that is never chosen


Lines = tuple[list[str], list[str]]  # sources, references


@dataclass(frozen=True)
class Speed:
    """Throughput of one run over the test set."""

    sentences: float  # per second
    tokens: float  # output tokens per second


class Peers:
    """The toolkits to compare with, as far as they were asked for."""

    def __init__(self, options: Options, data: PreparedData) -> None:
        venv, folder, names = options.venv, options.output, options.peers
        self.marian = Marian(venv, folder / "marian", data) if "marian" in names else None
        self.joey = JoeyNmt(venv, folder / "joey", data) if "joey" in names else None
        pieces = len(data.vocabulary)
        self.ctranslate = (
            CTranslate2(venv, folder / "ctranslate2", pieces) if "ctranslate2" in names else None
        )

    def transformers(self, model: str, precision: str) -> list[tuple[int, int]]:
        """The sizes of CTranslate2's models to compare one of ours with, in a number format."""
        return [*ctranslate.SIZES[model]] if self.ctranslate and precision in FORMATS else []


def run(options: Options, report: Report) -> None:
    """Measure the models of conf/model with random weights, and the trained model, whose results
    replace those of the model of the same name."""
    data = prepared(training_config([], options.output / "scratch"))
    peers = Peers(options, data)
    trained = read_description(options.model).model.name if options.model else None
    test = test2016(options.sentences)
    for model in options.models:
        folder = options.output / "scratch" / f"random-{model}"
        in_new_process(write_random_model, model, folder)
        for search in BEAMS:
            for threads in options.threads:
                _fixed_length(options, report, peers, model, folder, search, threads, test)
        if model != trained:
            _alone(options, report, peers, model, folder, random=True)
            report.notes.append(f"{model}: random weights, length fixed")
    first = options.output / "scratch" / f"random-{options.models[0]}"
    sizes = [size_of(folder) for folder in (first.with_suffix(".int8"), first)]
    report.compare("int8.size_ratio", [1 / sizes[0]], "fp32", [1 / sizes[1]])
    if options.model and trained:
        _trained(options, report, peers, options.model, trained, test)
    folder = options.model or first
    starts = [cold_start(folder) for _ in range(options.repeats)]
    report.add("translate.cold_start_seconds", "s", starts)


def size_of(folder: Path) -> int:
    """Size of the weights in bytes."""
    return (folder / WEIGHTS).stat().st_size


def _fixed_length(
    options: Options,
    report: Report,
    peers: Peers,
    model: str,
    folder: Path,
    search: str,
    threads: int,
    test: Lines,
) -> None:
    """Measure random weights and the peers in turns, all with a fixed length, since their outputs
    cannot be compared."""
    ours: dict[str, list[Speed]] = {precision: [] for precision in options.precisions}
    marian: dict[str, list[float]] = {kind: [] for kind in KINDS} if peers.marian else {}
    joey: list[float] = []
    transformers: dict[tuple[str, tuple[int, int]], list[float]] = {
        (precision, size): [] for precision in ours for size in peers.transformers(model, precision)
    }
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    sources, beam = vocabulary.encode_batch(test[0]), BEAMS[search]
    length = mean_length(vocabulary, test[1])
    for _ in range(options.repeats):
        for precision, speeds in ours.items():
            speeds.append(in_new_process(speed, folder, search, *test, precision, threads))
        work = (model, sources, beam, threads)
        if peers.marian:
            for kind, values in marian.items():
                values.append(peers.marian.output_tokens_per_second(*work, kind))
        if peers.joey:
            joey.append(peers.joey.output_tokens_per_second(*work, length))
        if peers.ctranslate:
            for (precision, size), values in transformers.items():
                job = (size, precision, sources, beam, length)
                values.append(peers.ctranslate.tokens_per_second(*job, workers=threads))
    best = max(marian, key=lambda kind: median(marian[kind]), default="")
    for precision, speeds in ours.items():
        name = f"decode.{model}.{precision}.{search}.{threads}threads"
        tokens, unit = [measured.tokens for measured in speeds], "output tokens/s"
        peer = f"{PEER}, {best}"
        report.add(f"{name}.output_tokens_per_second", unit, tokens, peer, marian.get(best, []))
        if joey:
            report.add(f"{name}.joey", unit, tokens, joey_nmt.PEER, joey)
        for size in peers.transformers(model, precision):
            values = transformers[precision, size]
            report.add(f"{name}.{_words(size)}", unit, tokens, ctranslate.PEER, values)
        sentences = [measured.sentences for measured in speeds]
        report.add(f"{name}.sentences_per_second", "sentences/s", sentences)
    largest = (model, search, threads) == (options.models[0], "beam5", max(options.threads))
    if largest and "int8" in ours:
        seconds = {name: [1 / each.tokens for each in speeds] for name, speeds in ours.items()}
        for name, other in (("int8.speedup", "fp32"), ("int8.speedup_over_bf16", "bf16")):
            if other in seconds:
                report.compare(name, seconds["int8"], other, seconds[other])


def _trained(
    options: Options, report: Report, peers: Peers, folder: Path, model: str, test: Lines
) -> None:
    """Measure a trained model, whose translations end by themselves."""
    threads = max(options.threads)
    for precision in options.precisions:
        for search in BEAMS:
            name = f"decode.{model}.{precision}.{search}.{threads}threads.sentences_per_second"
            speeds = [
                in_new_process(speed, folder, search, test[0], None, precision, threads)
                for _ in range(options.repeats)
            ]
            report.replace(name, "sentences/s", [measured.sentences for measured in speeds])
    scores = {name: in_new_process(bleu, folder, name, *test) for name in options.precisions}
    report.notes.append(f"BLEU, beam 5, of {folder}: {scores}")
    if {"fp32", "int8"} <= scores.keys():
        report.add("int8.bleu_loss", "BLEU", [scores["fp32"] - scores["int8"]])
    _alone(options, report, peers, model, folder, random=False)
    pieces = read_description(folder).vocabulary_size
    report.notes.append(f"{model}: sentences/s and ms of {folder}, {pieces} pieces")


def bleu(folder: Path, precision: Any, texts: list[str], references: list[str]) -> float:
    """BLEU with beam search of size 5."""
    translator = Translator.load(folder, device="cpu", precision=precision)
    translations = translator.translate(texts, decode_settings("beam5"))
    hypotheses = [translation.text for translation in translations]
    return score(hypotheses, references, bootstrap=0, seed=1)["bleu"].score


def _alone(
    options: Options, report: Report, peers: Peers, model: str, folder: Path, *, random: bool
) -> None:
    """Measure the latency of single sentences with one thread in each number format, and that of
    the peer's models in turns with it, if lengths are fixed."""
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    texts, _ = test2016(ALONE)
    _, references = test2016(options.sentences)
    sources, length = vocabulary.encode_batch(texts), mean_length(vocabulary, references)
    for search, beam in BEAMS.items():
        for precision in options.precisions:
            sizes = peers.transformers(model, precision) if random else []
            times: list[float] = []
            theirs: dict[tuple[int, int], list[float]] = {size: [] for size in sizes}
            for _ in range(options.repeats):
                fixed = length if random else None
                times.append(in_new_process(milliseconds, folder, fixed, precision, search))
                if peers.ctranslate:
                    for size, values in theirs.items():
                        job = (size, precision, sources, beam, length)
                        values.append(peers.ctranslate.milliseconds(*job))
            name = f"decode.{model}.{precision}.{search}.single_sentence"
            report.add(f"{name}_ms", "ms", times)
            for size, values in theirs.items():
                report.add(f"{name}.{_words(size)}_ms", "ms", values)
                report.compare(f"{name}.over.{_words(size)}", times, ctranslate.PEER, values)


def _words(size: tuple[int, int]) -> str:
    """A size of CTranslate2's models as part of a row's name."""
    return f"transformer{size[0]}x{size[1]}"


def speed(
    folder: Path,
    search: str,
    texts: list[str],
    references: list[str] | None,
    precision: Any,
    threads: int,
) -> Speed:
    """The throughput on `texts`. With `references`, all translations have their average length."""
    keep_memory()  # as the commands do
    translator = Translator.load(folder, device="cpu", threads=threads, precision=precision)
    decode = decode_settings(search)
    if references:
        decode = fixed_length(decode, translator.vocabulary, references)
    spare_loaded_objects()
    translator.translate(texts, decode)  # warm-up: oneDNN generates code for each new shape
    begin = time.perf_counter()
    translations = translator.translate(texts, decode)
    seconds = time.perf_counter() - begin
    tokens = sum(len(translation.tokens) for translation in translations)
    return Speed(len(texts) / seconds, tokens / seconds)


def milliseconds(folder: Path, length: int | None, precision: Any, search: str) -> float:
    """The median latency of a single sentence in milliseconds, with one thread; all translations
    have that length, if one is given."""
    keep_memory()
    translator = Translator.load(folder, device="cpu", threads=1, precision=precision)
    texts, _ = test2016(ALONE)
    decode = decode_settings(search)
    if length is not None:
        decode = of_length(decode, length)
    times = []
    for text in [*texts[:5], *texts]:  # the first five are a warm-up
        begin = time.perf_counter()
        translator.translate([text], decode)
        times.append(1000 * (time.perf_counter() - begin))
    return median(times[5:])


def cold_start(folder: Path) -> float:
    """Seconds from the start of nmt-translate to its first line."""
    command = [sys.executable, "-m", "nmt.translate", f"translator.folder={folder}"]
    texts, _ = test2016(1)
    begin = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(texts[0].encode() + b"\n")
        process.stdin.close()
        line = process.stdout.readline()
        seconds = time.perf_counter() - begin
    if not line or process.returncode:
        raise RuntimeError(f"`{' '.join(command)}` gave no translation; its message is above.")
    return seconds


def decode_settings(search: str) -> DecodeConfig:
    """The settings of conf/decode/<search>.yaml."""
    return training_config([f"decode={search}"], Path("runs")).decode


def fixed_length(decode: DecodeConfig, vocabulary: Vocabulary, texts: list[str]) -> DecodeConfig:
    """Settings that limit all translations to the average length of `texts`."""
    return of_length(decode, mean_length(vocabulary, texts))


def of_length(decode: DecodeConfig, length: int) -> DecodeConfig:
    """Settings that limit all translations to that many pieces."""
    # The ratio must be above 0; this one has no effect.
    return decode.model_copy(update={"max_length_ratio": 1e-9, "max_length_offset": length})


def mean_length(vocabulary: Vocabulary, texts: list[str]) -> int:
    """The average number of pieces of a text, EOS included."""
    return round(mean(len(ids) + 1 for ids in vocabulary.encode_batch(texts)))


def write_random_model(model: str, folder: Path) -> None:
    """Write a model folder of `random_model`, and another one with int8 weights."""
    config = training_config([f"model={model}"], folder.parent)
    data = prepared(config)
    description, weights = random_model(config, len(data.vocabulary))
    vocabulary = folder.with_suffix(".vocabulary")
    data.vocabulary.save(vocabulary)
    write_model_folder(folder, description, weights, vocabulary, "Random weights.\n")
    small = description.model_copy(update={"weights": "int8"})
    write_model_folder(folder.with_suffix(".int8"), small, weights, vocabulary, "")


def random_model(
    config: TrainConfig, vocabulary: int
) -> tuple[ModelDescription, dict[str, Tensor]]:
    """A description and random weights with which translations never end by themselves."""
    description = ModelDescription(
        format=4,
        longest_source=None,
        weights="fp32",
        clip=None,
        clip_cells=False,
        model=config.model,
        vocabulary_size=vocabulary,
        directions=config.data.directions,
        precision="fp32",
    )
    graph = description.graph()
    parameters = graph.build(graph.names, config.seed).canonical_parameters()
    weights = {name: parameter.detach() for name, parameter in parameters.items()}
    weights["output.bias"][EOS] = NEVER
    return description, weights
