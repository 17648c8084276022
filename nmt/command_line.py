"""What stands behind a command's name, made ready for hydra, and hydra's errors about it in our
words. Names and paths may be typed as they are: hydra's grammar would read `1` as a number, and
fail on `=`, commas, brackets and letters with accents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from nmt.config import Settings
from nmt.config.paths import (
    annotations_at,
    configuration_folder,
    similar_path,
    takes_several,
    takes_text,
)
from nmt.errors import ConfigurationError

# Without these settings, hydra makes a folder for each command and logs everything twice. Settings
# on the command line take precedence.
QUIET_HYDRA = (
    "hydra.run.dir=.",
    "hydra.sweep.subdir=.",
    "hydra.output_subdir=null",
    "hydra.job.chdir=false",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)
# hydra's options that may stand alone, and what they mean then.
ALONE = {"--info": "all", "-i": "all", "--cfg": "job", "-c": "job"}
SWEEP = ("-m", "--multirun")
SWEEPER, NO_SPACE = "hydra/sweeper", "settings"  # a file of conf/search whose space is empty
GROUP = re.compile(r"[a-z_/]+")
OPTION = re.compile(r"[A-Za-z_][\w./-]*")
HOW_TO_QUOTE = (
    "text with `=`, commas, brackets, braces, quotes, spaces or letters with accents is written in "
    "quotes, for hydra and for the shell, as in \"{key}='…'\""
)


@dataclass(frozen=True)
class CommandLine:
    """The settings of a command, by which its command line is understood."""

    name: str  # of the command, such as nmt-train
    kind: type[Settings]
    config_name: str

    def prepared(self, arguments: Sequence[str], sweep_folder: str) -> list[str]:
        """The arguments as hydra reads them right.

        Raises:
            ConfigurationError: a group is given something else than the name of a file.
        """
        sweeps = any(argument in SWEEP for argument in arguments)
        made = [
            self._quoted(argument, sweeps) if is_override(argument) else argument
            for argument in _with_values(arguments)
        ]
        return _with_quiet_settings(self._checked_groups(_with_space(made)), sweep_folder)

    def _quoted(self, argument: str, sweeps: bool) -> str:
        """An override whose setting takes text, so that hydra reads all of it as text."""
        key, _, value = argument.partition("=")
        annotations = annotations_at(self.kind, key.lstrip("+").split("."))
        if not any(map(takes_text, annotations)) or value in ("", "null") or "${" in value:
            return argument
        if value[0] in "'\"" or (value[0] == "[" and any(map(takes_several, annotations))):
            return argument
        if not sweeps:
            return f"{key}={_as_text(value)}"
        # Commas separate the values of a sweep, unless hydra's grammar is used in full.
        special = re.search(r"[\[({'\"]", value)
        return argument if special else f"{key}={','.join(map(_as_text, value.split(',')))}"

    def explained(self, message: str, arguments: Sequence[str]) -> str:
        """An error of hydra in our words, on one line."""
        if match := re.search(r"Could not override '([^']+)'", message):
            return self._unknown(match[1], arguments)
        wrong = next((one for one in _overrides_first(arguments) if not _is_read(one)), None)
        if "override_grammar" in message and wrong is not None:
            key, equals, _ = wrong.lstrip("+~").partition("=")
            hint = f"; {HOW_TO_QUOTE.format(key=key)}" if equals else ""
            return f"`{wrong}` cannot be read as `setting=value`{hint}."
        return compact(message)

    def _unknown(self, path: str, arguments: Sequence[str]) -> str:
        """A setting that the composed configuration does not have."""
        if other := self._other_option(path, arguments):
            return other
        if annotations_at(self.kind, path.split(".")):
            return f"`{path}` is not in the chosen configuration yet; write `+{path}=…` to add it."
        similar = similar_path(self.kind, path)
        hint = (
            f"did you mean `{similar}`?"
            if similar
            else f"`{self.name} --help` lists the settings, and `--cfg job` prints all of them."
        )
        return f"`{path}` is not a setting of {self.name}; {hint}"

    def _other_option(self, path: str, arguments: Sequence[str]) -> str | None:
        """A message for a setting that the chosen file of a group lacks, but that other files of
        the group have; None for other settings."""
        group, _, rest = path.partition(".")
        setting = rest.partition(".")[0]
        options = [
            f"`{group}={file.stem}`"
            for file in sorted((configuration_folder() / group).glob("*.yaml"))
            if setting in yaml.safe_load(file.read_text(encoding="utf-8"))
        ]
        chosen = self._chosen(group, arguments)
        if not options or chosen is None or f"`{group}={chosen}`" in options:
            return None
        *others, last = options
        return (
            f"`{group}.{setting}` is not a setting of `{group}={chosen}`; use "
            f"{' or '.join([*([', '.join(others)] if others else []), last])}, or remove it."
        )

    def _checked_groups(self, arguments: Sequence[str]) -> list[str]:
        """The arguments, after checking that groups are given names of files, since hydra fails on
        anything else: on null, too, where that is the default, and which is left out here.

        Raises:
            ConfigurationError: one is given a number, a list or a mapping, or null where the
                command needs a file.
        """
        return [argument for argument in arguments if self._is_needed(argument)]

    def _is_needed(self, argument: str) -> bool:
        key, _, value = argument.lstrip("+").partition("=")
        group = key.partition("@")[0]
        folder = configuration_folder() / group
        if not is_override(argument) or not GROUP.fullmatch(group) or not folder.is_dir():
            return True
        if value == "null" and self._defaults.get(key, "") is None:
            return False
        if not _is_name(value):
            options = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
            raise ConfigurationError(
                [f"`{key}` must be the name of a group ({options}), but is {value!r} instead."]
            )
        return True

    def _chosen(self, group: str, arguments: Sequence[str]) -> str | None:
        """The file of a group that the command line selects, or else the command's default; None if
        the command has no such group."""
        given = [
            argument.partition("=")[2] for argument in arguments if argument.startswith(f"{group}=")
        ]
        return given[0] if given else self._defaults.get(group)

    @property
    def _defaults(self) -> dict[str, str | None]:
        """The files that the command selects of groups: group, or group@path → file."""
        file = configuration_folder() / f"{self.config_name}.yaml"
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))["defaults"]
        return {
            key: value for one in entries if isinstance(one, dict) for key, value in one.items()
        }


def is_override(argument: str) -> bool:
    """Whether an argument is a setting with a value."""
    return "=" in argument and not argument.startswith("-")


def config_folders(arguments: Sequence[str]) -> list[str]:
    """The folders with groups of the user's own (`--config-dir`)."""
    folders: list[str] = []
    for position, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in ("--config-dir", "-cd"):
            folders += [value] if equals else arguments[position + 1 : position + 2]
    return folders


def compact(message: str) -> str:
    """A message of hydra in one line, without the list of folders that were searched and the place
    in the configuration."""
    return " ".join(re.split(r"Config search path:|\n\s*full_key:", message)[0].split())


def _with_values(arguments: Sequence[str]) -> list[str]:
    """hydra's options with the value that they stand for when given none."""
    made: list[str] = []
    for position, argument in enumerate(arguments):
        made.append(argument)
        following = arguments[position + 1 : position + 2]
        if argument in ALONE and (not following or re.match(r"-|.*=", following[0])):
            made.append(ALONE[argument])
    return made


def _with_space(arguments: list[str]) -> list[str]:
    """The arguments with a file of the group `search`, for sweepers of ours: they need one, also
    where the command line itself names what is searched."""
    given = dict(one.partition("=")[::2] for one in arguments if is_override(one))
    file = configuration_folder() / SWEEPER / f"{given.get(SWEEPER)}.yaml"
    if "search" in given or not file.exists():
        return arguments
    return [*arguments, f"search={NO_SPACE}"]


def _with_quiet_settings(arguments: Sequence[str], sweep_folder: str) -> list[str]:
    """QUIET_HYDRA beside the overrides, since hydra requires them to be together."""
    given = {argument.lstrip("+~").partition("=")[0] for argument in arguments}
    settings = (*QUIET_HYDRA, f"hydra.sweep.dir={sweep_folder}")
    quiet = [setting for setting in settings if setting.partition("=")[0] not in given]
    overrides = [i for i, text in enumerate(arguments) if is_override(text)]
    place = overrides[0] if overrides else 0
    return [*arguments[:place], *quiet, *arguments[place:]]


def _as_text(value: str) -> str:
    """A value of an override that hydra reads as that text."""
    parsed = _parsed(f"x={value}")
    if parsed is not None and not parsed.is_sweep_override() and isinstance(parsed.value(), str):
        return value
    return in_quotes(value)


def in_quotes(value: str) -> str:
    """Any text as hydra reads it: backslashes are doubled before quotes alone."""
    escaped = re.sub(
        r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), value
    )
    return f"'{escaped}'"


def _parsed(override: str) -> Any | None:
    """hydra's reading of an override; None if it cannot be read."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _is_name(value: str) -> bool:
    """Whether hydra reads it as the name of a file, or as several in a sweep."""
    names = value.split(",")
    parsed = [_parsed(f"x={name}") for name in names if OPTION.fullmatch(name)]
    return len(parsed) == len(names) and all(
        one is not None and isinstance(one.value(), str) for one in parsed
    )


def _overrides_first(arguments: Sequence[str]) -> list[str]:
    """Arguments with settings in front of others, which may be the values of options."""
    return sorted(arguments, key=lambda one: not is_override(one))


def _is_read(argument: str) -> bool:
    """Whether hydra can read an argument, as far as it is an override."""
    return argument.startswith("-") or _parsed(argument) is not None
