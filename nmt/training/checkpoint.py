"""Checkpoints, which hold everything that a run needs to resume, and are written atomically.

`checkpoints/step-00001000/` has `state.safetensors` (the executor's state, including averaged
weights if there are any), `progress.json`, and the checksums of both in `SHA256SUMS`. Nothing is
pickled. A run resumes from the newest checkpoint that is whole.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from nmt.config import TrainConfig
from nmt.errors import CheckpointError
from nmt.files import damage, new_folder, write_sums

logger = logging.getLogger(__name__)

STATE, PROGRESS = "state.safetensors", "progress.json"


Count = Annotated[int, Field(ge=0, le=2**53)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass
class Progress:
    """The progress of a run. JSON-serialisable."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    step: Count = 0  # optimizer steps done
    epoch: Amount = 0.0  # epochs of the training data done
    target_tokens: Count = 0  # trained on, counted in every epoch
    seconds: Amount = 0.0  # time of all sessions together
    best_score: float | None = None  # as `Scores.quality`: more is better
    best_step: Count = 0
    best_scores: dict[str, Any] = field(default_factory=dict)  # at that step, by validation set
    without_improvement: Count = 0  # validations since the best one
    zero_scores: Count = 0  # validations in a row whose score was 0
    rate_factor: Amount = 1.0  # of the learning rate, by the plateau schedule
    plateau_length: Count = 0  # validations without improvement since it was last lowered
    ended_by: str = ""  # the setting that ended the run; empty while it lasts
    validated_step: Count = 0  # step of the last validation
    averaged_step: Count = 0  # step at which the mean of checkpoints was last validated
    recent_loss: Amount = 0.0  # since the last line of metrics, summed over target tokens
    recent_tokens: Count = 0  # since then
    recent_seconds: Amount = 0.0  # since then
    data: dict[str, Any] | None = None  # position of the batch iterator
    identity: dict[str, Any] | None = None  # see `nmt.training.identity`


class Checkpoints:
    """The checkpoints of one run, oldest first."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def all(self) -> list[Path]:
        """The complete checkpoints, oldest first."""
        paths = (path for path in self._folder.glob("step-*") if path.name[5:].isdigit())
        return sorted(paths, key=lambda path: int(path.name[5:]))

    def write(self, progress: Progress, state: Mapping[str, Tensor]) -> None:
        """Write a checkpoint, and delete all but the `keep` newest ones.

        Raises:
            StorageError: it cannot be written; the earlier ones stay.
        """
        folder = self._folder / f"step-{progress.step:08d}"
        new = folder.with_suffix(".new")
        with new_folder(new):
            save_file({name: value.contiguous() for name, value in state.items()}, new / STATE)
            text = json.dumps(asdict(progress), indent=1)
            (new / PROGRESS).write_text(text, encoding="utf-8")
            write_sums(new, [STATE, PROGRESS])
            shutil.rmtree(folder, ignore_errors=True)
            new.replace(folder)
        for old in self.all()[: -self._keep]:
            shutil.rmtree(old)

    def set_aside(self, after: Path) -> None:
        """Rename checkpoints newer than `after`, which are damaged, so that they do not count."""
        every = self.all()
        for folder in every[every.index(after) + 1 :]:
            aside = folder.with_name(f"damaged-{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.replace(aside)

    def read(self, folder: Path) -> tuple[Progress, dict[str, Tensor]]:
        """Read a checkpoint: the progress and the executor's state.

        Raises:
            CheckpointError: a file is missing or damaged; the message names it.
        """
        return read_progress(folder), read_state(folder)


def read_progress(folder: Path) -> Progress:
    """The progress of a run at a checkpoint.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    file = folder / PROGRESS
    try:
        return _PROGRESS.validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"`{file}` must be a checkpoint's progress, but cannot be read ({_first(error)}); "
            f"delete `{folder}` to resume from the one before."
        ) from None


_PROGRESS = TypeAdapter(Progress)


def _first(error: Exception) -> str:
    """What is wrong, in one line."""
    if isinstance(error, ValidationError):
        detail = error.errors()[0]
        return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    return str(error).splitlines()[0]


def read_state(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    file = folder / STATE
    try:
        state: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"`{file}` must hold a checkpoint's tensors, but cannot be read ({error}); "
            f"delete `{folder}` to resume from the one before."
        ) from None
    return state


def find_checkpoint(config: TrainConfig) -> Path | None:
    """The checkpoint that the run resumes from; None if it starts from scratch.

    Raises:
        CheckpointError: `resume` requires a checkpoint and there is none, or requires a new run and
            the folder has one.
    """
    checkpoints = Checkpoints(config.folder / "checkpoints", 1).all()
    begun = [
        name for name in ("checkpoints", "best", "metrics.jsonl") if (config.folder / name).exists()
    ]
    if config.resume == "never" and begun:
        raise CheckpointError(
            f"`resume=never` needs a new run, but `{config.folder}` has `{begun[0]}`; "
            "choose another `name`, or delete the folder."
        )
    if config.resume == "must" and not checkpoints:
        raise CheckpointError(
            f"`resume=must` needs a checkpoint in `{config.folder}`, but there is none; "
            "start with `resume=auto`."
        )
    return newest_whole(checkpoints)


def newest_whole(checkpoints: Sequence[Path]) -> Path | None:
    """The last checkpoint that is whole, which is warned of if there are newer ones; None if there
    is none at all.

    Raises:
        CheckpointError: all of them are damaged.
    """
    if not checkpoints:
        return None
    problems: list[tuple[Path, str]] = []
    for folder in reversed(checkpoints):
        problem = _problem(folder, _changed(folder))
        if problem is None:
            for damaged, what in problems:
                _warn(f"`{damaged}` is damaged ({what}); the run resumes from {folder.name}.")
            return folder
        problems.append((folder, problem))
    folder, problem = problems[0]
    raise CheckpointError(
        f"A checkpoint in `{folder.parent}` must be whole to resume from, but all {len(problems)} "
        f"are damaged; in {folder.name}, {problem}: restore them, or delete `{folder.parent}` to "
        "start again."
    )


@cache
def _warn(message: str) -> None:
    """Warn once of what is found several times."""
    logger.warning("%s", message)


def _changed(folder: Path) -> tuple[int, ...]:
    """The times at which the files of a checkpoint were last changed."""
    return tuple(file.stat().st_mtime_ns for file in sorted(folder.iterdir()))


@cache
def _problem(folder: Path, changed: tuple[int, ...]) -> str | None:  # noqa: ARG001 - part of the key
    """What is wrong with a checkpoint as it is since it was `changed`; None: nothing."""
    problem = damage(folder)
    if problem is not None:
        return problem
    try:
        read_progress(folder)
        with safe_open(folder / STATE, framework="pt") as stored:  # reads what tensors there are
            stored.keys()
    except (CheckpointError, OSError, SafetensorError):
        return f"{STATE} or {PROGRESS} cannot be read"
    return None
