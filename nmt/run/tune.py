"""Measuring which way to run a training is the fastest: cuts of batch and time, or one process.

What is best depends on the machine in ways that a rule does not know: smaller pieces keep more
devices busy, and are computed less efficiently. So each candidate trains a few steps on the run's
own batches, in processes of its own.

`python -m nmt.run.tune <configuration.json> <output.json> steps <n>` is one process of a
measurement; with `profile <cuts>` in place of the steps, it measures the layers one by one.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nmt.config import ParallelConfig, TrainConfig, read
from nmt.corpus.prepare import PreparedData, prepare
from nmt.memory import keep_memory
from nmt.model.batch import Batch
from nmt.model.graph import LayerGraph
from nmt.parallel import group
from nmt.parallel.launch import end_worker, run_workers, world
from nmt.parallel.pipeline_profile import profile_in_pipeline
from nmt.placement.cost import Profile
from nmt.placement.plan import Plan
from nmt.run.executors import (
    PLAN,
    devices_of,
    find_device,
    first_batch,
    follow_plan,
    make_executor,
    measured,
    number_of_processes,
    search_plan,
    training_graph,
    wavefront_executor,
)
from nmt.training.trainer import find_checkpoint

logger = logging.getLogger(__name__)

STEPS = 2  # measured
WARM_UP = 2  # steps before them: the first ones get their memory from the system
CHUNKS = (2, 4)  # tried beside 1


class Measurement(NamedTuple):
    """Some steps of training."""

    seconds: list[float]
    tokens: list[int]  # of the target, EOS included
    losses: list[float]
    plan: str  # for people

    @property
    def tokens_per_second(self) -> float:
        """Over all steps."""
        return sum(self.tokens) / sum(self.seconds)


def measure(config: TrainConfig, steps: int) -> Measurement:
    """Train some steps in processes of their own, with new weights, and forget them.

    Raises:
        WorkerError: a process failed.
    """
    values = _in_workers(config, number_of_processes(config), "steps", str(steps))
    return Measurement(**values)


def measure_layers(config: TrainConfig, cuts: Sequence[tuple[int, int]], processes: int) -> Profile:
    """The costs of the layers on so many devices, as they are while all of them work: processes
    that share memory slow one another down.

    Raises:
        WorkerError: a process failed.
    """
    return read(Profile, _in_workers(config, processes, "profile", json.dumps(list(cuts))))


def _in_workers(config: TrainConfig, processes: int, *what: str) -> Any:
    """What the first of some processes has found."""
    with tempfile.TemporaryDirectory() as folder:
        given, output = Path(folder) / "configuration.json", Path(folder) / "measured.json"
        config = config.changed(runs=folder, name="measured")
        given.write_text(config.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", "nmt.run.tune", str(given), str(output), *what]
        run_workers(command, processes, config.parallel.threads)
        return json.loads(output.read_text(encoding="utf-8"))


def tuned(config: TrainConfig) -> TrainConfig:
    """The configuration with the fastest way to run it, and without `parallel.tune`.

    First the number of micro-batches is chosen, then that of chunks, then one process with all
    threads takes its chance. Where a run goes on, it keeps the way that it began with.
    """
    before = _begun(config)
    if before is not None:
        return before
    pieces = config.data.batch.multiple // config.parallel.copies
    cuts = [m for m in range(2, pieces + 1) if pieces % m == 0] or [1]
    best = _fastest(config, [_changed(config, micro_batches=m, chunks=1) for m in cuts])
    best = _fastest(config, [_changed(best, chunks=c) for c in CHUNKS], best)
    if config.parallel.copies == 1:
        best = _fastest(config, [_alone(config)], best)
    logger.info("tuning: taking %s", _words(best))
    return best


def planned(config: TrainConfig, data: PreparedData) -> TrainConfig:
    """The configuration with the plan of `placement=auto`: placement, micro-batches and chunks
    chosen together, from costs measured here, and kept in the run's folder."""
    file, parallel = config.folder / PLAN, config.parallel
    devices = devices_of(config, find_device(config))
    before = Plan.load(file) if find_checkpoint(config) and file.exists() else None
    if (
        before is not None
        and before.schedule == parallel.schedule
        and before.devices == devices[: len(before.devices)]
    ):
        logger.info("going on with the plan of the run: %s", file)
    else:
        pieces = config.data.batch.multiple // parallel.copies
        cuts = [(m, c) for m in range(1, pieces + 1) if pieces % m == 0 for c in (1, *CHUNKS)]
        graph = training_graph(config, len(data.vocabulary))
        profile = measure_layers(config, cuts, 1 if find_device(config) == "cuda" else len(devices))
        plan = search_plan(config, graph, profile, devices, cuts, use_all=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        plan.save(file)
    return follow_plan(config.changed(placement={"planner": "file", "file": str(file)}))


_speeds: dict[ParallelConfig, float] = {}  # measured already by this process


def _fastest(
    config: TrainConfig, candidates: list[TrainConfig], best: TrainConfig | None = None
) -> TrainConfig:
    for candidate in candidates:
        if candidate.parallel not in _speeds:
            _speeds[candidate.parallel] = measure(candidate, STEPS).tokens_per_second
            logger.info(
                "tuning %s: %.0f target tokens/s for %s",
                config.name,
                _speeds[candidate.parallel],
                _words(candidate),
            )
    everyone = [*([best] if best else []), *candidates]
    return max(everyone, key=lambda one: _speeds[one.parallel])


def _changed(config: TrainConfig, **changes: Any) -> TrainConfig:
    return config.changed(parallel={**changes, "tune": False})


def _alone(config: TrainConfig) -> TrainConfig:
    return config.changed(
        placement={"planner": "expert", "file": None},
        parallel={
            "executor": "local",
            "stages": 1,
            "micro_batches": 1,
            "chunks": 1,
            "schedule": None,
            "one_process": False,
            "threads": None,
            "tune": False,
        },
    )


def _begun(config: TrainConfig) -> TrainConfig | None:
    """As the run in this folder has been begun."""
    file = config.folder / PLAN
    if not (config.folder / "checkpoints").exists() or not file.exists():
        return None
    plan = Plan.load(file)
    if plan.schedule == "sequential":
        return _alone(config)
    return _changed(config, micro_batches=plan.micro_batches, chunks=plan.chunks)


def _words(config: TrainConfig) -> str:
    parallel = config.parallel
    if parallel.executor == "local":
        return "one process with all threads"
    return (
        f"{parallel.stages} devices, {parallel.micro_batches} micro-batches, "
        f"{parallel.chunks} chunks of time"
    )


def overrides(config: TrainConfig) -> list[str]:
    """What a worker's command line needs, to have the same configuration."""
    parallel = config.parallel.model_dump()
    names = ("tune", "executor", "stages", "micro_batches", "chunks", "schedule", "one_process")
    found = [f"parallel.{name}={json.dumps(parallel[name])}" for name in names]
    if config.placement.file is not None:
        found += [
            "placement.planner=file",
            f"placement.file={json.dumps(config.placement.file, ensure_ascii=False)}",
        ]
    return found


def worker() -> None:
    """One process of a measurement."""
    given, output, what, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    logging.disable(logging.INFO)
    config = read(TrainConfig, json.loads(given.read_text(encoding="utf-8")))
    keep_memory()
    if config.parallel.threads:
        torch.set_num_threads(config.parallel.threads)
    data = prepare(config.data, config.seed)
    graph = training_graph(config, len(data.vocabulary))
    if what == "profile":
        found: Any = _layers_here(config, graph, data, json.loads(how))
    else:
        found = _steps_here(config, graph, data, int(how))
    if world().rank == 0:
        output.write_text(json.dumps(found), encoding="utf-8")
    group.leave()


def _layers_here(
    config: TrainConfig, graph: LayerGraph, data: PreparedData, cuts: list[tuple[int, int]]
) -> dict[str, Any]:
    """The profile: measured while the others measure theirs, and then in steps of a pipeline of
    all of them."""
    group.join("gloo")
    group.wait_for_all()
    device, processes = find_device(config), world().size
    alone = processes == 1
    mine = measured(config, graph, data, cuts if alone else cuts[:1], device)
    profile = group.from_main(lambda: mine)
    if not alone:
        profile = profile_in_pipeline(
            profile,
            cuts,
            first_batch(config, data),
            [device] * processes,
            lambda plan: wavefront_executor(config, graph, plan, copies=1),
        )
    group.wait_for_all()
    return profile.model_dump(mode="json")


def _steps_here(
    config: TrainConfig, graph: LayerGraph, data: PreparedData, steps: int
) -> dict[str, Any]:
    """Some training steps, after those that warm up on the longest of them."""
    executor = make_executor(config, graph, data, find_device(config))
    some = list(islice(data.batches(), steps))
    batches = [Batch.from_rows(pairs.source, pairs.target) for pairs in some]
    longest = max(batches, key=lambda batch: batch.source.numel() + batch.target_input.numel())
    seconds, tokens, losses = [], [], []
    for step, batch in enumerate([*[longest] * WARM_UP, *batches]):
        begin = time.perf_counter()
        result = executor.train_step(batch, step, config.optimizer.learning_rate / 100)
        loss = result.loss  # there when a GPU is done
        if step >= WARM_UP:
            seconds.append(time.perf_counter() - begin)
            tokens.append(result.tokens)
            losses.append(loss)
    return Measurement(seconds, tokens, losses, Plan.load(config.folder / PLAN).table())._asdict()


if __name__ == "__main__":
    worker()
    end_worker()
