"""Measuring which way to execute a run is the fastest: splits of batch and time, or one process.

What is best depends on the machine in ways that a rule does not know: smaller parts keep more
devices busy, and are computed less efficiently. So each candidate trains a few steps on the run's
own batches, in processes of its own.
"""

from __future__ import annotations

import logging
from typing import Any

from nmt.config import LocalConfig, ParallelConfig, TrainConfig
from nmt.corpus.prepare import PreparedData
from nmt.placement.plan import Plan
from nmt.run.executors import (
    PLAN,
    devices_of,
    find_device,
    follow_plan,
    search_plan,
    training_graph,
)
from nmt.run.measure import measure_layers, measure_steps
from nmt.training.checkpoint import find_checkpoint

logger = logging.getLogger(__name__)

STEPS = 2  # measured
CHUNKS = (2, 4)  # tried beside 1


def tuned(config: TrainConfig) -> TrainConfig:
    """The configuration with the fastest way to run it, and without `parallel.tune`.

    First the number of micro-batches is chosen, then that of chunks, then one process with all
    threads takes its chance. A resumed run keeps the way that it began with.
    """
    before = _begun(config)
    if before is not None:
        return before
    pieces = config.data.batch.multiple // config.parallel.replicas
    micro_batches = [m for m in range(2, pieces + 1) if pieces % m == 0] or [1]
    speeds: dict[ParallelConfig, float] = {}  # target tokens a second, measured
    best = _fastest(speeds, [_changed(config, micro_batches=m, chunks=1) for m in micro_batches])
    best = _fastest(speeds, [_changed(best, chunks=c) for c in CHUNKS], best)
    if config.parallel.replicas == 1:
        best = _fastest(speeds, [_alone(config)], best)
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
        and before.schedule == parallel.rule
        and before.devices == devices[: len(before.devices)]
    ):
        logger.info("keeping the plan of the run: %s", file)
    else:
        pieces = config.data.batch.multiple // parallel.replicas
        granularities = [
            (m, c) for m in range(1, pieces + 1) if pieces % m == 0 for c in (1, *CHUNKS)
        ]
        graph = training_graph(config, len(data.vocabulary))
        profile = measure_layers(
            config, granularities, 1 if find_device(config) == "cuda" else len(devices)
        )
        plan = search_plan(config, graph, profile, devices, granularities, use_all_devices=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        plan.save(file)
    return follow_plan(config.changed(placement={"planner": "file", "file": str(file)}))


def _fastest(
    speeds: dict[ParallelConfig, float],
    candidates: list[TrainConfig],
    best: TrainConfig | None = None,
) -> TrainConfig:
    """The fastest of the candidates and the best so far; `speeds` has those measured before."""
    for candidate in candidates:
        if candidate.parallel not in speeds:
            speeds[candidate.parallel] = measure_steps(candidate, STEPS).tokens_per_second
            logger.info(
                "tuning %s: %.0f target tokens/s for %s",
                candidate.name,
                speeds[candidate.parallel],
                _words(candidate),
            )
    everyone = [*([best] if best else []), *candidates]
    return max(everyone, key=lambda one: speeds[one.parallel])


def _changed(config: TrainConfig, **changes: Any) -> TrainConfig:
    return config.changed(parallel={**changes, "tune": False})


def _alone(config: TrainConfig) -> TrainConfig:
    return config.changed(
        placement={"planner": "expert", "file": None},
        parallel=LocalConfig(
            executor="local",
            device=config.parallel.device,
            micro_batches=1,
            trace=config.parallel.trace,
            threads=None,
        ),
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
