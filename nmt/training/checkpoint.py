"""Checkpoints, which hold everything that a run needs to resume, and are written atomically.

`checkpoints/step-00001000/` has `state.safetensors` (the executor's state, including averaged
weights if there are any) and `progress.json`. Nothing is pickled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nmt.config import TrainConfig
from nmt.errors import CheckpointError

STATE, PROGRESS = "state.safetensors", "progress.json"


@dataclass
class Progress:
    """The progress of a run. JSON-serialisable."""

    step: int = 0  # optimizer steps done
    epoch: float = 0.0  # epochs of the training data done
    target_tokens: int = 0  # trained on, counted in every epoch
    seconds: float = 0.0  # time of all sessions together
    best_score: float | None = None  # as `Scores.quality`: more is better
    best_step: int = 0
    best_scores: dict[str, Any] = field(default_factory=dict)  # at that step, by validation set
    without_improvement: int = 0  # validations since the best one
    validated_step: int = 0  # step of the last validation
    averaged_step: int = 0  # step at which the mean of checkpoints was last validated
    recent_loss: float = 0.0  # since the last line of metrics, summed over target tokens
    recent_tokens: int = 0  # since then
    recent_seconds: float = 0.0  # since then
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
        """Write a checkpoint, and delete all but the `keep` newest ones."""
        folder = self._folder / f"step-{progress.step:08d}"
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        save_file({name: value.contiguous() for name, value in state.items()}, new / STATE)
        (new / PROGRESS).write_text(json.dumps(asdict(progress), indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        new.replace(folder)
        for old in self.all()[: -self._keep]:
            shutil.rmtree(old)

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
        return Progress(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"`{file}` must be a checkpoint's progress, but cannot be read ({error}); "
            f"delete `{folder}` to resume from the one before."
        ) from None


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
    checkpoints = Checkpoints(config.folder / "checkpoints", config.training.keep_checkpoints).all()
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
    return checkpoints[-1] if checkpoints else None
