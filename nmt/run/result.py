"""The result of a run, which is kept in summary.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from nmt.config import Settings, TrainConfig, read
from nmt.errors import CheckpointError, ConfigurationError
from nmt.files import replacing
from nmt.training.checkpoint import Progress

SUMMARY = "summary.json"


class RunResult(Settings):
    """The result of a run. Written to its folder, where the starter of the run reads it."""

    name: str
    folder: str
    steps: int = Field(description="Optimizer steps.")
    epochs: float = Field(description="Epochs of the training data.")
    target_tokens: int = Field(
        description="Target tokens trained on; a token counts in every epoch."
    )
    seconds: float = Field(description="Time of all sessions of the run together.")
    tokens_per_second: float
    ended_by: str = Field(
        default="",
        description="The setting that ended the run, such as training.patience; empty in files of "
        "version 0.2 and earlier.",
    )
    best_by: str = Field(description="The metric that decides which model is the best.")
    best_score: float | None = Field(description="Its best value; a loss is better when lower.")
    best_step: int
    validation: dict[str, Any] = Field(description="The best model's scores by validation set.")
    best: str = Field(description="The best model's folder.")
    seed: int
    identity: str = Field(
        description="Digest of the settings and data that must not change on resume."
    )

    @property
    def objective(self) -> float | None:
        """The value that a sweep optimises: `best_score`, to be maximised, or minimised if
        `best_by` is a loss."""
        return self.best_score

    @classmethod
    def of(cls, config: TrainConfig, progress: Progress) -> RunResult:
        """The result of a run that has just ended."""
        return cls(
            name=config.name,
            folder=str(config.folder),
            steps=progress.step,
            epochs=progress.epoch,
            target_tokens=progress.target_tokens,
            seconds=progress.seconds,
            tokens_per_second=progress.target_tokens / max(progress.seconds, 1e-9),
            ended_by=progress.ended_by,
            best_by=config.training.best_by,
            best_score=_as_reported(config.training.best_by, progress.best_score),
            best_step=progress.best_step,
            validation=progress.best_scores,
            best=str(config.folder / "best"),
            seed=config.seed,
            identity=(progress.identity or {}).get("digest", ""),
        )

    def save(self) -> None:
        """Write summary.json into the run's folder."""
        with replacing(Path(self.folder) / SUMMARY) as unfinished:
            unfinished.write_text(
                json.dumps(self.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8"
            )

    @classmethod
    def load(cls, folder: Path) -> RunResult:
        """Read a run's summary.json.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        file = folder / SUMMARY
        try:
            return read(cls, json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, ConfigurationError) as error:
            raise CheckpointError(
                f"`{file}` must hold a run's result, but cannot be read: {error}; "
                "run the same command again to write it."
            ) from None


def _as_reported(best_by: str, quality: float | None) -> float | None:
    """The inverse of `Scores.quality`: the loss if `best_by` is one, whose quality is negative."""
    is_loss = best_by.rpartition(".")[2] == "loss"
    return quality if quality is None or not is_loss else -quality
