"""The frame of all commands: settings from hydra, logging to stderr, and errors in one line.

Every command calls `run_command`. Only `nmt.command_line` and `nmt.search` use hydra as well.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, Protocol, TypeVar

from nmt.command_line import CommandLine, compact, config_folders, is_override
from nmt.config import Settings, read
from nmt.config.help import help_text
from nmt.config.paths import configuration_folder, sample_folder
from nmt.errors import (
    ConfigurationError,
    ConnectionLostError,
    NmtError,
    StoppedError,
    error_of_ours,
)
from nmt.logs import start_logging
from nmt.memory import keep_memory
from nmt.parallel.world import is_first_to_say

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)

SomeSettings = TypeVar("SomeSettings", bound=Settings)

HELP = ("--help", "-h")
USER_ERROR, INTERRUPTED, CLOSED_PIPE = 2, 130, 141
SIGNALLED = 128  # added to the signal's number, as shells do
SEARCHES = "hydra_plugins.nmt_search."  # the package of our sweepers
FULL_ERROR = "HYDRA_FULL_ERROR"  # environment variable with which hydra raises exceptions


Job = tuple[Sequence[str], Any, Exception | None]  # a sweep's job: its overrides, result and error


class Sweep(NamedTuple):
    """How a command executes hydra's sweeps (`-m`)."""

    # (settings, overrides of the job) → settings of the job
    job_values: Callable[[Mapping[str, Any], Sequence[str]], dict[str, Any]]
    table: Callable[[Sequence[Job]], str]  # text printed at the end
    folder: str  # folder for hydra's settings of the sweep; may refer to settings as ${name}
    result: type[Settings]  # of a job, which another process may leave for this one


class Result(Protocol):
    """The result of a command, with an objective for hydra's sweepers."""

    @property
    def objective(self) -> float | None:
        """The value to optimise; None if there is none."""


def run_command(
    name: str,
    kind: type[SomeSettings],
    main: Callable[[SomeSettings], Result | None],
    config_name: str,
    sweep: Sweep | None = None,
) -> None:
    """Read `conf/<config_name>.yaml` and the overrides on the command line, and call `main`.

    hydra's options (`--help`, `--cfg`, `--config-dir`, `-cn`, `-m`, …) work as usual. A mistake of
    the user is printed on stderr as `<name>: error: …`, and the process exits with 2. If a job of a
    sweep fails, the other jobs still run.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    # hydra writes a file for each sweep, which is removed if the command does not support sweeps.
    scratch = tempfile.TemporaryDirectory()
    runner = _Runner(kind, main, sweep, Path(scratch.name))
    line, given = CommandLine(name, kind, config_name), sys.argv[1:]

    def task(values: DictConfig) -> float | None:
        return runner(values)

    task.__module__ = name  # hydra's help uses it as the name of the application
    before = os.environ.get(FULL_ERROR, "0")
    os.environ[FULL_ERROR] = "1"
    _register_resolvers()
    try:
        if any(argument in HELP for argument in given):
            print(help_text(config_name, config_folders(given)), flush=True)
            return
        sys.argv[1:] = line.prepared(given, sweep.folder if sweep else scratch.name)
        runner.arguments = sys.argv[1:]
        decorate = hydra.main(
            version_base="1.3", config_path=str(configuration_folder()), config_name=config_name
        )
        try:
            decorate(task)()
        finally:
            runner.report()
        runner.finish()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        _exit_quietly()
    except (HydraException, OmegaConfBaseException) as error:
        if before not in ("", "0"):
            raise
        _exit_with(name, line.explained(str(error), sys.argv[1:]))
    except StoppedError as error:
        if is_first_to_say(str(error)):
            sys.stderr.write(f"{name}: {error}\n")
        sys.exit(SIGNALLED + error.number)
    except ConnectionLostError as error:
        _exit_with(name, str(error), "connection lost")  # each process has its own words
    except Exception as error:
        known = error_of_ours(error)
        if known is None:
            raise
        _exit_with(name, runner.failures() or str(known))
    finally:
        os.environ[FULL_ERROR] = before
        scratch.cleanup()


class _Runner(Generic[SomeSettings]):
    """The task that hydra calls, once or for each job of a sweep. Keeps results and errors."""

    def __init__(
        self,
        kind: type[SomeSettings],
        main: Callable[[SomeSettings], Result | None],
        sweep: Sweep | None,
        outbox: Path,
    ) -> None:
        """`outbox` is a folder where other processes that a launcher starts leave their jobs."""
        self._kind, self._main, self._sweep = kind, main, sweep
        self._outbox, self._process = outbox, os.getpid()
        self.arguments: Sequence[str] = ()  # of the command line
        self._jobs: list[Job] = []
        self._error: Exception | None = None  # outside of sweeps

    def __call__(self, values: DictConfig) -> float | None:
        """Run the command with hydra's values, and return its objective, if it has one."""
        start_logging()
        keep_memory()
        if _is_of_search():  # which names its children, and hears from hydra what they raise
            return self._objective(self._main(read(self._kind, plain_values(values))))
        swept = _swept_overrides(self.arguments)
        if swept is None:
            try:
                return self._objective(self._main(read(self._kind, plain_values(values))))
            except Exception as error:  # raised by `finish`: hydra would print it in its own way
                self._error = error
                return None
        logger.info("job %d of the sweep: %s", len(self._jobs), " ".join(swept))
        try:
            plain = plain_values(values)
            if self._sweep is not None:
                plain = self._sweep.job_values(plain, swept)
            result = self._main(read(self._kind, plain))
        except StoppedError as error:  # the other jobs must not run
            self._keep((swept, None, error))
            sys.stderr.write(f"{error}\n")
            sys.exit(SIGNALLED + error.number)
        except Exception as error:
            self._keep((swept, None, error))
            raise
        self._keep((swept, result, None))
        return self._objective(result)

    def _keep(self, job: Job) -> None:
        """Keep a job for the table."""
        if os.getpid() == self._process:
            self._jobs.append(job)
            return
        if self._outbox.is_dir():  # on this machine
            swept, result, error = job
            left = {
                "swept": list(swept),
                "result": None if result is None else result.model_dump(mode="json"),
                "error": None if error is None else _sentence(error),
            }
            file = self._outbox / f"{time.time_ns()}-{os.getpid()}.json"
            file.write_text(json.dumps(left), encoding="utf-8")

    def _left_by_others(self) -> Iterator[Job]:
        for file in sorted(self._outbox.glob("*.json")):
            left = json.loads(file.read_text(encoding="utf-8"))
            assert self._sweep is not None, "only jobs of sweeps leave something"
            result = left["result"] and read(self._sweep.result, left["result"])
            yield left["swept"], result, left["error"] and NmtError(left["error"])

    @staticmethod
    def _objective(result: Result | None) -> float | None:
        return None if result is None else result.objective

    def finish(self) -> None:
        """Raise the error of the command, if there was one."""
        if self._error is not None:
            raise self._error

    def report(self) -> None:
        """Print the table of a sweep, even if it was interrupted."""
        self._jobs += self._left_by_others()
        if self._sweep is not None and self._jobs:
            print(self._sweep.table(self._jobs), flush=True)

    def failures(self) -> str:
        """The errors of all jobs that failed, with at least one line for each."""
        return "\n".join(
            f"job {number} ({' '.join(swept)}): {line}"
            for number, (swept, _, error) in enumerate(self._jobs)
            if error is not None
            for line in _sentence(error).splitlines()
        )


def _is_of_search() -> bool:
    """Whether this is a child of a search, which one of hydra's launchers runs."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    settings: Any = HydraConfig.get()
    return str(OmegaConf.select(settings, "sweeper._target_")).startswith(SEARCHES)


def _swept_overrides(arguments: Sequence[str]) -> list[str] | None:
    """The overrides in which the present job of a sweep differs from other jobs; None outside of
    sweeps. Overrides that the command line gives for all jobs are left out."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    settings = HydraConfig.get()
    if settings.mode != RunMode.MULTIRUN:
        return None
    overrides = [text for text in arguments if is_override(text)]
    common = {
        f"{override.get_key_element()}={override.get_value_element_as_str()}"
        for override in OverridesParser.create().parse_overrides(overrides)
        if not override.is_sweep_override()
    }
    return [text for text in settings.overrides.task if text not in common]


def plain_values(values: Any) -> dict[str, Any]:
    """hydra's values as plain ones, with all interpolations resolved.

    Raises:
        ConfigurationError: an environment variable is not set, or another interpolation cannot be
            resolved.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _register_resolvers()
    try:
        plain = OmegaConf.to_container(values, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigurationError([_unresolved(error.full_key, str(error))]) from None
    assert isinstance(plain, dict), "a configuration is a mapping"
    return {str(key): value for key, value in plain.items()}


def compose_values(config_name: str, *overrides: str) -> dict[str, Any]:
    """`conf/<config_name>.yaml` with overrides, as plain values. For commands that start runs of
    another command."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
            return plain_values(compose(config_name, list(overrides)))
    finally:
        if before is not None:
            GlobalHydra.instance().initialize(before)


def _register_resolvers() -> None:
    """Make `${nmt.sample:}`, the folder of the sample corpus, known to configurations."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("nmt.sample", lambda: str(sample_folder()), replace=True)


def _unresolved(path: str | None, message: str) -> str:
    if message.startswith("Missing mandatory value"):
        return f"`{path}` must be set, but is missing; add `{path}=…`."
    if match := re.search(r"Environment variable '([^']+)' not found", message):
        return (
            f"`{path}` needs the environment variable {match[1]}, but it is not set; set it first, "
            f"as in `export {match[1]}=/path/to/folder`."
        )
    return f"`{path}` must have a value, but has none that can be resolved: {compact(message)}"


def _sentence(error: Exception) -> str:
    """The message of an error for the user."""
    return str(error_of_ours(error) or error)


def _exit_with(name: str, message: str, kind: str | None = None) -> NoReturn:
    """Print an error and exit. Of the processes of a run, only the first with such an error prints
    it: with that message, or of that kind."""
    for line in message.splitlines() if is_first_to_say(kind or message) else []:
        sys.stderr.write(f"{name}: error: {line}\n")
    sys.exit(USER_ERROR)


def _exit_quietly() -> NoReturn:
    """Exit after the reader of our output, such as `head`, has closed the pipe."""
    # Python flushes stdout again at exit, which must not fail.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(CLOSED_PIPE)
