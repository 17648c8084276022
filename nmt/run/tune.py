"""Choosing the fastest way to execute a run by measurement.

Smaller micro-batches and chunks keep more devices busy, but are computed less efficiently, and the
best balance depends on the machine. Each candidate, and training in a single process, is therefore
timed over a few steps on the run's own batches, in worker processes.
"""

from __future__ import annotations

import logging
from typing import Any

from nmt.config import LocalConfig, ParallelConfig, TrainConfig
from nmt.corpus.prepare import PreparedData
from nmt.placement.plan import Plan
from nmt.run.busy import warn_if_busy
from nmt.run.decisions import kept
from nmt.run.executors import (
    PLAN,
    devices_of,
    find_device,
    follow_plan,
    search_plan,
    training_graph,
)
from nmt.run.measure import measure_layers, measure_steps

logger = logging.getLogger(__name__)

STEPS = 2  # timed steps of each candidate
CHUNKS = (2, 4)  # numbers of chunks to try besides 1


def tuned(config: TrainConfig, data: PreparedData) -> TrainConfig:
    """The configuration changed to the fastest way to execute it, without `parallel.tune`.

    Chooses the number of micro-batches, then the number of chunks, then between the best pipeline
    and a single process with all threads. A resumed run is executed as it began, and a run like an
    earlier one as that was.
    """
    earlier = _resumed(config)
    if earlier is not None:
        return earlier
    chosen = kept(config, data, "tuning", lambda: _measured_best(config))
    if chosen["executor"] == "local":
        return _single_process(config)
    return _changed(config, micro_batches=chosen["micro_batches"], chunks=chosen["chunks"])


def _measured_best(config: TrainConfig) -> dict[str, Any]:
    warn_if_busy()
    most = config.data.batch.multiple // config.parallel.replicas
    micro_batches = [m for m in range(2, most + 1) if most % m == 0] or [1]
    speeds: dict[ParallelConfig, float] = {}  # target tokens a second, measured
    best = _fastest(speeds, [_changed(config, micro_batches=m, chunks=1) for m in micro_batches])
    best = _fastest(speeds, [_changed(best, chunks=c) for c in CHUNKS], best)
    if config.parallel.replicas == 1:
        best = _fastest(speeds, [_single_process(config)], best)
    logger.info("tuning: chose %s", _summary(best))
    return best.parallel.model_dump(mode="json", include={"executor", "micro_batches", "chunks"})


def planned(config: TrainConfig, data: PreparedData) -> TrainConfig:
    """The configuration with the plan of `placement=auto`, which chooses placement, micro-batches
    and chunks together from costs measured on this machine. The plan is kept in the run's folder,
    and a resumed run uses it again."""
    file, parallel = config.folder / PLAN, config.parallel
    devices = devices_of(config, find_device(config))
    earlier = Plan.load(file) if file.exists() else None
    if (
        earlier is not None
        and earlier.schedule == parallel.rule
        and earlier.devices == devices[: len(earlier.devices)]
    ):
        logger.info("keeping the plan of the run: %s", file)
    else:
        most = config.data.batch.multiple // parallel.replicas  # micro-batches
        granularities = [(m, c) for m in range(1, most + 1) if most % m == 0 for c in (1, *CHUNKS)]
        graph = training_graph(config, len(data.vocabulary))

        def decide() -> dict[str, Any]:
            processes = 1 if find_device(config) == "cuda" else len(devices)
            profile = measure_layers(config, granularities, processes)
            found = search_plan(
                config, graph, profile, devices, granularities, use_all_devices=False
            )
            return found.model_dump(mode="json")

        plan = Plan.model_validate(kept(config, data, "placement", decide))
        file.parent.mkdir(parents=True, exist_ok=True)
        plan.save(file)
    return follow_plan(config.changed(placement={"planner": "file", "file": str(file)}))


def _fastest(
    speeds: dict[ParallelConfig, float],
    candidates: list[TrainConfig],
    best: TrainConfig | None = None,
) -> TrainConfig:
    """The fastest of the candidates and the best so far, measuring those that are not in `speeds`
    yet."""
    for candidate in candidates:
        if candidate.parallel not in speeds:
            speeds[candidate.parallel] = measure_steps(candidate, STEPS).tokens_per_second
            logger.info(
                "tuning %s: %.0f target tokens/s for %s",
                candidate.name,
                speeds[candidate.parallel],
                _summary(candidate),
            )
    contenders = [*([best] if best else []), *candidates]
    return max(contenders, key=lambda contender: speeds[contender.parallel])


def _changed(config: TrainConfig, **changes: Any) -> TrainConfig:
    return config.changed(parallel={**changes, "tune": False})


def _single_process(config: TrainConfig) -> TrainConfig:
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


def _resumed(config: TrainConfig) -> TrainConfig | None:
    """The configuration executed as the run in its folder began; None if it has not begun."""
    file = config.folder / PLAN
    if not (config.folder / "checkpoints").exists() or not file.exists():
        return None
    plan = Plan.load(file)
    if plan.schedule == "sequential":
        return _single_process(config)
    return _changed(config, micro_batches=plan.micro_batches, chunks=plan.chunks)


def _summary(config: TrainConfig) -> str:
    parallel = config.parallel
    if parallel.executor == "local":
        return "one process with all threads"
    return (
        f"{parallel.stages} devices, {parallel.micro_batches} micro-batches, "
        f"{parallel.chunks} chunks"
    )
