"""DeepSpeed's pipeline in two single-threaded processes against one process, same micro-batches.

With M micro-batches and two stages of equal cost, the pipeline's bound is 2M / (M + 1): 1.78.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.parallel.launch import cores, run_workers
from tests.benchmarks.options import Options
from tests.benchmarks.ours import batches_of
from tests.benchmarks.results import Report

MICRO_BATCHES, SENTENCES = 8, 64  # sentences of a micro-batch
SAME_LOSS = 1e-3  # relative; the three ways must have done the same work
UNIT = "target tokens/s"


@dataclass(frozen=True)
class Way:
    """One way to run the same steps."""

    name: str
    words: str
    processes: int
    threads: int  # of each process


PIPELINE = Way("pipeline.deepspeed.2processes", "two processes, one thread each", 2, 1)
ONE = Way("pipeline.local.1process.1thread", "one process, one thread", 1, 1)
TWO_THREADS = Way("pipeline.local.1process.2threads", "one process, two threads", 1, 2)
WAYS = (PIPELINE, ONE, TWO_THREADS)


def run(options: Options, report: Report) -> None:
    """All ways in turns."""
    if cores() < 2:
        report.skip(f"{PIPELINE.name}.speedup", "it takes two cores")
        return
    seconds: dict[Way, list[float]] = {way: [] for way in WAYS}
    tokens, losses, plan = 0, [], ""
    for _ in range(options.repeats):
        for way in WAYS:
            found = measure(way, options)
            seconds[way].append(sum(found["seconds"]))
            tokens = sum(found["tokens"])
            plan = found["plan"] if way is PIPELINE else plan
            losses.append(sum(found["losses"]))
    if max(losses) - min(losses) > SAME_LOSS * min(losses):
        raise RuntimeError(f"The losses must be the same every time, but are {losses}.")
    report.compare(f"{PIPELINE.name}.speedup", seconds[PIPELINE], ONE.words, seconds[ONE])
    report.compare(
        "pipeline.deepspeed.vs_two_threads",
        seconds[PIPELINE],
        TWO_THREADS.words,
        seconds[TWO_THREADS],
    )
    speeds = {way: [tokens / s for s in values] for way, values in seconds.items()}
    for way in WAYS:
        others = (None, []) if way is ONE else (ONE.words, speeds[ONE])
        report.add(f"{way.name}.tokens_per_second", UNIT, speeds[way], *others)
    report.notes.append(plan)


def measure(way: Way, options: Options) -> dict[str, Any]:
    """Seconds, tokens and losses of the measured steps, and the plan as text."""
    output = (options.output / "scratch" / "steps.json").absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    overrides = [
        "model=small",
        f"parallel={'deepspeed' if way.processes > 1 else 'local'}",
        f"parallel.stages={way.processes}",
        f"parallel.micro_batches={MICRO_BATCHES}",
        f"parallel.threads={way.threads}",
        *batches_of(MICRO_BATCHES * SENTENCES),
    ]
    module = "tests.benchmarks.pipeline_worker"
    command = [sys.executable, "-m", module, str(output), str(options.steps), *overrides]
    run_workers(command, way.processes, way.threads)
    found: dict[str, Any] = json.loads(Path(output).read_text("utf-8"))
    output.unlink()
    return found
