"""What all commands share: settings from hydra, logging to stderr, and one line for an error.

A command file calls `run_command`; nothing else in the package knows of hydra.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from nmt.config import Settings, read
from nmt.errors import ConfigurationError, NmtError
from nmt.memory import keep_memory

SomeSettings = TypeVar("SomeSettings", bound=Settings)

# hydra would otherwise make a folder for each command and log everything twice. What a user gives
# on the command line comes first.
QUIET_HYDRA = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra.job.chdir=false",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)
USER_ERROR, INTERRUPTED, CLOSED_PIPE = 2, 130, 141
FULL_ERROR = "HYDRA_FULL_ERROR"  # hydra's own switch: set, it leaves exceptions to its caller


def configuration_folder() -> Path:
    """Where the YAML is: `nmt/conf` in a wheel, `conf` beside `nmt` in a checkout.

    Raises:
        ConfigurationError: it is in neither place.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if folder.is_dir():
            return folder
    raise ConfigurationError(
        [f"The folder `conf` must be in or beside `{package}`, but is not; install nmt again."]
    )


def run_command(
    name: str, kind: type[SomeSettings], main: Callable[[SomeSettings], None], config_name: str
) -> None:
    """Read `conf/<config_name>.yaml` and the overrides of the command line, and call `main`.

    hydra's options (`--help`, `--cfg`, `--config-dir`, `-cn`, …) work as usual. What a user did
    wrong is printed on stderr as `<name>: error: …`, and the process exits with 2.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    def task(values: DictConfig) -> None:
        start_logging()
        keep_memory()
        try:
            main(read(kind, plain_values(values)))
        except NmtError as error:
            _exit_with(name, str(error))
        except BrokenPipeError:
            _exit_quietly()
        except OSError as error:
            _exit_with(name, _system_error(error))

    task.__module__ = name  # what hydra calls the application in its help
    before = os.environ.get(FULL_ERROR, "0")
    os.environ[FULL_ERROR] = "1"
    given = {argument.lstrip("+~").partition("=")[0] for argument in sys.argv[1:]}
    quiet = [setting for setting in QUIET_HYDRA if setting.partition("=")[0] not in given]
    # Beside the user's own settings: hydra wants all of them in one place, before or after options.
    own = [i for i, text in enumerate(sys.argv) if i and "=" in text and not text.startswith("-")]
    place = own[0] if own else len(sys.argv)
    sys.argv[place:place] = quiet
    try:
        decorate = hydra.main(
            version_base="1.3", config_path=str(configuration_folder()), config_name=config_name
        )
        decorate(task)()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        _exit_quietly()
    except (HydraException, OmegaConfBaseException) as error:
        if before not in ("", "0"):
            raise
        _exit_with(name, _compact(str(error)))
    except NmtError as error:
        _exit_with(name, str(error))
    finally:
        os.environ[FULL_ERROR] = before


def plain_values(values: Any) -> dict[str, Any]:
    """hydra's values as plain ones, with every interpolation resolved.

    Raises:
        ConfigurationError: an environment variable that is not set, or another interpolation that
            cannot be resolved.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(values, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigurationError([_unresolved(error.full_key, str(error))]) from None
    assert isinstance(plain, dict), "a configuration is a mapping"
    return {str(key): value for key, value in plain.items()}


def compose_values(config_name: str, *overrides: str) -> dict[str, Any]:
    """`conf/<config_name>.yaml` with overrides, as plain values: for a command that starts runs of
    another."""
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


def _unresolved(path: str | None, message: str) -> str:
    if found := re.search(r"Environment variable '([^']+)' not found", message):
        return (
            f"`{path}` needs the environment variable {found[1]}, but it is not set; set it first, "
            f"as in `export {found[1]}=/path/to/folder`."
        )
    return f"`{path}` must have a value, but has none that can be resolved: {_compact(message)}"


def _compact(message: str) -> str:
    """hydra's messages in one line, without the list of folders that were searched."""
    return " ".join(message.partition("Config search path:")[0].split())


def start_logging() -> None:
    """Log to stderr: stdout belongs to a command's results."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
    )


def _system_error(error: OSError) -> str:
    """A full disk, a missing permission and the like."""
    if error.errno is None:
        raise error  # not the system's; ours or a library's mistake
    where = f" `{error.filename}`" if error.filename is not None else ""
    return f"The system refused{where}: {error.strerror}; correct the path, or make room."


def _exit_with(name: str, message: str) -> NoReturn:
    for line in message.splitlines():
        sys.stderr.write(f"{name}: error: {line}\n")
    sys.exit(USER_ERROR)


def _exit_quietly() -> NoReturn:
    """Whoever read our output, such as `head`, has enough of it."""
    # Python flushes stdout at exit once more, which must not fail.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(CLOSED_PIPE)
