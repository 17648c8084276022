"""Workers are started with their places, watched, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nmt.errors import WorkerError
from nmt.parallel.world import LINUX, cores
from nmt.run import processes
from nmt.run.processes import run_workers

ROOT = Path(__file__).parents[2]

# Says its name in a file, then waits to be stopped.
WAITING = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1], os.environ["RANK"]).write_text(str(os.getpid()))
time.sleep(60)
"""


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-S", "-c", code, *map(str, arguments)]


def ended(process: int) -> bool:
    """Whether there is no such process any more, waiting a little for it."""
    for _ in range(100):
        try:
            # A process that ended, but that nobody has waited for, still has a number.
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def waiting_workers(folder: Path, count: int) -> list[int]:
    """The process numbers of `WAITING` workers, when all have begun."""
    for _ in range(2000):  # the parent imports torch, which takes long where others work too
        files = list(folder.glob("[0-9]"))
        numbers = [int(text) for file in files if (text := file.read_text())]
        if len(numbers) == count:
            return numbers
        time.sleep(0.05)
    raise AssertionError("the workers did not begin")


def test_workers_know_their_places_and_share_the_cores(tmp_path: Path) -> None:
    code = """
import os, pathlib, sys
names = "LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR OMP_NUM_THREADS".split()
text = " ".join(os.environ[name] for name in names)
pathlib.Path(sys.argv[1], os.environ["RANK"]).write_text(text)
"""
    run_workers(python(code, tmp_path), 2, threads=None)
    share = max(1, cores() // 2)
    assert (tmp_path / "0").read_text() == f"0 2 2 127.0.0.1 {share}"
    assert (tmp_path / "1").read_text() == f"1 2 2 127.0.0.1 {share}"
    run_workers(python(code, tmp_path), 1, threads=7)
    assert (tmp_path / "0").read_text() == "0 1 1 127.0.0.1 7"


def test_workers_find_each_other(tmp_path: Path) -> None:
    code = """
import pathlib, sys
import torch, torch.distributed as dist
dist.init_process_group("gloo")
values = torch.tensor(float(dist.get_rank() + 1))
dist.all_reduce(values)
pathlib.Path(sys.argv[1], str(dist.get_rank())).write_text(str(values.item()))
dist.destroy_process_group()
"""
    run_workers([sys.executable, "-c", code, str(tmp_path)], 2, threads=1)
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["3.0", "3.0"]


def test_when_a_worker_fails_the_others_are_stopped(tmp_path: Path) -> None:
    code = 'import os\nif os.environ["RANK"] == "1": os._exit(3)\n' + WAITING
    began = time.monotonic()
    with pytest.raises(WorkerError, match="worker 1 ended with exit code 3; the others were stop"):
        run_workers(python(code, tmp_path), 3, threads=1)
    assert time.monotonic() - began < 20  # not the minute that they would wait
    for file in tmp_path.glob("[0-9]"):
        assert ended(int(file.read_text()))


def test_a_killed_worker_is_named_and_stubborn_ones_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.3)
    code = """
import os, pathlib, signal, sys, time
if os.environ["RANK"] == "0":
    while not pathlib.Path(sys.argv[1], "1").exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""
    with pytest.raises(WorkerError, match=r"worker 0 was killed by SIGKILL \(out of memory\?\)"):
        run_workers(python(code + WAITING, tmp_path), 2, threads=1)
    assert ended(int((tmp_path / "1").read_text()))


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
@pytest.mark.skipif(not LINUX, reason="the kernel of Linux stops the workers")
def test_workers_end_with_their_parent(number: signal.Signals, code: int, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from nmt.run.processes import WorkersStoppedError, deliver, run_workers\n"
            "try:\n"
            "    run_workers(sys.argv[1:], 2, None)\n"
            "except WorkersStoppedError as stopped:\n"
            "    try:\n"
            "        deliver(stopped.number)\n"
            "    except KeyboardInterrupt:\n"
            "        sys.exit(130)\n",
            *python(WAITING, tmp_path),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    workers = waiting_workers(tmp_path, 2)
    parent.send_signal(number)
    assert parent.wait(timeout=60) == code
    assert all(ended(worker) for worker in workers)


SAVING = """
import os, pathlib, signal, sys, time
def save(*_):
    pathlib.Path(sys.argv[1], "saving").touch()
    time.sleep(float(sys.argv[2]))
    pathlib.Path(sys.argv[1], "saved").touch()
    os._exit(2)
signal.signal(signal.SIGTERM, save)
"""


@pytest.mark.parametrize(("signals", "seconds"), [(1, 0.5), (2, 60)])
def test_a_signal_lets_workers_save_and_a_second_one_kills_them(
    tmp_path: Path, signals: int, seconds: float
) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom nmt.run.processes import run_workers\n"
            "run_workers(sys.argv[1:], 2, None)\n",
            *python(SAVING + WAITING, tmp_path),
            str(seconds),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    workers = waiting_workers(tmp_path, 2)
    parent.send_signal(signal.SIGINT)
    while not (tmp_path / "saving").exists():
        time.sleep(0.01)
    if signals == 2:
        parent.send_signal(signal.SIGINT)
    _, said = parent.communicate(timeout=30)
    assert b"WorkersStoppedError: signal 2" in said
    assert (tmp_path / "saved").exists() == (signals == 1)
    assert all(ended(worker) for worker in workers)
