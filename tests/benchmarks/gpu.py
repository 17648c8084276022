"""Training and decoding on a GPU: the 4+4×1024 model with 32,000 pieces, on sentences of news.

Beside it, what NVIDIA publishes for its GNMT on an A100 (PyTorch, mixed precision, the same sizes,
WMT16). Weights are random, and so translations have a fixed length, that of the references.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import torch

from nmt import Translator
from nmt.config import DecodeConfig, TrainConfig
from nmt.corpus.lines import read_parallel
from nmt.corpus.prepare import PreparedData
from nmt.corpus.vocabulary import EOS
from nmt.decoding.stepper import Stepper
from nmt.model.folder import ModelDescription
from nmt.precision.formats import format_of
from tests.benchmarks.decode import NEVER, decode_settings, fixed_length
from tests.benchmarks.options import Options
from tests.benchmarks.ours import Steps, batches_of, in_new_process, prepared, training_config
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
        speeds = [
            in_new_process(training_speed, options, sentences) for _ in range(options.repeats)
        ]
        name = f"gpu.train.gnmt.bf16.{sentences}"
        tokens = [one.tokens for one in speeds]
        report.add(f"{name}.tokens_per_second", "source+target tokens/s", tokens, A100, [TRAINING])
        share = [one.operations / rate for one in speeds]
        report.add(f"{name}.share_of_matrix_rate", "of 1", share)
    found = [in_new_process(decoding_speeds, options) for _ in range(options.repeats)]
    for case in DECODING:
        name = f"gpu.decode.gnmt.bf16.{case.search}.{case.sentences}.output_tokens_per_second"
        report.add(name, "output tokens/s", [one[case] for one in found], A100, [case.published])
    times = [in_new_process(milliseconds_alone, options) for _ in range(options.repeats)]
    report.add("gpu.decode.gnmt.bf16.single_sentence_ms", "ms", times)
    report.notes.append(f"one sentence alone on an A100, as published: {PUBLISHED_ALONE} ms")


@dataclass(frozen=True)
class TrainingSpeed:
    """Of one run, a second."""

    tokens: float  # source and target
    operations: float  # of the products that the model needs, forward and backward


def training_speed(options: Options, sentences: int) -> TrainingSpeed:
    """By the clock on the wall, making batches included."""
    config = news_config(options, *batches_of(sentences))
    data = prepared(config)
    steps = Steps(config, data, "cuda")
    of_source, of_target = operations_of_tokens(config, len(data.vocabulary))
    begin, start, source, target = time.perf_counter(), 0.0, 0, 0
    last = None
    for pairs, result in steps:
        if last is not None:
            last.loss  # noqa: B018 - as the trainer does: wait for the step before
        last = result
        now = time.perf_counter()
        if not start:
            start = now if now - begin >= options.warm_up else 0.0
            continue
        source += sum(len(row) + 1 for row in pairs.source)
        target += result.tokens
        if now - start >= options.seconds:
            seconds = now - start
            operations = source * of_source + target * of_target
            return TrainingSpeed((source + target) / seconds, operations / seconds)
    raise AssertionError("batches never end")


def news_config(options: Options, *overrides: str) -> TrainConfig:
    """The large model in bf16."""
    overrides = (*NEWS, "model=gnmt", "precision=bf16", *overrides)
    return training_config(overrides, options.output / "scratch")


def operations_of_tokens(config: TrainConfig, vocabulary: int) -> tuple[float, float]:
    """Of a source and of a target token: two for each weight of a product, forward, and twice as
    many backward. The attention's scores and means are not counted."""
    graph = description_of(config, vocabulary).graph()
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


def decoding_speeds(options: Options) -> dict[Decoding, float]:
    """Output tokens/s of newstest2014, all cases with one model."""
    config = news_config(options)
    data = prepared(config)
    translator = random_translator(config, data)
    texts, references = newstest(config)
    found = {}
    for case in DECODING:
        decode = settings_of(case, translator, references)
        some = texts[: 2 * case.sentences]
        translator.translate(some, decode)  # warm up
        translator.translate(some, decode)
        begin = time.perf_counter()
        translations = translator.translate(texts, decode)
        seconds = time.perf_counter() - begin
        found[case] = sum(len(one.tokens) for one in translations) / seconds
    return found


def milliseconds_alone(options: Options) -> float:
    """The median of sentences translated alone, greedily."""
    config = news_config(options)
    data = prepared(config)
    translator = random_translator(config, data)
    texts, references = newstest(config)
    decode = settings_of(Decoding("greedy", 1, 0.0), translator, references)
    times = []
    for text in texts[:ALONE]:
        translator.translate([text], decode)  # lengths that have been seen before
    for text in texts[:ALONE]:
        begin = time.perf_counter()
        translator.translate([text], decode)
        times.append(1000 * (time.perf_counter() - begin))
    return median(times)


def newstest(config: TrainConfig) -> tuple[list[str], list[str]]:
    """Sources and references of newstest2014."""
    pairs = list(read_parallel(config.data.test["newstest2014"]))
    return [source for source, _ in pairs], [reference for _, reference in pairs]


def settings_of(case: Decoding, translator: Translator, references: Sequence[str]) -> DecodeConfig:
    """All translations as long as the references are on average."""
    decode = fixed_length(decode_settings(case.search), translator.vocabulary, list(references))
    return decode.model_copy(update={"batch_sentences": case.sentences})


def random_translator(
    config: TrainConfig, data: PreparedData, precision: Literal["fp32", "bf16"] = "bf16"
) -> Translator:
    """Initial weights, and translations that never end by themselves."""
    description = description_of(config, len(data.vocabulary))
    graph = description.graph()
    parameters = graph.build(graph.names, config.seed).canonical_parameters()
    weights = {name: parameter.detach() for name, parameter in parameters.items()}
    weights["output.bias"][EOS] = NEVER
    stepper = Stepper(graph, weights, lambda _: "cuda", format_of(precision))
    return Translator(description, data.vocabulary, stepper, precision=precision)


def description_of(config: TrainConfig, vocabulary: int) -> ModelDescription:
    """Of the configured model."""
    return ModelDescription(
        format=2,
        weights="fp32",
        clip=None,
        clip_cells=False,
        model=config.model,
        vocabulary_size=vocabulary,
        source_language=config.data.source_language,
        target_language=config.data.target_language,
        precision="fp32",
    )


if __name__ == "__main__":  # where time is short: one measurement of each
    quick = Options(seconds=8, warm_up=6, repeats=1, output=Path("runs/bench"))
    quick_report = Report("gpu")
    run(quick, quick_report)
    print(quick_report.table())
