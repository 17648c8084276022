"""Toolkits to compare with, in an environment of their own, which
`python -m tests.benchmarks.peers [venv=FOLDER]` makes (`make bench-peers`)."""

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
    """Options on the command line."""

    venv: Path = Path(".bench-venv")


@dataclass(frozen=True)
class Translated:
    """A toolkit's translations."""

    pieces: list[list[int]]  # ids of the pieces of each translation, without EOS
    seconds: float  # time of translation, without loading the model


SIZES = {"small": (4, 512), "tiny": (2, 256)}  # layers of encoder and decoder each, units


def install(venv: Path, release: str, needs: Sequence[str], module: str) -> Path:
    """Install a release of a toolkit, which has the package `module`, and its dependencies `needs`
    in an environment, unless they are there. Returns the environment's Python."""
    python = venv / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        # torch comes first, in the release that we use, which is likely to be cached.
        subprocess.run([*pip, f"torch=={torch.__version__.partition('+')[0]}"], check=True)
    look = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    if subprocess.run([str(python), "-c", look], check=False).returncode:
        if needs:
            subprocess.run([*pip, *needs], check=True)
        subprocess.run([*pip, *(["--no-deps"] if needs else []), release], check=True)
    return python.absolute()


def start(command: Sequence[str], threads: int | None = None) -> subprocess.Popen[str]:
    """Start a toolkit in a session of its own, so that `stop` also ends the processes that it
    starts."""
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
    """Kill a toolkit and the processes that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def output_of(process: subprocess.Popen[str]) -> str:
    """Wait for a toolkit, and return its output. An interrupt stops it.

    Raises:
        RuntimeError: the toolkit failed.
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
    """Write sentences as numbers, one sentence on each line."""
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(" ".join(str(int(i)) for i in row) + "\n" for row in rows)


def read_rows(file: Path) -> list[list[int]]:
    """The inverse of `write_rows`. A toolkit's special pieces, which are not numbers, are left
    out."""
    lines = file.read_text("utf-8").splitlines()
    return [[int(word) for word in line.split() if word.isdecimal()] for line in lines]


def main() -> None:
    """Install all toolkits."""
    from tests.benchmarks import ctranslate, joey, marian

    venv = read_options(Settings, sys.argv[1:]).venv
    install(venv, marian.RELEASE, (), "pymarian")
    install(venv, joey.RELEASE, joey.NEEDS, "joeynmt")
    install(venv, ctranslate.RELEASE, (), "ctranslate2")
    print(f"Installed in {venv}: {marian.RELEASE}, {joey.RELEASE}, {ctranslate.RELEASE}.")


if __name__ == "__main__":
    main()
