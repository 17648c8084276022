"""Training runs. `start` is the single entry point for commands, sweeps and schedulers.

It checks what can be checked before any work, prepares the data, decides how to execute the run,
and executes it: in this process, or in worker processes that read the resolved configuration from
`run.json` in the run's folder. If another launcher (torchrun, deepspeed) has started several
processes, each of them calls `start`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch

from nmt.config import TrainConfig, WavefrontConfig
from nmt.corpus.prepare import PreparedData, prepare
from nmt.errors import PlanError
from nmt.evaluation.plots import require_matplotlib
from nmt.model.folder import ModelDescription
from nmt.parallel import group
from nmt.parallel.world import is_worker, world
from nmt.precision.bf16 import require_bf16
from nmt.run.executors import (
    find_device,
    follow_plan,
    make_executor,
    training_graph,
)
from nmt.run.folder import writing_to
from nmt.run.job import JOB, TrainJob, now, run_job, save_job
from nmt.run.result import RunResult
from nmt.run.tune import planned, tuned
from nmt.training.checkpoint import find_checkpoint
from nmt.training.distill import distilled
from nmt.training.identity import check_resumable
from nmt.training.trainer import Trainer

logger = logging.getLogger(__name__)

_SUBNORMAL = 1e-40  # of fp32


def start(config: TrainConfig) -> RunResult:
    """Train as configured, resuming the run if it has begun, and return its result.

    Raises:
        NmtError: the configuration cannot be run, or the run failed; see the types in nmt.errors.
    """
    started = now()
    config = follow_plan(config)
    find_checkpoint(config)  # fails early: preparing the data may take long
    check_possible(config)
    config = distilled(config, wait=world().rank > 0)
    if is_worker():
        _check_launched(config)
        if world().rank > 0:
            logging.getLogger().setLevel(logging.WARNING)  # the first process reports for all
        return train_here(config, started)
    data = prepare(config.data, config.seed)
    check_resumable(config, data)
    if config.placement.planner == "auto" and config.parallel.executor == "wavefront":
        config = planned(config, data)
    if isinstance(config.parallel, WavefrontConfig) and config.parallel.tune:
        config = tuned(config, data)
    job, file = TrainJob(config=config, started=started), config.folder / JOB
    processes = config.parallel.processes
    if processes > 1:
        run_job(job, file, processes, config.parallel.threads)
        return RunResult.load(config.folder)
    save_job(job, file)
    return train_here(config, started, data)


def check_possible(config: TrainConfig) -> None:
    """Check that this machine can run the configuration.

    Raises:
        ConfigurationError: bf16 or matplotlib is required but not available.
        PlanError: there are fewer GPUs than the configuration requires.
    """
    if config.precision.name == "bf16":
        require_bf16(find_device(config), config.precision.emulate)
    if config.parallel.trace:
        require_matplotlib()


def _check_launched(config: TrainConfig) -> None:
    """Check that the processes of another launcher can execute the configuration.

    Raises:
        PlanError: the configuration requires measurements first, or another number of processes.
    """
    if isinstance(config.parallel, WavefrontConfig) and config.parallel.tune:
        raise PlanError(
            "`parallel.tune` must be false in processes that another program has started; run "
            "`nmt-train` without it once, and set the numbers that it has chosen."
        )
    if config.placement.planner == "auto":
        raise PlanError(
            "`placement` must not be auto in processes that another program has started; run "
            "`nmt-place` first, and use its plan with `placement=file`."
        )
    processes = config.parallel.processes
    if world().size != processes:
        raise PlanError(
            f"`parallel.stages` × `parallel.replicas` ({processes}) must be the number of "
            f"processes, but {world().size} were started; change the settings, or start as many."
        )


def train_here(config: TrainConfig, started: float, data: PreparedData | None = None) -> RunResult:
    """Execute this process's part of a run that began at `started`, a time of `job.now`."""
    with using_cpu(config.parallel.threads), group.connected():
        device = find_device(config)
        if data is None:
            data = prepare(config.data, config.seed)
            check_resumable(config, data)  # before any file is written
        executor = make_executor(config, training_graph(config, len(data.vocabulary)), data, device)
        try:
            with writing_to(config) if executor.is_main else nullcontext():
                trainer = Trainer(config, data, executor, describe_model(config, data), started)
                result = RunResult.of(config, trainer.run())
                if executor.is_main:
                    result.save()
                logger.info("best model (step %d): %s", result.best_step, result.best)
                return result
        finally:
            executor.close()


def describe_model(config: TrainConfig, data: PreparedData) -> ModelDescription:
    """The description of the run's models, written to their model.yaml."""
    return ModelDescription(
        format=4,
        longest_source=_longest_source(data),
        model=config.model,
        vocabulary_size=len(data.vocabulary),
        directions=config.data.directions,
        precision=config.precision.name,
        weights="fp32",
        clip=config.precision.clip,
        clip_cells=config.precision.clip_cells_from is not None,
    )


def _longest_source(data: PreparedData) -> int:
    """Pieces that all but one of a thousand training sources have at most: of longer ones a model
    has seen too few to translate them well."""
    lengths = np.concatenate([store.source_lengths for store in data.train.values()])
    return max(1, int(np.ceil(np.quantile(lengths, 0.999))))


@contextmanager
def using_cpu(threads: int | None) -> Iterator[None]:
    """Compute on the CPU with that many threads (None: the number stays as it is), and with
    subnormal numbers as zeros; afterwards as before, for the next run of this process.

    With high learning rates, gradients fall below 1e-38, which many processors compute in
    microcode: without this, a small LSTM can train at a sixth of its speed after an epoch.
    PyTorch's threads take the mode from the thread that starts them, in the first large operation.
    """
    before = torch.get_num_threads()
    had_subnormals = bool(torch.tensor(_SUBNORMAL) * 1 > 0)
    torch.set_flush_denormal(True)
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(not had_subnormals)
