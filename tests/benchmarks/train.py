"""Speed of training, compared with Marian and Joey NMT: one process, two threads, batches of 64
sentences."""

from __future__ import annotations

import time
from pathlib import Path

from nmt.errors import NmtError
from nmt.precision.bf16 import require_bf16
from tests.benchmarks import joey as joey_nmt
from tests.benchmarks.joey import JoeyNmt
from tests.benchmarks.marian import PEER, Marian
from tests.benchmarks.options import Options
from tests.benchmarks.ours import Steps, batches_of, in_new_process, prepared, training_config
from tests.benchmarks.results import Report

SENTENCES, THREADS = 64, 2
UNIT = "target tokens/s"


def run(options: Options, report: Report) -> None:
    """Measure ours and the peers in turns, each time in a new process."""
    data = prepared(training_config(batches_of(SENTENCES), options.output / "scratch"))
    folder, wanted = options.output, options.peers
    marian = Marian(options.venv, folder / "marian", data) if "marian" in wanted else None
    joey = JoeyNmt(options.venv, folder / "joey", data) if "joey" in wanted else None
    precisions = ["fp32"]
    try:
        require_bf16("cpu", emulate=False)
        precisions.append("bf16")
    except NmtError:
        for model in options.models:
            report.skip(name_of(model, "bf16"), "this processor has no bf16 instructions")
    for model in options.models:
        ours: dict[str, list[float]] = {precision: [] for precision in precisions}
        peers: list[float] = []
        others: list[float] = []
        for seed in range(1, options.repeats + 1):
            for precision in precisions:
                speed = in_new_process(tokens_per_second, model, precision, seed, options)
                ours[precision].append(speed)
            if marian:
                peers.append(
                    marian.tokens_per_second(model, options.seconds, options.warm_up, seed)
                )
            if joey:
                others.append(
                    joey.tokens_per_second(model, options.seconds, options.warm_up, seed, THREADS)
                )
        for precision, values in ours.items():
            report.add(name_of(model, precision), UNIT, values, PEER, peers)
            if joey:
                name = name_of(model, precision).replace("tokens_per_second", "joey")
                report.add(name, UNIT, values, joey_nmt.PEER, others)
        if marian:
            report.notes.append(f"Marian, {model}: {marian.commands[-1]}")
        if joey:
            report.notes.append(f"Joey NMT, {model}: {joey.commands[-1]}")


def name_of(model: str, precision: str) -> str:
    """The row's name in bench.json."""
    return f"train.{model}.{precision}.tokens_per_second"


def tokens_per_second(model: str, precision: str, seed: int, options: Options) -> float:
    """Target tokens per second, EOS included, by wall-clock time, batching included."""
    config = training_config(
        [
            f"model={model}",
            f"precision={precision}",
            f"seed={seed}",
            f"parallel.threads={THREADS}",
            *batches_of(SENTENCES),
        ],
        Path(options.output / "scratch"),
    )
    begin = time.perf_counter()
    start, counted = 0.0, 0
    for _, result in Steps(config, prepared(config)):
        now = time.perf_counter()
        if not start:
            start = now if now - begin >= options.warm_up else 0.0
            continue
        counted += result.tokens
        if now - start >= options.seconds:
            return counted / (now - start)
    raise AssertionError("batches never end")
