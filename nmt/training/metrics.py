"""Reporting a run's metrics: metrics.jsonl, TensorBoard, a progress bar, and the log."""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from nmt.files import replacing

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Moment:
    """How far a run is, for the bar and the log."""

    part: float  # the fraction of the run that is done, 0 to 1
    step: int
    epoch: float
    loss: float  # mean of a target token since the last line of metrics
    learning_rate: float
    tokens_per_second: float

    def __str__(self) -> str:
        return (
            f"step {self.step:,}, epoch {self.epoch:.2f}, loss {self.loss:.3f}, "
            f"{self.tokens_per_second:,.0f} tokens/s, learning rate {self.learning_rate:.3g}"
        )


class Metrics:
    """Writes the metrics of a run as they come in. Used as a context manager."""

    def __init__(self, folder: Path, first_step: int, log_seconds: float = 30.0) -> None:
        """`log_seconds`: of the lines of progress that stand for the bar without a terminal."""
        # Imported only in the process that writes, because TensorBoard takes a second to import.
        from torch.utils.tensorboard import SummaryWriter

        self._file = folder / "metrics.jsonl"
        truncate_metrics(self._file, first_step)
        self._lines = self._file.open("a", encoding="utf-8")
        # Drops the events after the checkpoint that the run resumes from.
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)
        self._log_seconds, self._told = log_seconds, time.monotonic()
        self._first: float | None = None  # part done when this session began
        self._begun = self._told
        self._bar = tqdm(
            total=100,
            desc="training",
            disable=not sys.stderr.isatty(),
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )

    def __enter__(self) -> Metrics:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._lines.close()
        self._board.close()

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Write a line to metrics.jsonl, and the numbers among `values` to TensorBoard."""
        self._lines.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        self._lines.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def show(self, now: Moment) -> None:
        """Move the progress bar, or without a terminal log a line from time to time."""
        clock = time.monotonic()
        if self._first is None:  # the estimate of the time must not count earlier sessions
            self._first, self._begun = now.part, clock
            self._bar.initial = min(100.0, round(100 * now.part, 1))
        if not self._bar.disable:
            self._bar.n = min(100.0, round(100 * now.part, 1))
            self._bar.set_postfix_str(str(now))
        elif clock - self._told >= self._log_seconds:
            self._told = clock
            logger.info("%s%s", now, self._left(now.part, clock))

    def _left(self, part: float, clock: float) -> str:
        """The time that is left, by the speed of this session."""
        assert self._first is not None, "there was a moment before"
        done = part - self._first
        if done <= 0:
            return ""
        seconds = (clock - self._begun) * max(0.0, 1 - part) / done
        return f", {tqdm.format_interval(round(seconds))} left"

    def say(self, text: str) -> None:
        """Log a line without breaking the progress bar."""
        self._bar.clear()
        logger.info(text)


def truncate_metrics(file: Path, last_step: int) -> None:
    """Drop the lines of metrics.jsonl after `last_step`, which a resumed run will write again."""
    if not file.exists():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= last_step:
                kept.append(line + "\n")
        except (ValueError, TypeError, KeyError):
            continue  # the last line of a run that was killed while writing it
    with replacing(file) as unfinished:
        unfinished.write_text("".join(kept), encoding="utf-8")
