"""`nmt-train`: train a model, on one device or as a pipeline of processes."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
import yaml

from nmt.command import run_command
from nmt.config import TrainConfig
from nmt.corpus.prepare import PreparedData, prepare
from nmt.errors import CheckpointError, PlanError
from nmt.model.batch import Batch
from nmt.model.folder import ModelDescription
from nmt.model.graph import LayerGraph
from nmt.parallel.executor import Executor
from nmt.parallel.launch import is_worker, keep_memory, parent_start, run_workers, world
from nmt.parallel.local import LocalExecutor
from nmt.parallel.measure import layer_costs
from nmt.placement.plan import Plan, contiguous, single_device
from nmt.precision.bf16 import require_bf16
from nmt.training.loss import SmoothedCrossEntropy
from nmt.training.optimizer import optimizer_factory
from nmt.training.trainer import Trainer, check_continuation, find_checkpoint

logger = logging.getLogger(__name__)

PLAN = "plan.json"


def main() -> None:
    """The console script."""
    run_command("nmt-train", TrainConfig, train, "train")


def train(config: TrainConfig) -> None:
    """Prepare the data, start the processes that the configuration asks for, and train."""
    parent = parent_start()
    started = time.monotonic() if parent is None else parent
    find_checkpoint(config)  # at once, since preparing the data may take long
    processes = config.parallel.stages * config.parallel.copies
    if processes > 1 and not is_worker():
        # Mistakes in the data, or in going on with a run, show here, once.
        check_continuation(config, prepare(config.data, config.seed))
        run_workers(
            [sys.executable, "-m", "nmt.train", *sys.argv[1:]],
            processes,
            config.parallel.threads,
            started,
        )
        return
    if is_worker() and world().size != processes:
        raise PlanError(
            f"`parallel.stages` × `parallel.copies` ({processes}) must be the number of processes, "
            f"but {world().size} were started; set them, with `parallel=deepspeed`."
        )
    if world().rank > 0:
        logging.getLogger().setLevel(logging.WARNING)  # the first worker speaks for all
    elif parent is not None:
        logging.getLogger("nmt.corpus").setLevel(logging.WARNING)  # the parent has said it
    train_here(config, started)


def train_here(config: TrainConfig, started: float) -> None:
    """This process's part of the training; `started` is when the command began."""
    keep_memory()
    if config.parallel.threads:
        torch.set_num_threads(config.parallel.threads)
    device = find_device(config)
    if config.precision.name == "bf16":
        require_bf16(device, config.precision.emulate)
    data = prepare(config.data, config.seed)
    check_continuation(config, data)  # before the first file is written
    description = ModelDescription(
        format=1,
        model=config.model,
        vocabulary_size=len(data.vocabulary),
        source_language=config.data.source_language,
        target_language=config.data.target_language,
        precision=config.precision.name,
    )
    executor = make_executor(config, description.graph(), data, device)
    try:
        with own_files(config) if executor.is_main else nullcontext():
            progress = Trainer(config, data, executor, description, started).run()
            logger.info("best model (step %d): %s", progress.best_step, config.folder / "best")
    finally:
        executor.close()


def find_device(config: TrainConfig) -> str:
    """The kind of device that the run uses: cpu or cuda.

    Raises:
        PlanError: more GPUs are asked for than there are.
    """
    processes = config.parallel.stages * config.parallel.copies
    on_this_machine = world().local_size if is_worker() else processes
    gpus = torch.cuda.device_count()
    if config.parallel.device == "cuda" and gpus < on_this_machine:
        raise PlanError(
            f"`parallel.device=cuda` needs {on_this_machine} GPUs on this machine, "
            f"but there are {gpus}; use `parallel.device=cpu` or fewer stages."
        )
    if config.parallel.device == "cpu" or gpus < on_this_machine:
        return "cpu"
    return "cuda"


def make_executor(
    config: TrainConfig, graph: LayerGraph, data: PreparedData, device: str
) -> Executor:
    """The executor that the configuration names, with its plan saved in the run's folder."""
    parallel = config.parallel
    loss = SmoothedCrossEntropy(config.training.label_smoothing)
    optimizer = optimizer_factory(config.optimizer)
    dtype = torch.bfloat16 if config.precision.name == "bf16" else torch.float32
    if parallel.executor == "local":
        plan = single_device(graph.name, graph.names, device, parallel.micro_batches)
        save_plan(config, plan)
        return LocalExecutor(
            graph,
            seed=config.seed,
            device=device,
            micro_batches=parallel.micro_batches,
            loss=loss,
            optimizer=optimizer,
            clip_norm=config.optimizer.clip_norm,
            dtype=dtype,
        )
    # deepspeed takes seconds to import, and only this executor needs it.
    from nmt.parallel import pipeline

    pipeline.start(device)
    plan = pipeline.from_main(lambda: find_plan(config, graph, data, device))
    if pipeline.is_main():
        save_plan(config, plan)
    return pipeline.DeepSpeedExecutor(
        graph,
        plan=plan,
        copies=parallel.copies,
        zero=parallel.zero,
        seed=config.seed,
        device=device,
        micro_batches=parallel.micro_batches,
        loss=loss,
        optimizer=optimizer,
        clip_norm=config.optimizer.clip_norm,
        dtype=dtype,
    )


def find_plan(config: TrainConfig, graph: LayerGraph, data: PreparedData, device: str) -> Plan:
    """The plan that the configuration names, or the one that the run has begun with, or stages of
    equal measured cost."""
    if config.parallel.plan is not None:
        plan = Plan.load(config.parallel.plan)
        plan.validate_against(graph.name, graph.names)
        if plan.micro_batches != config.parallel.micro_batches:
            raise PlanError(
                f"`parallel.micro_batches` must be {plan.micro_batches}, as in "
                f"`{config.parallel.plan}`, but is {config.parallel.micro_batches} instead."
            )
        return plan
    devices = [
        f"{device}:{stage}" if device == "cuda" else device
        for stage in range(config.parallel.stages)
    ]
    before = plan_of_run(config, graph, devices)
    if before is not None:
        return before
    pairs = next(data.batches())
    piece = Batch.from_rows(pairs.source, pairs.target).cut(
        config.parallel.copies * config.parallel.micro_batches
    )[0]
    loss = SmoothedCrossEntropy(config.training.label_smoothing)
    costs = layer_costs(graph, piece, loss, device)
    return contiguous(graph.name, costs, devices, config.parallel.micro_batches)


def plan_of_run(config: TrainConfig, graph: LayerGraph, devices: list[str]) -> Plan | None:
    """The plan in the folder of a run that goes on, if it still fits. Measuring again might cut
    elsewhere, and sums over the stages would be rounded in another order."""
    file = config.folder / PLAN
    if find_checkpoint(config) is None or not file.exists():
        return None
    plan = Plan.load(file)
    cut = (plan.graph, set(plan.placement), plan.devices, plan.micro_batches)
    wanted = (graph.name, set(graph.names), devices, config.parallel.micro_batches)
    return plan if cut == wanted else None


def save_plan(config: TrainConfig, plan: Plan) -> None:
    """plan.json in the run's folder, and a table in the log."""
    config.folder.mkdir(parents=True, exist_ok=True)
    plan.save(config.folder / PLAN)
    logger.info("%s", plan.table())


@contextmanager
def own_files(config: TrainConfig) -> Iterator[None]:
    """What only one process of one command may do: writing into the run's folder.

    Raises:
        CheckpointError: another command is training this run.
    """
    with lock(config.folder), log_file(config.folder / "train.log"):
        save_configuration(config)
        yield


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other commands out of a run's folder; the system forgets it when the process ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"A run must be trained by one command at a time, but another one is writing to "
                f"`{folder}`; wait for it, or choose another `name`."
            ) from None
        yield
    finally:
        os.close(handle)


@contextmanager
def log_file(file: Path) -> Iterator[None]:
    """Write the log to a file as well, after what earlier sessions of the run have written."""
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def save_configuration(config: TrainConfig) -> None:
    """config.yaml in the run's folder: every setting of this run, resolved."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (config.folder / "config.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
