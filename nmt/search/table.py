"""A search on the terminal: how far it is, and the best children so far."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from tqdm import tqdm

from nmt.markdown import markdown_table
from nmt.search.child import Record
from nmt.search.search import Search, Workers
from nmt.search.space import as_text

logger = logging.getLogger(__name__)

SHOWN = 8  # children in the live table
EVERY = 0.5  # seconds between two pictures on a terminal


class LiveTable:
    """Draws the search again and again on a terminal, and otherwise logs it from time to time."""

    def __init__(self, log_seconds: float, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._is_terminal = self._out.isatty()
        self._log_seconds, self._lines = log_seconds, 0
        self._drawn = time.monotonic() - (0 if not self._is_terminal else EVERY)

    def __call__(self, search: Search, workers: Workers) -> None:
        """Draw, if it is time."""
        now = time.monotonic()
        if now - self._drawn < (EVERY if self._is_terminal else self._log_seconds):
            return
        self._drawn = now
        head = progress(search, workers.running)
        if not self._is_terminal:
            best = search.best
            logger.info("%s%s", head, f"; best: {_described(best)}" if best else "")
            return
        width = shutil.get_terminal_size().columns
        rows = [head, *leaders(search, SHOWN).splitlines()]
        text = "\n".join(row[: width - 1] for row in rows)
        self.clear()
        self._out.write(text + "\n")
        self._out.flush()
        self._lines = len(rows)

    def clear(self) -> None:
        """Remove the table from the terminal."""
        if self._lines:
            self._out.write(f"\x1b[{self._lines}F\x1b[J")
            self._lines = 0


def progress(search: Search, running: Sequence[int] = ()) -> str:
    """How far a search is, on one line."""
    budget, done = search.config.budget, len(search.records)
    parts = [f"{done}" + (f" of {budget.children}" if budget.children else "") + " children"]
    fractions = []
    if budget.children:
        fractions.append(done / budget.children)
    if budget.total:
        fractions.append(search.spent / budget.total)
        parts.append(f"{search.spent:,.0f} of {budget.total:,.0f} {budget.by}")
    else:
        parts.append(f"{search.spent:,.0f} {budget.by}")
    if running:
        parts.append(f"training {', '.join(map(str, sorted(running)))}")
    if search.repeats:
        parts.append(f"{search.repeats} known")
    if search.refused:
        parts.append(f"{sum(search.refused.values())} refused")
    part = max(fractions, default=0.0)
    if 0 < part < 1:
        left = search.clock * (1 - part) / part
        parts.append(f"{tqdm.format_interval(round(left))} left")
    return f"{search.method_config.method}: {', '.join(parts)}"


def leaders(search: Search, count: int) -> str:
    """The best children as a Markdown table."""
    paths = list(search.space.dimensions)
    head = ["child", "loss", *paths]
    rows = [
        [str(one.number), _loss(one), *(as_text(one.values[path]) for path in paths)]
        for one in ranking(search)[:count]
    ]
    return markdown_table(head, rows)


def ranking(search: Search) -> list[Record]:
    """All children, the best first: those that trained to the end, those that were pruned, those
    that failed."""
    return sorted(
        search.records.values(),
        key=lambda one: (not one.is_whole, one.loss is None, one.loss or 0.0, one.number),
    )


def _loss(one: Record) -> str:
    if one.loss is None:
        return "failed"
    return f"{one.loss:.4f}" + (" (pruned)" if one.is_pruned else "")


def _described(one: Record) -> str:
    return f"child {one.number}, loss {_loss(one)}"
