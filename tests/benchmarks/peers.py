"""Other toolkits, in an environment of their own: `python -m tests.benchmarks.peers [venv=FOLDER]`
makes it (`make bench-peers`)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.benchmarks.options import read_options


@dataclass(frozen=True)
class Settings:
    """Of the command line."""

    venv: Path = Path(".bench-venv")


@dataclass(frozen=True)
class Translated:
    """What a toolkit made of some sentences."""

    pieces: list[list[int]]  # of each translation, without its end
    seconds: float  # the model is loaded already


SIZES = {"small": (4, 512), "tiny": (2, 256)}  # layers on either side, units


def install(venv: Path, release: str, needs: Sequence[str], module: str) -> Path:
    """The environment's Python, which is made if it is not there, with a release of a toolkit that
    comes as the package `module`, and what it needs."""
    python = venv / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        # torch first, and our release of it, which is likely to be at hand.
        subprocess.run([*pip, f"torch=={torch.__version__.partition('+')[0]}"], check=True)
    look = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    if subprocess.run([str(python), "-c", look], check=False).returncode:
        if needs:
            subprocess.run([*pip, *needs], check=True)
        subprocess.run([*pip, *(["--no-deps"] if needs else []), release], check=True)
    return python.absolute()


def start(command: Sequence[str], threads: int | None = None) -> subprocess.Popen[str]:
    """Start a toolkit, in a session of its own: what it starts ends with it, see `stop`."""
    more = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        command,
        env=os.environ | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[str]) -> None:
    """End it at once."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def output_of(process: subprocess.Popen[str]) -> str:
    """What it prints until it ends. Whoever is interrupted meanwhile stops it.

    Raises:
        RuntimeError: it failed.
    """
    try:
        output, _ = process.communicate()
    finally:
        stop(process)
    if process.returncode:
        assert isinstance(process.args, list)
        raise RuntimeError(f"`{' '.join(process.args)}` failed:\n{output[-3000:]}")
    return output


def write_rows(file: Path, rows: Iterable[Iterable[int]]) -> None:
    """Sentences as numbers, a line for each."""
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(" ".join(str(int(i)) for i in row) + "\n" for row in rows)


def read_rows(file: Path) -> list[list[int]]:
    """The opposite of `write_rows`. Names of a toolkit's own special pieces are left out."""
    lines = file.read_text("utf-8").splitlines()
    return [[int(word) for word in line.split() if word.isdecimal()] for line in lines]


def main() -> None:
    """Make the environment."""
    from tests.benchmarks import joey, marian

    venv = read_options(Settings, sys.argv[1:]).venv
    install(venv, marian.RELEASE, (), "pymarian")
    install(venv, joey.RELEASE, joey.NEEDS, "joeynmt")
    print(f"Installed in {venv}: {marian.RELEASE}, {joey.RELEASE}.")


if __name__ == "__main__":
    main()
