"""Pipelines of two single-threaded processes compared with one process, with the same
micro-batches.

With M micro-batches and two stages of equal cost, the speed-up of a pipeline is at most
2M / (M + 1). DeepSpeed is measured with the stages that it would choose itself (equal numbers of
parameters) and with ours (equal measured time).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nmt.config import TrainConfig
from nmt.corpus.prepare import prepare
from nmt.errors import NmtError
from nmt.model.build import build_graph
from nmt.parallel.world import cores
from nmt.placement.plan import contiguous
from nmt.precision.bf16 import require_bf16
from nmt.run.measure import Measurement, measure_steps
from tests.benchmarks.options import Options
from tests.benchmarks.ours import batches_of, training_config
from tests.benchmarks.results import Report

SENTENCES = 64  # of a micro-batch
SAME_LOSS = 1e-3  # largest relative difference of losses: all ways must have done the same work
UNIT = "target tokens/s"


@dataclass(frozen=True)
class Way:
    """One way to run the same steps."""

    name: str
    words: str
    threads: int  # of each process
    settings: tuple[str, ...]


STOCK = "stock-plan.json"
ONE = Way("pipeline.local.1process.1thread", "one process, one thread", 1, ("parallel=local",))
TWO_THREADS = Way(
    "pipeline.local.1process.2threads", "one process, two threads", 2, ("parallel=local",)
)
WAVEFRONT = Way(
    "pipeline.wavefront.2processes",
    "wavefront",
    1,
    ("parallel=wavefront", "parallel.stages=2"),
)
BEST = Way(
    "pipeline.deepspeed.2processes",
    "DeepSpeed, our boundaries",
    1,
    ("parallel=deepspeed", "parallel.stages=2"),
)
STOCK_WAY = Way(
    "pipeline.deepspeed_stock.2processes",
    "DeepSpeed, its own boundaries",
    1,
    ("parallel=deepspeed", "parallel.stages=2", "placement=file", f"placement.file={STOCK}"),
)
WAYS = (WAVEFRONT, BEST, STOCK_WAY, ONE, TWO_THREADS)


def run(options: Options, report: Report) -> None:
    """Measure all ways in turns, for each precision and number of micro-batches."""
    if cores() < 2:
        report.skip(f"{WAVEFRONT.name}.speedup", "it needs two cores")
        return
    for precision in measurable(report):
        for M in options.micro_batches:
            _compare(options, report, precision, M)


def measurable(report: Report) -> list[str]:
    """The precisions that this processor has instructions for."""
    try:
        require_bf16("cpu", emulate=False)
    except NmtError:
        report.skip("pipeline.*.bf16", "this processor has no bf16 instructions")
        return ["fp32"]
    return ["fp32", "bf16"]


def _compare(options: Options, report: Report, precision: str, M: int) -> None:
    suffix = ("" if precision == "fp32" else f".{precision}") + (
        "" if options.micro_batches[0] == M else f".m{M}"
    )
    measurements: dict[Way, list[Measurement]] = {way: [] for way in WAYS}
    stock = _stock_plan(options, M)
    for _ in range(options.repeats):
        for way in WAYS:
            config = _config(options, way, M, stock, f"precision={precision}")
            measurements[way].append(measure_steps(config, options.steps))
    losses = [sum(each.losses) for repeats in measurements.values() for each in repeats]
    if max(losses) - min(losses) > SAME_LOSS * min(losses):
        raise RuntimeError(f"The losses must be the same every time, but are {losses}.")
    seconds = {
        way: [sum(each.seconds) for each in repeats] for way, repeats in measurements.items()
    }
    for name, way, other in (
        ("pipeline.wavefront.2processes.speedup", WAVEFRONT, ONE),
        ("pipeline.deepspeed.2processes.speedup", BEST, ONE),
        ("pipeline.wavefront.vs_two_threads", WAVEFRONT, TWO_THREADS),
        ("pipeline.wavefront_vs_deepspeed_stock", WAVEFRONT, STOCK_WAY),
        ("pipeline.wavefront_vs_deepspeed_best", WAVEFRONT, BEST),
    ):
        report.compare(name + suffix, seconds[way], other.words, seconds[other])
    for way in WAYS:
        speeds = [measurement.tokens_per_second for measurement in measurements[way]]
        report.add(f"{way.name}.tokens_per_second{suffix}", UNIT, speeds)
        report.notes.append(f"{way.words}: {measurements[way][-1].plan}")
    report.notes.append(
        f"{M} micro-batches of {SENTENCES}, {precision}: bound {2 * M / (M + 1):.2f}"
    )


def _config(options: Options, way: Way, M: int, stock: Path, *more: str) -> TrainConfig:
    settings = [setting.replace(STOCK, str(stock)) for setting in way.settings]
    return training_config(
        [
            f"model={options.models[0]}",
            *settings,
            f"parallel.micro_batches={M}",
            f"parallel.threads={way.threads}",
            f"data.batch.multiple={M}",
            *batches_of(M * SENTENCES),
            *more,
        ],
        options.output / "scratch",
    )


def _stock_plan(options: Options, M: int) -> Path:
    """Write the plan of DeepSpeed's partition method `parameters`: stages with equal numbers of
    parameters."""
    config = _config(options, ONE, M, Path())
    data = prepare(config.data, config.seed)
    graph = build_graph(config.model, len(data.vocabulary))
    counts = {
        name: float(sum(p.numel() for p in graph.build([name], 0).parameters()))
        for name in graph.names
    }
    file = (options.output / "scratch" / STOCK).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    contiguous(graph.name, counts, ["cpu", "cpu"], M).save(file)
    return file
