"""Starting and watching worker processes, and stopping all of them when one fails."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from nmt.errors import WorkerError
from nmt.parallel.world import LINUX, cores

GRACE = 5.0  # seconds between SIGTERM and SIGKILL, where a worker has failed

# Runs in the worker's process first, and makes the kernel kill the worker when the parent dies for
# any reason. (A preexec_fn would do the same, but may deadlock in a parent that has threads.)
GUARD = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; kept over exec
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


class WorkersStoppedError(Exception):
    """This process was sent a signal, and its workers have ended."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"signal {number}")


def end_worker() -> NoReturn:
    """End a worker that has finished its work without the interpreter's shutdown, during which
    threads that libraries leave behind (such as gloo's) occasionally abort the process."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def run_workers(command: Sequence[str], processes: int, threads: int | None) -> None:
    """Run `command` in `processes` processes as the ranks of one group, and wait for all of them.

    They inherit stdout and stderr. Each gets `threads` CPU threads, by default its share of the
    cores. The first SIGINT or SIGTERM is passed on to the workers as a SIGTERM, so that they can
    save what they have done; a second one kills them.

    Raises:
        WorkerError: a worker failed; the others have been stopped.
        WorkersStoppedError: a signal has stopped all of them.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    # The parent hosts the store through which the workers find each other, so that no other program
    # can take its port. Workers connect to it as they do under torchrun.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    threads_each = str(threads or max(1, cores() // processes))
    environment = os.environ | {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": threads_each,
    }
    workers: list[subprocess.Popen[bytes]] = []
    with _signals() as received:
        try:
            for rank in range(processes):
                ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                workers.append(_start(command, environment | ranks))
            _wait(workers, received)
        finally:
            _stop(workers, 0.0 if received else GRACE)
    if received:
        raise WorkersStoppedError(received[0])


def _start(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    if LINUX:
        command = [sys.executable, "-S", "-c", GUARD, str(os.getpid()), *command]
    # In a session of its own, so that Ctrl-C reaches only the parent, and a worker can be stopped
    # together with the processes that it started.
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )


def _wait(workers: Sequence[subprocess.Popen[bytes]], received: Sequence[int]) -> None:
    """Wait until all have ended, one has failed, or a second signal has arrived. The first is
    passed on, and then all are waited for, whether they fail or not."""
    ended: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()

    def watch(rank: int) -> None:
        # One thread for each worker, so that the first to fail is reported: the workers that depend
        # on it fail a moment later.
        ended.put((rank, workers[rank].wait()))

    for rank in range(len(workers)):
        threading.Thread(target=watch, args=(rank,), daemon=True).start()
    running, passed_on = len(workers), False
    while running and len(received) < 2:
        if received and not passed_on:
            passed_on = True
            for worker in workers:
                with suppress(ProcessLookupError):  # already gone
                    worker.send_signal(signal.SIGTERM)
        try:
            rank, code = ended.get(timeout=0.2)
        except queue.Empty:
            continue
        running -= 1
        if code and not received:
            raise WorkerError(
                f"All {len(workers)} workers must finish, but worker {rank} {_how(code)}; "
                "the others were stopped. See its message above."
            )


def _how(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    memory = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{memory}"


def _stop(workers: Sequence[subprocess.Popen[bytes]], grace: float) -> None:
    """Terminate the workers that are still running and the processes that they started, and kill
    those that do not end within `grace` seconds."""
    running = [worker for worker in workers if worker.poll() is None]
    for worker in running:
        _kill(worker, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(worker.poll() is None for worker in running) and time.monotonic() < deadline:
        time.sleep(0.02)
    for worker in running:
        _kill(worker, signal.SIGKILL)
    for worker in running:
        worker.wait()


def _kill(worker: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(worker.pid, number)
    except (ProcessLookupError, PermissionError):  # already gone
        return


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the SIGINTs and SIGTERMs that arrive in a list, instead of handling them as usual."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread can handle signals
        return

    def record(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as Python calls it
        received.append(number)

    before = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def deliver(number: int) -> None:
    """Give a signal that was held back its usual effect."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    os.kill(os.getpid(), number)
