"""Children: runs of a search, and what became of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from nmt.config import TrainConfig
from nmt.errors import CheckpointError
from nmt.run.result import RunResult
from nmt.search.space import Point, Values

HALVED = "training.halving"  # `RunResult.ended_by` of a child that was pruned


@dataclass(frozen=True)
class Child:
    """A child that is to be trained."""

    number: int
    point: Point
    values: Values
    overrides: tuple[str, ...]  # all settings of its run that the command line would name
    config: TrainConfig

    @property
    def folder(self) -> Path:
        """Its run's folder."""
        return self.config.folder


@dataclass(frozen=True)
class Record:
    """A child that has ended."""

    number: int
    point: Point
    values: Values
    loss: float | None  # on the validation sets; None: it failed
    seconds: float  # of work
    tokens: int  # target tokens that it trained on
    steps: int
    ended_by: str  # the setting that ended it
    at: float  # what the search had spent when it ended, in units of the budget
    clock: float  # seconds that the search had run by then
    error: str | None = None
    start: bool = False  # whether it is one of the starting points

    @property
    def is_pruned(self) -> bool:
        """Whether it ended early because rivals were better."""
        return self.ended_by == HALVED

    @property
    def is_whole(self) -> bool:
        """Whether it trained to the end of its budget."""
        return self.loss is not None and not self.is_pruned

    def reward(self, worst: float) -> float:
        """The negative loss; that of a child that failed is the worst that counts."""
        if self.loss is None or not math.isfinite(self.loss):
            return -worst
        return -min(self.loss, worst)


def result_of(folder: Path) -> RunResult | None:
    """The result that a run has left in its folder; None if there is none."""
    try:
        return RunResult.load(folder)
    except CheckpointError:
        return None
