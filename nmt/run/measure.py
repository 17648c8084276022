"""Measuring what a run would cost, in worker processes: its layers, its steps, its links."""

from __future__ import annotations

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
from nmt.placement.cost import Profile
from nmt.placement.plan import Plan
from nmt.run.executors import (
    PLAN,
    find_device,
    first_batch,
    make_executor,
    measured,
    training_graph,
    wavefront_executor,
)
from nmt.run.job import LayersJob, LinkJob, StepsJob, measure_in_workers

WARM_UP = 2  # steps before those that are timed: the first ones get their memory from the system


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


def measure_steps(config: TrainConfig, steps: int) -> Measurement:
    """Time some training steps in processes of their own, with new weights.

    Raises:
        WorkerError: a process failed.
    """
    job = StepsJob(config=config, steps=steps)
    return Measurement(**measure_in_workers(job, config.parallel.processes))


def measure_layers(
    config: TrainConfig, granularities: Sequence[tuple[int, int]], processes: int
) -> Profile:
    """The costs of the layers on so many devices, as they are while all of them work: processes
    that share memory slow one another down.

    Raises:
        WorkerError: a process failed.
    """
    job = LayersJob(
        config=config, granularities=[list(granularity) for granularity in granularities]
    )
    return read(Profile, measure_in_workers(job, processes))


def measure_link(backend: str) -> LinkConfig:
    """The link between two processes of this machine, over gloo or nccl.

    Raises:
        WorkerError: a process failed.
    """
    seconds = measure_in_workers(LinkJob(backend="nccl" if backend == "nccl" else "gloo"), 2)
    return link_of({int(size): value for size, value in seconds.items()})


# In the workers


def steps_in_group(config: TrainConfig, steps: int) -> Measurement:
    """One process's part of `measure_steps`. Warms up on the longest of the steps' batches."""
    data = prepare(config.data, config.seed)
    graph = training_graph(config, len(data.vocabulary))
    executor = make_executor(config, graph, data, find_device(config))
    batches = [Batch.from_rows(one.source, one.target) for one in islice(data.batches(), steps)]
    longest = max(batches, key=lambda batch: batch.source.numel() + batch.target_input.numel())
    seconds, tokens, losses = [], [], []
    for step, batch in enumerate([*[longest] * WARM_UP, *batches]):
        begin = time.perf_counter()
        result = executor.train_step(batch, step, config.optimizer.learning_rate / 100)
        loss = result.loss  # waits until a GPU is done
        if step >= WARM_UP:
            seconds.append(time.perf_counter() - begin)
            tokens.append(result.tokens)
            losses.append(loss)
    return Measurement(seconds, tokens, losses, Plan.load(config.folder / PLAN).table())


def layers_in_group(config: TrainConfig, granularities: Sequence[tuple[int, int]]) -> Profile:
    """One process's part of `measure_layers`: the layers one by one, while the others measure
    theirs, and then in steps of a pipeline of all of them."""
    data = prepare(config.data, config.seed)
    graph = training_graph(config, len(data.vocabulary))
    group.join("gloo")
    group.wait_for_all()
    device, processes = find_device(config), world().size
    alone = processes == 1
    own_profile = measured(
        config, graph, data, granularities if alone else granularities[:1], device
    )
    profile = group.from_main(lambda: own_profile)
    if not alone:
        profile = profile_in_pipeline(
            profile,
            granularities,
            first_batch(config, data),
            [device] * processes,
            lambda plan: wavefront_executor(config, graph, plan, replicas=1),
        )
    group.wait_for_all()
    return profile
