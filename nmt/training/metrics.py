"""Reporting a run's metrics: metrics.jsonl, TensorBoard, a progress bar, and the log."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from nmt.files import replacing

logger = logging.getLogger(__name__)


class Metrics:
    """Writes the metrics of a run as they come in. Used as a context manager."""

    def __init__(self, folder: Path, first_step: int) -> None:
        # Imported only in the process that writes, because TensorBoard takes a second to import.
        from torch.utils.tensorboard import SummaryWriter

        self._file = folder / "metrics.jsonl"
        truncate_metrics(self._file, first_step)
        self._lines = self._file.open("a", encoding="utf-8")
        # Drops the events after the checkpoint that the run resumes from.
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)
        self._first: float | None = None
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

    def show(self, progress: float, loss: float, tokens_per_second: float) -> None:
        """Move the progress bar. `progress` is the fraction of the run that is done."""
        self._bar.n = min(100.0, round(100 * progress, 1))
        if self._first is None:  # the estimate of the time must not count earlier sessions
            self._first = self._bar.initial = self._bar.n
        self._bar.set_postfix_str(f"loss {loss:.3f}, {tokens_per_second:,.0f} tokens/s")

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
