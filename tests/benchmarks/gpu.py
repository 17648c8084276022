"""Training and decoding on a GPU: the 4+4×1024 model with 32,000 pieces, on sentences of news.

Beside it, what NVIDIA publishes for its GNMT on an A100 (PyTorch, mixed precision, the same sizes,
WMT16). Weights are random, and so translations have a fixed length, that of the references.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

import torch

from nmt import Translator
from nmt.config import DecodeConfig, TrainConfig
from nmt.corpus.prepare import PreparedData
from nmt.model.build import build_graph
from nmt.parallel.executor import StepResult
from nmt.precision.formats import format_of
from nmt.runtime.stepper import Stepper
from tests.benchmarks.decode import decode_settings, fixed_length, random_model
from tests.benchmarks.options import Options
from tests.benchmarks.ours import (
    Steps,
    batches_of,
    in_new_process,
    lines_of,
    prepared,
    training_config,
)
from tests.benchmarks.results import Report

NEWS = ("data=wmt_news_en_de", "data.vocabulary.size=32000", "parallel.device=auto")
A100 = "A100, NVIDIA's GNMT, as published"
TRAINING = 140_909  # source and target tokens/s
SENTENCES = (128, 512)  # of a training batch
ALONE = 50  # sentences translated one by one


@dataclass(frozen=True)
class Decoding:
    """One row of the published table."""

    search: str
    sentences: int  # together
    published: float  # output tokens/s


DECODING = (
    Decoding("greedy", 128, 53_395),
    Decoding("beam5", 128, 28_201),
    Decoding("greedy", 512, 119_675),
    Decoding("beam5", 512, 47_003),
)
PUBLISHED_ALONE = 44.7  # ms, greedy


def run(options: Options, report: Report) -> None:
    """Everything on the first GPU."""
    if not torch.cuda.is_available():
        report.skip("gpu", "there is no GPU")
        return
    rate = matrix_rate()
    report.notes.append(
        f"{torch.cuda.get_device_name()}: {rate / 1e12:.0f} TFLOP/s of bf16 products"
    )
    for sentences in SENTENCES:
        speeds = in_new_process(training_speeds, options, sentences)
        name = f"gpu.train.gnmt.bf16.{sentences}"
        tokens = [one.tokens for one in speeds]
        report.add(f"{name}.tokens_per_second", "source+target tokens/s", tokens, A100, [TRAINING])
        share = [one.operations / rate for one in speeds]
        report.add(f"{name}.share_of_matrix_rate", "of 1", share)
    found, alone = in_new_process(decoding_speeds, options)
    for case, values in found.items():
        name = f"gpu.decode.gnmt.bf16.{case.search}.{case.sentences}.output_tokens_per_second"
        report.add(name, "output tokens/s", values, A100, [case.published])
    report.add("gpu.decode.gnmt.bf16.single_sentence_ms", "ms", alone)
    report.notes.append(f"one sentence alone on an A100, as published: {PUBLISHED_ALONE} ms")


@dataclass(frozen=True)
class TrainingSpeed:
    """Of one run, a second."""

    tokens: float  # source and target
    operations: float  # of the products that the model needs, forward and backward


def training_speeds(options: Options, sentences: int) -> list[TrainingSpeed]:
    """By the clock on the wall, making batches included; one after the other in one run."""
    config = news_config(options, *batches_of(sentences))
    data = prepared(config)
    of_source, of_target = operations_of_tokens(config, len(data.vocabulary))
    found: list[TrainingSpeed] = []
    begin, start, source, target = time.perf_counter(), 0.0, 0, 0
    last: StepResult | None = None
    for pairs, result in Steps(config, data, "cuda"):
        if last is not None and not isfinite(last.loss):  # as the trainer, of the step before
            raise RuntimeError("the loss is not finite")
        last, now = result, time.perf_counter()
        if not start and now - begin < options.warm_up:
            continue
        if start:
            source += sum(len(row) + 1 for row in pairs.source)
            target += result.tokens
        seconds = now - start
        if start and seconds >= options.seconds:
            operations = source * of_source + target * of_target
            found.append(TrainingSpeed((source + target) / seconds, operations / seconds))
            if len(found) == options.repeats:
                break
        if not start or seconds >= options.seconds:
            start, source, target = now, 0, 0
    return found


def news_config(options: Options, *overrides: str) -> TrainConfig:
    """The large model in bf16."""
    overrides = (*NEWS, "model=gnmt", "precision=bf16", *overrides)
    return training_config(overrides, options.output / "scratch")


def operations_of_tokens(config: TrainConfig, vocabulary: int) -> tuple[float, float]:
    """Of a source and of a target token: two for each weight of a product, forward, and twice as
    many backward. The attention's scores and means are not counted."""
    graph = build_graph(config.model, vocabulary)
    found = {"source": 0.0, "target": 0.0}
    for node in graph.nodes:
        with torch.device("meta"):
            layer = node.build()
        if "embedding" not in node.name:
            weights = sum(p.numel() for p in layer.parameters() if p.dim() == 2)
            found[node.axis.value] += 6 * weights
    return found["source"], found["target"]


def matrix_rate(size: int = 8192, times: int = 20) -> float:
    """Operations a second of large bf16 products, measured."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in "ab")
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(times):
        a @ b
    torch.cuda.synchronize()
    return 2 * size**3 * times / (time.perf_counter() - begin)


def decoding_speeds(options: Options) -> tuple[dict[Decoding, list[float]], list[float]]:
    """Output tokens/s of newstest2014 in all cases, in turns, and milliseconds of a sentence
    alone, with one model."""
    config = news_config(options)
    translator = random_translator(config, prepared(config))
    texts, references = lines_of(config, "newstest2014")
    found: dict[Decoding, list[float]] = {case: [] for case in DECODING}
    alone: list[float] = []
    for case in DECODING:
        translate_all(translator, texts, references, case)  # sizes that occur twice are recorded
    milliseconds_alone(translator, texts, references)
    for _ in range(options.repeats):
        for case, values in found.items():
            values.append(translate_all(translator, texts, references, case))
        alone.append(milliseconds_alone(translator, texts, references))
    return found, alone


def translate_all(
    translator: Translator, texts: Sequence[str], references: Sequence[str], case: Decoding
) -> float:
    """Output tokens/s."""
    decode = settings_of(case, translator, references)
    begin = time.perf_counter()
    translations = translator.translate(texts, decode)
    return sum(len(one.tokens) for one in translations) / (time.perf_counter() - begin)


def milliseconds_alone(
    translator: Translator, texts: Sequence[str], references: Sequence[str]
) -> float:
    """The median of sentences translated alone, greedily; lengths have been seen before."""
    decode = settings_of(Decoding("greedy", 1, 0.0), translator, references)
    times = []
    for text in [*texts[:ALONE], *texts[:ALONE]]:
        begin = time.perf_counter()
        translator.translate([text], decode)
        times.append(1000 * (time.perf_counter() - begin))
    return median(times[ALONE:])


def settings_of(case: Decoding, translator: Translator, references: Sequence[str]) -> DecodeConfig:
    """All translations as long as the references are on average."""
    decode = fixed_length(decode_settings(case.search), translator.vocabulary, list(references))
    return decode.model_copy(update={"batch_sentences": case.sentences})


def random_translator(config: TrainConfig, data: PreparedData) -> Translator:
    """See `random_model`; in bf16."""
    description, weights = random_model(config, len(data.vocabulary))
    stepper = Stepper(description.graph(), weights, lambda _: "cuda", format_of("bf16"))
    return Translator(description, data.vocabulary, stepper, precision="bf16")
