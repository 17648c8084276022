"""Every command with one setting changed at random: it must succeed, or end with a sentence, soon.

`Commands` runs commands in forks of a server process, which has imported everything once and
computed nothing: a command takes a fifth of a second instead of two.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, get_args, get_origin

from hypothesis import strategies as st

from nmt import config as config_module
from nmt.command import compose_values
from nmt.config import Settings
from nmt.config.paths import configuration_folder, sample_folder
from nmt.training.identity import flat

ROOT = Path(__file__).parents[1]
MEMORY = 24 << 30  # bytes of address space of a command; PyTorch itself maps a few GB
FILE_SIZE = 1 << 30  # largest file that a command may write, in bytes
SECONDS = 90.0  # longest time of a command whose other settings let it end within seconds
SERVING = 6.0  # seconds until a server is told to stop
FEW_LINES = 40

# Command → (module, settings with which it ends soon). {folder} is a model folder, {sample} the
# sample corpus, and {cache} a cache with what is measured and prepared once.
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train": (
        "nmt.train",
        (
            "data.cache={cache}",
            "data.vocabulary.size=400",
            "model.hidden_size=8",
            "parallel.device=cpu",
            "parallel.threads=1",
            "training.max_steps=2",
            "training.max_epochs=1",
            "training.max_minutes=0.2",
            "training.validate_sentences=2",
            "decode.max_length_offset=2",
            "decode.max_length_ratio=1.0",
        ),
    ),
    "evaluate": (
        "nmt.evaluate",
        ("translator.folder={folder}", "source=few.en", "reference=few.de", "bootstrap=10"),
    ),
    "translate": ("nmt.translate", ("translator.folder={folder}", "input=few.en", "output=out.de")),
    "export": ("nmt.export", ("folder={folder}", "output=exported")),
    "place": (
        "nmt.place",
        (
            "data.cache={cache}",
            "data.vocabulary.size=400",
            "model.hidden_size=8",
            "planners=[equal_layers,exact]",
            "placement.minutes=0.02",
            "placement.evaluations=50",
            "pretrain.updates=2",
            "micro_batches=[1,2]",
        ),
    ),
    "serve": ("serve.__main__", ("models={folder}", "port=0", "translator.threads=1")),
}
ODD = (
    *("-1", "0", "1", "2", "0.5", "-0.5", "1e-308", "1e15", "1e308", "-1e308", "nan", "inf"),
    *("127", "1000", "100000", "1000000000", "2147483647", "2147483648", "9223372036854775807"),
    *("9223372036854775808", "1000000000000000000000000000000", "true", "null", "", "x", "é"),
    *("../../x", "/", "/dev/null", "/dev/full", "/proc/self/mem", "a=b", "a,b", "[]", "[1,2]"),
    *("[[1]]", "[null]", "{}", "{a:1}", "???", "${x}", "${oc.env:X}", "'", "\\", "en-de", "en"),
)
# What settings with a choice allow, and names of files, right somewhere and wrong elsewhere.
WORDS = sorted(
    {file.stem for file in configuration_folder().glob("*/*.yaml")}
    | {
        str(choice)
        for kind in vars(config_module).values()
        if isinstance(kind, type) and issubclass(kind, Settings)
        for field in kind.model_fields.values()
        if get_origin(field.annotation) is Literal
        for choice in get_args(field.annotation)
    }
)
SOME_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from(WORDS),
    st.integers(0, 40).map(str),
    st.floats(0, 3).map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    SOME_TEXT,
)


@dataclass(frozen=True)
class Try:
    """A command line, without the settings that let the command end soon."""

    command: str
    override: str


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int | None  # exit code; negative: killed by a signal; None: it did not end
    error: str  # its stderr
    seconds: float

    def fault(self) -> str | None:
        """What a user would have to complain about; None: nothing."""
        if self.code is None:
            return f"no end within {SECONDS:g} s"
        if "Traceback" in self.error:
            return "a traceback"
        if self.code not in (0, 2):
            return f"exit code {self.code}"
        if self.code == 2 and "error: " not in self.error:
            return "no sentence"
        return None


def paths(command: str) -> list[str]:
    """The settings of a command in its usual configuration, alone and in groups."""
    required = ("folder=", "translator.folder=", "models=", "output=")  # where there is no default
    given = [one for one in COMMANDS[command][1] if one.startswith(required)]
    values = compose_values(command, *(one.replace("{folder}", "m") for one in given))
    leaves = [path for path, _ in flat(values)]
    groups = {path.rpartition(".")[0] for path in leaves} - {""}
    return [*leaves, *sorted(groups)]


def tries(command: str) -> st.SearchStrategy[Try]:
    """Command lines with one setting changed, added or removed."""

    def override(path: str, value: str, form: str) -> Try:
        return Try(command, form.format(path=path, value=value))

    forms = st.sampled_from([*["{path}={value}"] * 8, "+{path}.x={value}", "~{path}"])
    return st.builds(override, st.sampled_from(paths(command)), VALUES, forms)


class Commands:
    """Runs commands in a folder, one at a time, each in a fork of a server."""

    def __init__(self, folder: Path, model: Path) -> None:
        """Prepare `folder`; `model` is a model folder."""
        self.folder, self._model = folder, model
        lines = {
            side: (sample_folder() / f"test.{side}").read_text("utf-8").splitlines()[:FEW_LINES]
            for side in ("en", "de")
        }
        self._few = {f"few.{side}": "\n".join(texts) + "\n" for side, texts in lines.items()}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.wrong_settings"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )

    def run(self, one: Try) -> Outcome:
        """Run it in an empty folder."""
        _, settings = COMMANDS[one.command]
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        for name, text in self._few.items():
            (work / name).write_text(text, "utf-8")
        words = {"folder": self._model, "cache": self.folder / "cache"}
        arguments = [*(setting.format(**words) for setting in settings), one.override]
        job = {"command": one.command, "arguments": arguments, "folder": str(work)}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return Outcome(**json.loads(self._server.stdout.readline()))

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()


@contextlib.contextmanager
def commands(folder: Path, model: Path) -> Iterator[Commands]:
    """`Commands`, closed at the end."""
    running = Commands(folder, model)
    try:
        yield running
    finally:
        running.close()


def serve() -> None:
    """The server: a job on each line of stdin, its outcome on a line of stdout."""
    modules = {name: import_module(module) for name, (module, _) in COMMANDS.items()}
    import_module("hydra")
    for line in sys.stdin:
        job = json.loads(line)
        folder, began = Path(job["folder"]), time.monotonic()
        child = os.fork()
        if child == 0:
            _become(job["command"], job["arguments"], folder)
            _run(modules[job["command"]].main)
        code = _wait(child, began + SECONDS)
        error = (folder / "stderr").read_text("utf-8", "replace")
        print(json.dumps({"code": code, "error": error, "seconds": time.monotonic() - began}))
        sys.stdout.flush()


def _become(command: str, arguments: Sequence[str], folder: Path) -> None:
    """Make this process look as if the command had just been started in the folder."""
    os.setsid()
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    for number, name in ((0, "/dev/null"), (1, "stdout"), (2, "stderr")):
        mode = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(name, mode), number)
    sys.argv = [f"nmt-{command}", *arguments]
    if command == "serve":
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        signal.setitimer(signal.ITIMER_REAL, SERVING)


def _run(main: object) -> None:
    """Run a command's main function and end the process as Python would."""
    assert callable(main)
    code = 0
    try:
        main()
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, deadline: float) -> int | None:
    """Wait for a child, and end it and its own processes → its exit code; None: it did not end."""
    code: int | None = None
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if code is None:
        os.waitpid(child, 0)
    return code


if __name__ == "__main__":
    serve()
