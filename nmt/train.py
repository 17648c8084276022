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
from nmt.corpus.prepare import prepare
from nmt.errors import CheckpointError, PlanError
from nmt.evaluation.plots import require_matplotlib
from nmt.model.folder import ModelDescription
from nmt.parallel.launch import end_worker, is_worker, parent_start, run_workers, world
from nmt.precision.bf16 import require_bf16
from nmt.run.executors import (
    find_device,
    follow_plan,
    make_executor,
    number_of_processes,
    training_graph,
)
from nmt.run.tune import overrides, planned, tuned
from nmt.training.distill import distilled
from nmt.training.trainer import Trainer, check_continuation, find_checkpoint

logger = logging.getLogger(__name__)


def main() -> None:
    """The console script."""
    run_command("nmt-train", TrainConfig, train, "train")


def train(config: TrainConfig) -> None:
    """Prepare the data, start the processes that the configuration asks for, and train."""
    parent = parent_start()
    started = time.monotonic() if parent is None else parent
    config = follow_plan(config)
    find_checkpoint(config)  # at once, since preparing the data may take long
    check_possible(config)
    alone = not is_worker()
    config = distilled(config, wait=world().rank > 0)
    if config.parallel.tune and not alone:
        raise PlanError(
            "`parallel.tune` must be false in processes that another program has started; "
            "run `nmt-train` alone once, and give what it has chosen."
        )
    if config.placement.planner == "auto" and not alone:
        raise PlanError(
            "`placement` must not be auto in processes that another program has started; run "
            "`nmt-place` first, and give its plan with `placement=file`."
        )
    chosen = config.parallel.tune or config.placement.planner == "auto"
    if alone and (chosen or number_of_processes(config) > 1):
        # Mistakes in the data, or in going on with a run, show here, once.
        data = prepare(config.data, config.seed)
        check_continuation(config, data)
    settings: list[str] = []  # those that the workers get beside the user's
    if alone and config.placement.planner == "auto" and config.parallel.executor == "wavefront":
        config = planned(config, data)
        settings = overrides(config)
    if config.parallel.tune:
        config = tuned(config)
        settings = overrides(config)
    processes = number_of_processes(config)
    if alone and processes > 1:
        run_workers(
            [sys.executable, "-m", "nmt.train", *with_settings(sys.argv[1:], settings)],
            processes,
            config.parallel.threads,
            started,
        )
        return
    if not alone and world().size != processes:
        raise PlanError(
            f"`parallel.stages` × `parallel.copies` ({processes}) must be the number of processes, "
            f"but {world().size} were started; set them, with `parallel=wavefront`."
        )
    if world().rank > 0:
        logging.getLogger().setLevel(logging.WARNING)  # the first worker speaks for all
    elif parent is not None:
        logging.getLogger("nmt.corpus").setLevel(logging.WARNING)  # the parent has said it
    train_here(config, started)
    if not alone:
        end_worker()


def with_settings(arguments: list[str], settings: list[str]) -> list[str]:
    """A command line with more settings, behind the last of its own: hydra wants all of them in
    one place."""
    own = [i for i, text in enumerate(arguments) if "=" in text and not text.startswith("-")]
    place = own[-1] + 1 if own else len(arguments)
    return [*arguments[:place], *settings, *arguments[place:]]


def check_possible(config: TrainConfig) -> None:
    """Check what this machine must have.

    Raises:
        ConfigurationError: it cannot do bf16, or draw plots.
        PlanError: there are fewer GPUs than asked for.
    """
    if config.precision.name == "bf16":
        require_bf16(find_device(config), config.precision.emulate)
    if config.parallel.trace:
        require_matplotlib()


def train_here(config: TrainConfig, started: float) -> None:
    """This process's part of the training; `started` is when the command began."""
    if config.parallel.threads:
        torch.set_num_threads(config.parallel.threads)
    device = find_device(config)
    data = prepare(config.data, config.seed)
    check_continuation(config, data)  # before the first file is written
    description = ModelDescription(
        format=3,
        model=config.model,
        vocabulary_size=len(data.vocabulary),
        directions=config.data.directions,
        precision=config.precision.name,
        weights="fp32",
        clip=config.precision.clip,
        clip_cells=config.precision.clip_cells_from is not None,
    )
    executor = make_executor(config, training_graph(config, len(data.vocabulary)), data, device)
    try:
        with own_files(config) if executor.is_main else nullcontext():
            progress = Trainer(config, data, executor, description, started).run()
            logger.info("best model (step %d): %s", progress.best_step, config.folder / "best")
    finally:
        executor.close()


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
