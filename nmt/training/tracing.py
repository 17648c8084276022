"""Recording the timelines of a few training steps."""

from __future__ import annotations

import logging
from pathlib import Path

from nmt.evaluation.plots import Bar, gantt
from nmt.parallel.executor import Executor
from nmt.parallel.trace import COLOURS, adjoined, idle_shares, with_waiting, write_trace

logger = logging.getLogger(__name__)

WARM_UP, STEPS = 3, 2  # steps that are skipped, and steps that are shown


class Tracing:
    """Turns an executor's recorder on and off, and writes what it has recorded.

    If the run ends before its fifth step, its last two steps are shown.
    """

    def __init__(self, executor: Executor, folder: Path, title: str) -> None:
        self._executor, self._folder, self._title = executor, folder, title
        self._executor.recorder.on = True

    def after_step(self) -> None:
        """Count a step, and write the timelines after the last one. All processes must call it
        after each training step."""
        recorder = self._executor.recorder
        recorder.step += 1
        if recorder.on and recorder.step == WARM_UP + STEPS:
            self.finish()

    def finish(self) -> None:
        """Write the timelines unless they have been written. All processes must call it at the end
        of a run."""
        recorder = self._executor.recorder
        if recorder.on and recorder.step:
            recorder.on = False
            self._write(min(recorder.step, STEPS))

    def _write(self, steps: int) -> None:
        events = with_waiting(adjoined(self._executor.gather_events(), steps))
        if not self._executor.is_main:
            return
        devices = 1 + max(event.device for event in events)
        names = [f"device {device}" for device in range(devices)]
        title = f"{self._title}: {steps} steps" if steps > 1 else f"{self._title}: one step"
        write_trace(self._folder, events, names, title)
        bars = [Bar(event.device, event.kind, event.start, event.end) for event in events]
        gantt(self._folder / "trace.png", bars, names, COLOURS, title)
        idle = ", ".join(f"{share:.0%}" for share in idle_shares(events, devices))
        logger.info("idle time of each device: %s (%s)", idle, self._folder / "trace.html")
