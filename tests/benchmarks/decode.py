"""Speed of translating test2016, of one sentence alone, and of the first one after a start.

Without a trained model, weights are random, no translation may end by itself, and all are as long
as the references are on average: the work of a trained model, but for the length varying.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from nmt import Translator
from nmt.config import DecodeConfig
from nmt.corpus.vocabulary import EOS, Vocabulary
from nmt.memory import keep_memory
from nmt.model.folder import VOCABULARY, ModelDescription, read_description, write_model_folder
from tests.benchmarks.marian import PEER, Marian
from tests.benchmarks.options import Options
from tests.benchmarks.ours import in_new_process, prepared, test2016, training_config
from tests.benchmarks.results import Report

BEAMS = {"greedy": 1, "beam5": 5}  # conf/decode → beam size
THREADS = 2
ALONE = 50  # sentences translated one by one
NEVER = -1e4  # a logit without hope


Lines = tuple[list[str], list[str]]  # sources, references


@dataclass(frozen=True)
class Speed:
    """What one run over the test set gave."""

    sentences: float  # per second
    tokens: float  # of the output, per second


def run(options: Options, report: Report) -> None:
    """The models of conf/model, and the trained one in the place of its namesake."""
    data = prepared(training_config([], options.output / "scratch"))
    marian = Marian(options.venv, options.output / "marian", data) if options.peers else None
    trained = read_description(options.model).model.name if options.model else None
    test = test2016(options.sentences)
    for model in options.models:
        folder = options.output / "scratch" / f"random-{model}"
        in_new_process(write_random_model, model, folder)
        for search in BEAMS:
            _fixed_length(options.repeats, report, marian, model, search, folder, test)
        if model != trained:
            report.add(*_alone(model, folder, options.repeats, random=True))
            report.notes.append(f"{model}: random weights, length fixed")
    if options.model and trained:
        _trained(options.repeats, report, options.model, trained, test)
    folder = options.model or options.output / "scratch" / f"random-{options.models[0]}"
    starts = [cold_start(folder) for _ in range(options.repeats)]
    report.add("translate.cold_start_seconds", "s", starts)


def _fixed_length(
    repeats: int,
    report: Report,
    marian: Marian | None,
    model: str,
    search: str,
    folder: Path,
    test: Lines,
) -> None:
    """Random weights beside Marian, in turns. Both have the length fixed, since what they write
    could not be compared."""
    ours: list[Speed] = []
    peers: list[float] = []
    sources = Vocabulary.load(folder / VOCABULARY).encode_batch(test[0])
    for _ in range(repeats):
        ours.append(in_new_process(speed, folder, search, *test))
        if marian:
            peers.append(marian.output_tokens_per_second(model, sources, BEAMS[search]))
    tokens = [one.tokens for one in ours]
    name = f"decode.{model}.fp32.{search}.{THREADS}threads"
    report.add(f"{name}.output_tokens_per_second", "output tokens/s", tokens, PEER, peers)
    sentences = [one.sentences for one in ours]
    report.add(f"{name}.sentences_per_second", "sentences/s", sentences)


def _trained(repeats: int, report: Report, folder: Path, model: str, test: Lines) -> None:
    """A trained model, whose translations end where it says."""
    for search in BEAMS:
        name = f"decode.{model}.fp32.{search}.{THREADS}threads.sentences_per_second"
        speeds = [in_new_process(speed, folder, search, test[0], None) for _ in range(repeats)]
        report.replace(name, "sentences/s", [one.sentences for one in speeds])
    report.add(*_alone(model, folder, repeats, random=False))
    pieces = read_description(folder).vocabulary_size
    report.notes.append(f"{model}: sentences/s and ms of {folder}, {pieces} pieces")


def _alone(model: str, folder: Path, repeats: int, *, random: bool) -> tuple[str, str, list[float]]:
    times = [in_new_process(milliseconds, folder, random) for _ in range(repeats)]
    return f"decode.{model}.single_sentence_ms", "ms", times


def speed(folder: Path, search: str, texts: list[str], references: list[str] | None) -> Speed:
    """Translate all; `references` give the length that every translation has."""
    keep_memory()  # as the commands do
    translator = Translator.load(folder, device="cpu", threads=THREADS)
    decode = decode_settings(search)
    if references:
        decode = fixed_length(decode, translator.vocabulary, references)
    translator.translate(texts[: decode.batch_sentences], decode)  # warm up
    begin = time.perf_counter()
    translations = translator.translate(texts, decode)
    seconds = time.perf_counter() - begin
    tokens = sum(len(translation.tokens) for translation in translations)
    return Speed(len(texts) / seconds, tokens / seconds)


def milliseconds(folder: Path, random: bool) -> float:
    """The median of sentences translated alone, greedily, by one thread."""
    keep_memory()
    translator = Translator.load(folder, device="cpu", threads=1)
    texts, references = test2016(ALONE)
    decode = decode_settings("greedy")
    if random:
        decode = fixed_length(decode, translator.vocabulary, references)
    times = []
    for text in [*texts[:5], *texts]:  # the first to warm up
        begin = time.perf_counter()
        translator.translate([text], decode)
        times.append(1000 * (time.perf_counter() - begin))
    return median(times[5:])


def cold_start(folder: Path) -> float:
    """Seconds from starting nmt-translate to its first line."""
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
    """conf/decode/<search>.yaml."""
    return training_config([f"decode={search}"], Path("runs")).decode


def fixed_length(decode: DecodeConfig, vocabulary: Vocabulary, texts: list[str]) -> DecodeConfig:
    """Every translation as long as `texts` are on average."""
    length = round(mean(len(ids) + 1 for ids in vocabulary.encode_batch(texts)))
    # The ratio must be above 0; with this one it adds nothing.
    return decode.model_copy(update={"max_length_ratio": 1e-9, "max_length_offset": length})


def write_random_model(model: str, folder: Path) -> None:
    """A model folder with initial weights, whose translations never end by themselves."""
    config = training_config([f"model={model}"], folder.parent)
    data = prepared(config)
    description = ModelDescription(
        format=2,
        weights="fp32",
        clip=None,
        model=config.model,
        vocabulary_size=len(data.vocabulary),
        source_language=config.data.source_language,
        target_language=config.data.target_language,
        precision="fp32",
    )
    graph = description.graph()
    parameters = graph.build(graph.names, config.seed).canonical_parameters()
    weights = {name: parameter.detach() for name, parameter in parameters.items()}
    weights["output.bias"][EOS] = NEVER
    vocabulary = folder.with_suffix(".vocabulary")
    data.vocabulary.save(vocabulary)
    write_model_folder(folder, description, weights, vocabulary, "Random weights.\n")
