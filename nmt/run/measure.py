"""Measuring a run's layers, training steps and links, in worker processes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from nmt.config import LinkConfig, TrainConfig, read
from nmt.corpus.prepare import prepare
from nmt.model.batch import Batch
from nmt.parallel import group
from nmt.parallel.pipeline_profile import profile_in_pipeline
from nmt.parallel.probe import link_of
from nmt.parallel.world import world
from nmt.placement.cost import PLAUSIBLE, Profile
from nmt.placement.plan import Plan
from nmt.run.busy import warn_if_busy
from nmt.run.executors import (
    PLAN,
    find_device,
    first_batch,
    make_executor,
    measure_costs,
    training_graph,
    wavefront_executor,
)
from nmt.run.job import LayersJob, LinkJob, StepsJob, measure_in_workers

logger = logging.getLogger(__name__)

ATTEMPTS = 3  # at measuring layers
WARM_UP = 2  # untimed steps at the start, which are slow because they allocate memory


class Measurement(NamedTuple):
    """Timed training steps, with one element for each step in the lists."""

    seconds: list[float]
    tokens: list[int]  # target tokens, EOS included
    losses: list[float]
    plan: str  # the plan as a table to read

    @property
    def tokens_per_second(self) -> float:
        """Target tokens per second over all steps."""
        return sum(self.tokens) / sum(self.seconds)


def measure_steps(config: TrainConfig, steps: int) -> Measurement:
    """Time training steps with new weights, in worker processes.

    Raises:
        WorkerError: a process failed.
    """
    job = StepsJob(config=config, steps=steps)
    return Measurement(**measure_in_workers(job, config.parallel.processes))


def measure_layers(
    config: TrainConfig, granularities: Sequence[tuple[int, int]], processes: int
) -> Profile:
    """Measure the costs of the layers in `processes` processes that work at the same time, since
    processes that share memory bandwidth slow one another down. Costs that cannot be right are
    measured again, and warned of if they stay so.

    Raises:
        WorkerError: a process failed.
    """
    job = LayersJob(
        config=config, granularities=[list(granularity) for granularity in granularities]
    )
    warn_if_busy()
    profile = read(Profile, measure_in_workers(job, processes))
    for _ in range(ATTEMPTS - 1):
        if profile.disagreement <= PLAUSIBLE:
            return profile
        logger.info(
            "the measured costs cannot be right (tasks of large batches take %.1f times as long as "
            "those of small ones together): measuring again",
            profile.disagreement,
        )
        again = read(Profile, measure_in_workers(job, processes))
        profile = min(profile, again, key=lambda one: one.disagreement)
    if profile.disagreement > PLAUSIBLE:
        logger.warning(
            "The measured costs cannot be right, also after %d attempts: tasks of large batches "
            "take %.1f times as long as those of small ones together. Something else uses the "
            "machine; measure again when it is quiet, before you rely on this plan.",
            ATTEMPTS,
            profile.disagreement,
        )
    return profile


def measure_link(backend: str) -> LinkConfig:
    """Measure the link between two processes of this machine, over gloo or nccl.

    Raises:
        WorkerError: a process failed.
    """
    seconds = measure_in_workers(LinkJob(backend="nccl" if backend == "nccl" else "gloo"), 2)
    return link_of({int(size): value for size, value in seconds.items()})


# The functions below run in the workers.


def steps_in_group(config: TrainConfig, steps: int) -> Measurement:
    """One process's part of `measure_steps`. The warm-up uses the longest batch of all."""
    data = prepare(config.data, config.seed)
    graph = training_graph(config, len(data.vocabulary))
    executor = make_executor(config, graph, data, find_device(config))
    batches = [
        Batch.from_rows(pairs.source, pairs.target) for pairs in islice(data.batches(), steps)
    ]
    longest = max(batches, key=lambda batch: batch.source.numel() + batch.target_input.numel())
    seconds, tokens, losses = [], [], []
    for step, batch in enumerate([*[longest] * WARM_UP, *batches]):
        begin = time.perf_counter()
        result = executor.train_step(batch, step, config.optimizer.learning_rate / 100)
        loss = result.loss  # blocks until a GPU has finished the step
        if step >= WARM_UP:
            seconds.append(time.perf_counter() - begin)
            tokens.append(result.tokens)
            losses.append(loss)
    return Measurement(seconds, tokens, losses, Plan.load(config.folder / PLAN).table())


def layers_in_group(config: TrainConfig, granularities: Sequence[tuple[int, int]]) -> Profile:
    """One process's part of `measure_layers`: the layers one at a time, while the other processes
    do the same, and then in steps of a pipeline of all processes."""
    data = prepare(config.data, config.seed)
    graph = training_graph(config, len(data.vocabulary))
    group.join("gloo")
    group.wait_for_all()
    device, processes = find_device(config), world().size
    is_pipeline = processes > 1
    local_profile = measure_costs(
        config, graph, data, granularities[:1] if is_pipeline else granularities, device
    )
    profile = group.from_main(lambda: local_profile)
    if is_pipeline:
        profile = profile_in_pipeline(
            profile,
            granularities,
            first_batch(config, data),
            [device] * processes,
            lambda plan: wavefront_executor(config, graph, plan, replicas=1),
        )
    group.wait_for_all()
    return profile
