"""Warm workers: processes that train one child each, and start in a fraction of a second.

They are forked from a server that has imported everything and computed nothing, so that each child
has a process of its own: it can run out of memory, hang or be killed without harm to any other.
"""

from __future__ import annotations

import ctypes
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from nmt.errors import NmtError, error_as_data, error_from_data, error_of_ours
from nmt.run.job import JOB
from nmt.search.child import Child

LOG, FAILURE = "child.log", "failure.json"  # in a child's folder
PRELOADED = ["nmt.search.warm"]


@dataclass(frozen=True)
class Ended:
    """A child's process has ended."""

    number: int  # of the child
    seconds: float  # of work
    error: str | None  # in one sentence; None: it trained


@dataclass
class _Running:
    number: int
    folder: Path
    process: Any
    started: float
    limit: float  # seconds


class Pool:
    """Trains children side by side. Used as a context manager."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._running: list[_Running] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        for one in self._running:
            one.process.kill()
        for one in self._running:
            one.process.join()

    @property
    def running(self) -> Sequence[int]:
        """The children that are trained now."""
        return [one.number for one in self._running]

    @property
    def is_full(self) -> bool:
        """Whether a worker has to end before another child can start."""
        return len(self._running) >= self.workers

    def start(self, child: Child, limit: float) -> None:
        """Train the job in a child's run.json, for `limit` seconds at most."""
        process = self._context.Process(target=_work, args=(str(child.folder), os.getpid()))
        process.start()
        begun = time.monotonic()
        self._running.append(_Running(child.number, child.folder, process, begun, limit))

    def wait(self, seconds: float) -> list[Ended]:
        """The children that end within so many seconds."""
        wait([one.process.sentinel for one in self._running], timeout=seconds)
        ended, now = [], time.monotonic()
        for one in list(self._running):
            late = now - one.started > one.limit
            if one.process.is_alive() and not late:
                continue
            if one.process.is_alive():
                one.process.kill()
            one.process.join()
            self._running.remove(one)
            error = (
                f"it took more than {one.limit:.0f} seconds"
                if late
                else _failure(one.folder, one.process.exitcode)
            )
            ended.append(Ended(one.number, now - one.started, error))
        return ended


def _failure(folder: Path, code: int) -> str | None:
    """Why a child has failed; None if it has not."""
    if code == 0:
        return None
    try:
        data = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        return str(error_from_data(data)).partition("\n")[0]
    except (OSError, ValueError, KeyError):
        pass
    if code == -signal.SIGKILL:
        return "it was killed (out of memory?)"
    return f"it ended with exit code {code}; see {LOG} in its folder"


def _work(folder: str, parent: int) -> None:
    """The process of one child."""
    from tqdm import tqdm

    from nmt.logs import start_logging
    from nmt.memory import keep_memory
    from nmt.run.job import TrainJob, load_job
    from nmt.run.run import start

    _die_with_parent(parent)
    place = Path(folder)
    log = os.open(place / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the search ends its children itself
    tqdm.set_lock(threading.RLock())  # its own is shared by processes, and would be left behind
    start_logging()
    keep_memory()
    try:
        job = load_job(place / JOB)
        assert isinstance(job, TrainJob), "children are trained"
        start(job.config)
    except Exception as error:
        known = error_of_ours(error)
        if known is None:
            logging.getLogger(__name__).exception("this child failed")
            known = NmtError(f"{type(error).__name__}: {error}")
        (place / FAILURE).write_text(json.dumps(error_as_data(known)), encoding="utf-8")
        logging.getLogger(__name__).error("%s", known)
        _leave(1)
    _leave(0)


def _leave(code: int) -> None:
    """End without the interpreter's shutdown, which takes a while after training."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the server of the workers ends, which it does as soon
    as the search is gone for any reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    try:
        os.kill(parent, 0)
    except OSError:
        os._exit(1)
