"""A run's folder, which one command at a time may write to, and which holds its log and
configuration."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from nmt.config import TrainConfig
from nmt.errors import CheckpointError


@contextmanager
def writing_to(config: TrainConfig) -> Iterator[None]:
    """Lock the run's folder, log into its train.log, and write config.yaml. For the run's main
    process.

    Raises:
        CheckpointError: another command is training this run.
    """
    with lock(config.folder), log_file(config.folder / "train.log"):
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (config.folder / "config.yaml").write_text(text, encoding="utf-8")
        yield


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock a run's folder. The system releases the lock when the process ends.

    Raises:
        CheckpointError: another command has locked it.
    """
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
    """Append the log to a file, too."""
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
