"""A run's folder, which one command at a time may write to, and which holds its log and
configuration."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from nmt.config import TrainConfig
from nmt.errors import CheckpointError
from nmt.files import replacing
from nmt.training.checkpoint import find_checkpoint
from nmt.training.identity import differences, flat

logger = logging.getLogger(__name__)

CONFIG = "config.yaml"


@contextmanager
def writing_to(config: TrainConfig) -> Iterator[None]:
    """Lock the run's folder, log into its train.log, and write config.yaml. For the run's main
    process. If the run is resumed with other settings, each of them is logged, and the earlier
    configuration is kept as config-until-step-<step>.yaml.

    Raises:
        CheckpointError: another command is training this run.
    """
    with lock(config.folder), log_file(config.folder / "train.log"):
        values = config.model_dump(mode="json")
        _keep_earlier(config, values)
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        with replacing(config.folder / CONFIG) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        yield


def _keep_earlier(config: TrainConfig, values: Mapping[str, Any]) -> None:
    """Log what a resumed run changes, and keep its configuration so far."""
    file, checkpoint = config.folder / CONFIG, find_checkpoint(config)
    if checkpoint is None or not file.exists():
        return
    try:
        earlier = yaml.safe_load(file.read_text(encoding="utf-8"))
        changes = differences(dict(flat(earlier)), dict(flat(values)))
    except (yaml.YAMLError, UnicodeDecodeError):
        changes = [f"`{file}` was damaged"]
    changes = [one for one in changes if not one.startswith("`resume`")]
    for change in changes:
        logger.info("resuming with another setting: %s", change)
    if changes:
        file.replace(file.with_name(f"config-until-{checkpoint.name}.yaml"))


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
