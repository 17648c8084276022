"""Ending a run at a signal, with what it has done saved."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# A launcher may send what the terminal has sent already: that is no second wish to end.
AT_ONCE = 1.0  # seconds


class StopSignals:
    """The first SIGTERM or SIGINT that this process gets is noted; a later SIGINT interrupts."""

    def __init__(self) -> None:
        self.number = 0  # of the signal; 0: none yet
        self._time = 0.0

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Inside, signals are noted instead of handled as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread can handle signals
            return
        before = {one: signal.signal(one, self._note) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as Python calls it
        if self.number and number == signal.SIGINT and time.monotonic() > self._time + AT_ONCE:
            raise KeyboardInterrupt
        if not self.number:
            self.number, self._time = number, time.monotonic()
