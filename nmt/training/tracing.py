"""Recording a few steps of a run: what each device did when."""

from __future__ import annotations

import logging
from pathlib import Path

from nmt.evaluation.plots import Bar, gantt
from nmt.parallel.executor import Executor
from nmt.parallel.trace import COLOURS, idle_shares, write_trace

logger = logging.getLogger(__name__)

WARM_UP, STEPS = 3, 2  # steps of a session before those that are recorded, and how many are


class Tracing:
    """Turns an executor's recorder on and off, and writes what it has recorded."""

    def __init__(self, executor: Executor, folder: Path, title: str) -> None:
        self._executor, self._folder, self._title = executor, folder, title
        self._steps = 0

    def after_step(self) -> None:
        """To be called by all processes after each training step."""
        self._steps += 1
        if self._steps == WARM_UP:
            self._executor.recorder.on = True
        elif self._steps == WARM_UP + STEPS:
            self._executor.recorder.on = False
            self._write()

    def _write(self) -> None:
        events = self._executor.gather_events()
        if not self._executor.is_main:
            return
        devices = 1 + max(event.device for event in events)
        names = [f"device {device}" for device in range(devices)]
        title = f"{self._title}: {STEPS} steps"
        write_trace(self._folder, events, names, title)
        bars = [Bar(event.device, event.kind, event.start, event.end) for event in events]
        gantt(self._folder / "trace.png", bars, names, COLOURS, title)
        idle = ", ".join(f"{share:.0%}" for share in idle_shares(events, devices))
        logger.info("idle: %s of the time of each device (%s)", idle, self._folder / "trace.html")
