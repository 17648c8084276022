"""Training and decoding on a GPU: the 4+4×1024 model with 32,000 pieces, on sentences of news.

The figures to compare with are those that NVIDIA publishes for its GNMT on an A100 (PyTorch, mixed
precision, the same sizes, WMT16). Weights are random, so that translations are given a fixed
length, the average of the references.
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
SENTENCES = (128, 512)  # sizes of a training batch
ALONE = 50  # sentences translated one at a time


@dataclass(frozen=True)
class Decoding:
    """One row of the published table."""

    search: str
    sentences: int  # of a batch
    published: float  # output tokens/s


DECODING = (
    Decoding("greedy", 128, 53_395),
    Decoding("beam5", 128, 28_201),
    Decoding("greedy", 512, 119_675),
    Decoding("beam5", 512, 47_003),
)
PUBLISHED_ALONE = 44.7  # ms, greedy


def run(options: Options, report: Report) -> None:
    """Measure training and decoding on the first GPU."""
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
        tokens = [speed.tokens for speed in speeds]
        report.add(f"{name}.tokens_per_second", "source+target tokens/s", tokens, A100, [TRAINING])
        share = [speed.operations / rate for speed in speeds]
        report.add(f"{name}.share_of_matrix_rate", "of 1", share)
    speeds_of, alone = in_new_process(decoding_speeds, options)
    for case, values in speeds_of.items():
        name = f"gpu.decode.gnmt.bf16.{case.search}.{case.sentences}.output_tokens_per_second"
        report.add(name, "output tokens/s", values, A100, [case.published])
    report.add("gpu.decode.gnmt.bf16.single_sentence_ms", "ms", alone)
    report.notes.append(f"a single sentence on an A100, as published: {PUBLISHED_ALONE} ms")


@dataclass(frozen=True)
class TrainingSpeed:
    """Throughput of training in one measurement, per second."""

    tokens: float  # source and target tokens
    operations: float  # of the model's matrix products, forward and backward


def training_speeds(options: Options, sentences: int) -> list[TrainingSpeed]:
    """`options.repeats` measurements of wall-clock time, batching included, one after another in
    one training run."""
    config = news_config(options, *batches_of(sentences))
    data = prepared(config)
    of_source, of_target = operations_of_tokens(config, len(data.vocabulary))
    speeds: list[TrainingSpeed] = []
    begin, start, source, target = time.perf_counter(), 0.0, 0, 0
    last: StepResult | None = None
    for pairs, result in Steps(config, data, "cuda"):
        if last is not None and not isfinite(last.loss):  # of the step before, as in the trainer
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
            speeds.append(TrainingSpeed((source + target) / seconds, operations / seconds))
            if len(speeds) == options.repeats:
                break
        if not start or seconds >= options.seconds:
            start, source, target = now, 0, 0
    return speeds


def news_config(options: Options, *overrides: str) -> TrainConfig:
    """Settings that train the large model in bf16."""
    overrides = (*NEWS, "model=gnmt", "precision=bf16", *overrides)
    return training_config(overrides, options.output / "scratch")


def operations_of_tokens(config: TrainConfig, vocabulary: int) -> tuple[float, float]:
    """Operations of matrix products in training for each source and for each target token: two for
    each weight forward, and twice as many backward. The attention's scores and means are not
    counted."""
    graph = build_graph(config.model, vocabulary)
    operations = {"source": 0.0, "target": 0.0}
    for node in graph.nodes:
        with torch.device("meta"):
            layer = node.build()
        if "embedding" not in node.name:
            weights = sum(p.numel() for p in layer.parameters() if p.dim() == 2)
            operations[node.axis.value] += 6 * weights
    return operations["source"], operations["target"]


def matrix_rate(size: int = 8192, times: int = 20) -> float:
    """Measured operations per second of large bf16 matrix products."""
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
    """Output tokens per second on newstest2014 in all cases, and the latency of a single sentence
    in milliseconds. The cases take turns, with one model."""
    config = news_config(options)
    translator = random_translator(config, prepared(config))
    texts, references = lines_of(config, "newstest2014")
    speeds: dict[Decoding, list[float]] = {case: [] for case in DECODING}
    alone: list[float] = []
    for case in DECODING:
        # Warm-up: batch sizes that occur twice are recorded as CUDA graphs.
        translate_all(translator, texts, references, case)
    milliseconds_alone(translator, texts, references)
    for _ in range(options.repeats):
        for case, values in speeds.items():
            values.append(translate_all(translator, texts, references, case))
        alone.append(milliseconds_alone(translator, texts, references))
    return speeds, alone


def translate_all(
    translator: Translator, texts: Sequence[str], references: Sequence[str], case: Decoding
) -> float:
    """Output tokens per second of translating all texts."""
    decode = settings_of(case, translator, references)
    begin = time.perf_counter()
    translations = translator.translate(texts, decode)
    tokens = sum(len(translation.tokens) for translation in translations)
    return tokens / (time.perf_counter() - begin)


def milliseconds_alone(
    translator: Translator, texts: Sequence[str], references: Sequence[str]
) -> float:
    """The median latency of a single sentence in milliseconds, greedy, after a warm-up with the
    same sentences."""
    decode = settings_of(Decoding("greedy", 1, 0.0), translator, references)
    times = []
    for text in [*texts[:ALONE], *texts[:ALONE]]:
        begin = time.perf_counter()
        translator.translate([text], decode)
        times.append(1000 * (time.perf_counter() - begin))
    return median(times[ALONE:])


def settings_of(case: Decoding, translator: Translator, references: Sequence[str]) -> DecodeConfig:
    """Settings of a case, with the average length of the references for all translations."""
    decode = fixed_length(decode_settings(case.search), translator.vocabulary, list(references))
    return decode.model_copy(update={"batch_sentences": case.sentences})


def random_translator(config: TrainConfig, data: PreparedData) -> Translator:
    """A translator on the GPU in bf16, with the weights of `random_model`."""
    description, weights = random_model(config, len(data.vocabulary))
    stepper = Stepper(description.graph(), weights, lambda _: "cuda", format_of("bf16"))
    return Translator(description, data.vocabulary, stepper, precision="bf16")
