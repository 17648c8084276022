"""The reference of all settings, docs/settings.md, generated from `nmt.config` and `conf`.

`make settings` writes it, and a test fails if it is not up to date. Needs neither torch nor hydra.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from nmt.config.allowed import allowed, items_in, settings_in, shown
from nmt.config.commands import EvaluateConfig, ExportConfig, ServeConfig, TranslateConfig
from nmt.config.paths import configuration_folder
from nmt.config.placement import PlaceConfig
from nmt.config.search import MethodConfig
from nmt.config.settings import Settings, summary_of
from nmt.config.training import TrainConfig

BASE = "base"  # name of the file that has the shared settings of a group
SWEEPER = "hydra/sweeper"  # the group of the methods of a search
LONGEST = 40  # longest default that is listed for each file of a group, in characters
COMMANDS: dict[str, type[Settings]] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "translate": TranslateConfig,
    "serve": ServeConfig,
    "export": ExportConfig,
    "place": PlaceConfig,
}

INTRODUCTION = """# Settings

<!-- Written by `make settings`; do not edit. -->

Every command reads a file in `conf`, and every value in it can be overridden on the command line:

```sh
nmt-train data=multi30k model=small training.max_epochs=10 'optimizer.betas=[0.9,0.999]'
```

`data=multi30k` selects a file of the group `data`; `training.max_epochs=10` sets one value.
`--help` lists the groups, and `--cfg job` prints all settings of a command without running it.
`--config-dir DIR` adds a folder with groups of your own. A setting whose default is `???` must be
set; `${oc.env:X,Y}` is the environment variable X, or Y if it is not set. Unknown settings and
invalid values are errors, which are reported all at once.
"""


@dataclass(frozen=True)
class Row:
    """A row of a table: one setting."""

    path: str
    allowed: str
    default: str
    sentence: str


@dataclass
class Group:
    """A group of settings: a folder of `conf`, and the classes that its files are read as."""

    name: str
    kinds: list[type[Settings]]
    users: list[str] = field(default_factory=list)  # commands that use it, such as `nmt-train`

    @property
    def summary(self) -> str:
        """A description from the docstring of its class."""
        return summary_of(self.kinds)

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        """Name → values of each file that can be selected, without those of the base file."""
        files = sorted((configuration_folder() / self.name).glob("*.yaml"))
        return {file.stem: load(file) for file in files if file.stem != BASE}

    @property
    def base(self) -> dict[str, Any] | None:
        """The values of the base file, which the other files share; None if there is none."""
        file = configuration_folder() / self.name / f"{BASE}.yaml"
        return load(file) if file.exists() else None


@cache
def load(file: Path) -> dict[str, Any]:
    """The values that are in a file itself, without interpolation."""
    values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    values.pop("defaults", None)
    return values


def comment_of(file: Path) -> list[str]:
    """The lines of the comment at the top of a file: a description, then examples."""
    lines = file.read_text(encoding="utf-8").splitlines()
    comment = takewhile(lambda line: line.startswith("#"), lines)
    return [line.removeprefix("#").strip() for line in comment]


def chosen_groups(command: str) -> dict[str, tuple[str, str]]:
    """Path → (group, selected file) in the defaults of a command; `null` if no file is selected."""
    text = (configuration_folder() / f"{command}.yaml").read_text(encoding="utf-8")
    chosen = {}
    for entry in yaml.safe_load(text)["defaults"]:
        if not isinstance(entry, Mapping):
            continue
        key, option = next(iter(entry.items()))
        if not key.removeprefix("override ").startswith("hydra"):
            group, _, path = key.partition("@")
            chosen[path or group] = (group, "null" if option is None else str(option))
    return chosen


def rows(
    kind: type[Settings],
    values: Mapping[str, Any] | None,
    prefix: str = "",
    groups: Mapping[str, tuple[str, str]] | None = None,
) -> Iterator[Row]:
    """Rows for the settings of a class and of the classes nested in it. `values` are the defaults,
    if known; the settings in `groups` become links."""
    listed: dict[type[Settings], str] = {}
    for name, info in kind.model_fields.items():
        path, sentence = prefix + name, info.description or ""
        nested, (suffix, items) = settings_in(info.annotation), items_in(info.annotation)
        if groups and path in groups:
            yield from _group_rows(nested, path, sentence, (values or {}).get(name), groups[path])
            continue
        words = allowed(info.annotation, info.metadata)
        if items and items[0] in listed:
            yield Row(path, f"as `{listed[items[0]]}`", _default(name, info, values), sentence)
            continue
        if not nested or "null" in words:
            yield Row(path, words, _default(name, info, values), sentence)
        for nested_kind in nested:
            yield from rows(nested_kind, (values or {}).get(name), f"{path}.", groups)
        for item_kind in items:
            listed[item_kind] = path
            yield from rows(item_kind, None, f"{path}{suffix}.")


def _default(name: str, info: FieldInfo, values: Mapping[str, Any] | None) -> str:
    if values is not None and name in values:
        return "" if isinstance(values[name], Mapping) else shown(values[name])
    return "" if info.is_required() else shown(info.default)


def _group_rows(
    kinds: Sequence[type[Settings]],
    path: str,
    sentence: str,
    values: Mapping[str, Any] | None,
    chosen: tuple[str, str],
) -> Iterator[Row]:
    """A link to the group, and the settings that only this command has or that allow other values
    here."""
    name, option = chosen
    group = all_groups()[name]
    yield Row(path, f"[`{name}`](#{name})", f"`{option}`", sentence or group.summary)
    known = {key for values in group.options.values() for key in values} | set(group.base or {})
    for kind in kinds:
        if kind in group.kinds:
            continue
        usual = {row.path: row for group_kind in group.kinds for row in rows(group_kind, None)}
        for row in rows(kind, values):
            is_new = row.path.partition(".")[0] not in known
            if is_new or row.allowed != usual[row.path].allowed:
                yield Row(f"{path}.{row.path}", row.allowed, row.default, row.sentence)


@cache
def all_groups() -> dict[str, Group]:
    """The groups that commands use, in the order of their first use."""
    groups: dict[str, Group] = {}
    for command, kind in COMMANDS.items():
        for path, (name, _) in chosen_groups(command).items():
            kinds = [kind]
            for part in path.split("."):
                annotations = [kind.model_fields[part].annotation for kind in kinds]
                kinds = [kind for annotation in annotations for kind in settings_in(annotation)]
            group = groups.setdefault(name, Group(name, []))
            group.users.append(f"nmt-{command}")
            group.kinds = _most_general([*group.kinds, *kinds])
    groups[SWEEPER] = Group(SWEEPER, [MethodConfig], ["nmt-train"])  # hydra reads it
    return groups


def _most_general(kinds: Sequence[type[Settings]]) -> list[type[Settings]]:
    """The classes that are not subclasses of another one of them, without repetition."""
    unique = list(dict.fromkeys(kinds))
    return [
        kind
        for kind in unique
        if not any(other is not kind and issubclass(kind, other) for other in unique)
    ]


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    separator = "|" + "---|" * len(header)
    return "\n".join(
        [f"| {' | '.join(header)} |", separator, *(f"| {' | '.join(c)} |" for c in cells)]
    )


def settings_table(settings: Sequence[Row]) -> str:
    """A table of settings."""
    lines = [(f"`{row.path}`", row.sentence, row.allowed, row.default) for row in settings]
    return table(("setting", "", "allowed", "default"), lines)


def command_section(command: str) -> str:
    """The section of a command: its own settings, and links to its groups."""
    file = configuration_folder() / f"{command}.yaml"
    head, *examples = comment_of(file)
    summary = head.partition(": ")[2] or head
    settings = list(rows(COMMANDS[command], load(file), groups=chosen_groups(command)))
    code = "\n".join(examples)
    parts = [f"## nmt-{command}", summary[:1].upper() + summary[1:]]
    if code:
        parts.append(f"```sh\n{code}\n```")
    return "\n\n".join([*parts, settings_table(settings)])


def group_section(group: Group) -> str:
    """The section of a group: its files and its settings."""
    users = ", ".join(f"[`{user}`](#{user})" for user in dict.fromkeys(group.users))
    parts = [f"### {group.name}", f"{group.summary} Used by {users}."]
    parts.append(_options_table(group))
    for kind in group.kinds:
        options = {name: values for name, values in group.options.items() if _fits(kind, values)}
        if len(group.kinds) > 1:
            parts.append(f"With {_discriminator(kind)}:")
        parts.append(settings_table(_merged_rows(kind, options, group.base)))
    return "\n\n".join(parts)


def _options_table(group: Group) -> str:
    lines = []
    for name, values in group.options.items():
        changed = {} if group.base is None else _changed(values, group.base)
        sets = ", ".join(f"`{path}`: {shown(value)}" for path, value in changed.items())
        lines.append(
            (
                f"`{group.name}={name}`",
                " ".join(comment_of(configuration_folder() / group.name / f"{name}.yaml")),
                sets,
            )
        )
    if any(line[2] for line in lines):
        return table(("file", "", "sets"), lines)
    return table(("file", ""), [line[:2] for line in lines])


def _changed(
    values: Mapping[str, Any], base: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """Path → value of the settings of the base file that a file overrides."""
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in base:
            continue
        if isinstance(value, Mapping) and isinstance(base[name], Mapping):
            changed |= _changed(value, base[name], f"{prefix}{name}.")
        elif value != base[name]:
            changed[prefix + name] = value
    return changed


def _fits(kind: type[Settings], values: Mapping[str, Any]) -> bool:
    """Whether the values of a file are read as this member of a union of classes."""
    for name, info in kind.model_fields.items():
        choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
        if len(choices) == 1 and values.get(name) not in choices:
            return False
    return True


def _discriminator(kind: type[Settings]) -> str:
    """The setting that distinguishes this class from the other members of a union."""
    for name, info in kind.model_fields.items():
        if get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1:
            return f"`{name}: {get_args(info.annotation)[0]}`"
    return f"{kind.__name__}"


def _merged_rows(
    kind: type[Settings], options: Mapping[str, Mapping[str, Any]], base: Mapping[str, Any] | None
) -> list[Row]:
    """The rows of a group. Defaults are those of the base file or, without one, those of each
    file."""
    if base is not None:
        return list(rows(kind, base))
    by_file = {
        name: {row.path: row for row in rows(kind, values)} for name, values in options.items()
    }
    merged = []
    for path, row in next(iter(by_file.values())).items():
        files: dict[str, list[str]] = {}
        for name, file_rows in by_file.items():
            files.setdefault(file_rows[path].default, []).append(f"`{name}`")
        merged.append(Row(path, row.allowed, _of_files(files), row.sentence))
    return merged


def _of_files(files: Mapping[str, Sequence[str]]) -> str:
    """A cell that lists defaults and the files that have them. `files`: default → names."""
    if len(files) == 1:
        return next(iter(files))
    if all(names == [value] for value, names in files.items()):
        return "the file's name"
    if any(len(value) > LONGEST for value in files):
        return "see the file"
    return ", ".join(f"{value} ({', '.join(names)})" for value, names in files.items())


def reference() -> str:
    """The page docs/settings.md."""
    commands = [command_section(command) for command in COMMANDS]
    groups = [group_section(group) for group in all_groups().values()]
    return "\n\n".join([INTRODUCTION.rstrip(), *commands, "## Groups", *groups]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
