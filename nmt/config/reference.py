"""The reference of all settings, made from the classes of `nmt.config` and the YAML of `conf`.

`python -m nmt.config.reference > docs/settings.md` writes it (`make settings`); a test fails while
docs/settings.md differs from it. Needs neither torch nor hydra.
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
from nmt.config.placement import PlaceConfig
from nmt.config.settings import Settings, summary_of
from nmt.config.training import TrainConfig

CONF = Path(__file__).parents[2] / "conf"
BASE = "base"  # of a group whose files share settings
LONGEST = 40  # characters of a default that differs from file to file
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

Every command reads a file of `conf`, and every value in it can be overridden on the command line:

```sh
nmt-train data=multi30k model=small training.max_epochs=10 'optimizer.betas=[0.9,0.999]'
```

`data=multi30k` chooses a file of the group `data`; `training.max_epochs=10` sets one value.
`--help` lists the groups, and `--cfg job` prints all settings of a command without running it.
`--config-dir DIR` adds a folder with groups of your own. Where the default is `???`, a value must
be given; `${oc.env:X,Y}` is the environment variable X, or else Y. Unknown settings and wrong
values are errors, all of them reported at once.
"""


@dataclass(frozen=True)
class Row:
    """One setting."""

    path: str
    allowed: str
    default: str
    sentence: str


@dataclass
class Group:
    """A folder of `conf`: the classes that its files may become, and who uses it."""

    name: str
    kinds: list[type[Settings]]
    users: list[str] = field(default_factory=list)  # such as `nmt-train`

    @property
    def summary(self) -> str:
        """What its class says of itself, after the name of the folder."""
        return summary_of(self.kinds)

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        """The values of each file that can be chosen, by its name; without those of the base."""
        files = sorted((CONF / self.name).glob("*.yaml"))
        return {file.stem: load(file) for file in files if file.stem != BASE}

    @property
    def base(self) -> dict[str, Any] | None:
        """The values that the files share, where they share a file."""
        file = CONF / self.name / f"{BASE}.yaml"
        return load(file) if file.exists() else None


@cache
def load(file: Path) -> dict[str, Any]:
    """A file's own values, nothing interpolated."""
    values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    values.pop("defaults", None)
    return values


def comment_of(file: Path) -> list[str]:
    """The lines of the comment at the top of a file: a sentence, then examples."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("#").strip() for line in takewhile(lambda one: one[:1] == "#", lines)]


def chosen_groups(command: str) -> dict[str, tuple[str, str]]:
    """Path → (group, option) of a command's list of defaults; `null` where none is chosen."""
    text = (CONF / f"{command}.yaml").read_text(encoding="utf-8")
    found = {}
    for entry in yaml.safe_load(text)["defaults"]:
        if not isinstance(entry, Mapping):
            continue
        key, option = next(iter(entry.items()))
        if not key.removeprefix("override ").startswith("hydra"):
            group, _, path = key.partition("@")
            found[path or group] = (group, "null" if option is None else str(option))
    return found


def rows(
    kind: type[Settings],
    values: Mapping[str, Any] | None,
    prefix: str = "",
    groups: Mapping[str, tuple[str, str]] | None = None,
) -> Iterator[Row]:
    """A row for each setting of a class and of those in it; `values` are the defaults, if known."""
    listed: dict[type[Settings], str] = {}
    for name, info in kind.model_fields.items():
        path, sentence = prefix + name, info.description or ""
        inner, (mark, items) = settings_in(info.annotation), items_in(info.annotation)
        if groups and path in groups:
            yield from _group_rows(inner, path, sentence, (values or {}).get(name), groups[path])
            continue
        words = allowed(info.annotation, info.metadata)
        if items and items[0] in listed:
            yield Row(path, f"as `{listed[items[0]]}`", _default(name, info, values), sentence)
            continue
        if not inner or "null" in words:
            yield Row(path, words, _default(name, info, values), sentence)
        for one in inner:
            yield from rows(one, (values or {}).get(name), f"{path}.", groups)
        for one in items:
            listed[one] = path
            yield from rows(one, None, f"{path}{mark}.")


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
    """A link to the group, and what this command has beyond it or allows in another way."""
    name, option = chosen
    general = all_groups()[name]
    yield Row(path, f"[`{name}`](#{name})", f"`{option}`", sentence or general.summary)
    known = {key for one in general.options.values() for key in one} | set(general.base or {})
    for kind in kinds:
        if kind in general.kinds:
            continue
        usual = {row.path: row for one in general.kinds for row in rows(one, None)}
        for row in rows(kind, values):
            is_new = row.path.partition(".")[0] not in known
            if is_new or row.allowed != usual[row.path].allowed:
                yield Row(f"{path}.{row.path}", row.allowed, row.default, row.sentence)


@cache
def all_groups() -> dict[str, Group]:
    """The groups that commands choose from, in the order of their first use."""
    found: dict[str, Group] = {}
    for command, kind in COMMANDS.items():
        for path, (name, _) in chosen_groups(command).items():
            kinds = [kind]
            for part in path.split("."):
                kinds = [k for one in kinds for k in settings_in(one.model_fields[part].annotation)]
            group = found.setdefault(name, Group(name, []))
            group.users.append(f"nmt-{command}")
            group.kinds = _most_general([*group.kinds, *kinds])
    return found


def _most_general(kinds: Sequence[type[Settings]]) -> list[type[Settings]]:
    """The classes that are no subclass of another one, each once."""
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


def settings_table(found: Sequence[Row]) -> str:
    """The table of some settings."""
    lines = [(f"`{row.path}`", row.sentence, row.allowed, row.default) for row in found]
    return table(("setting", "", "allowed", "default"), lines)


def command_section(command: str) -> str:
    """A command's own settings, with links to its groups."""
    file = CONF / f"{command}.yaml"
    head, *examples = comment_of(file)
    summary = head.partition(": ")[2] or head
    found = list(rows(COMMANDS[command], load(file), groups=chosen_groups(command)))
    code = "\n".join(examples)
    parts = [f"## nmt-{command}", summary[:1].upper() + summary[1:]]
    if code:
        parts.append(f"```sh\n{code}\n```")
    return "\n\n".join([*parts, settings_table(found)])


def group_section(group: Group) -> str:
    """A group's files, and its settings."""
    users = ", ".join(f"[`{user}`](#{user})" for user in dict.fromkeys(group.users))
    parts = [f"### {group.name}", f"{group.summary} Used by {users}."]
    parts.append(_options_table(group))
    for kind in group.kinds:
        own = {name: v for name, v in group.options.items() if _fits(kind, v)}
        if len(group.kinds) > 1:
            parts.append(f"With {_discriminator(kind)}:")
        parts.append(settings_table(_merged_rows(kind, own, group.base)))
    return "\n\n".join(parts)


def _options_table(group: Group) -> str:
    lines = []
    for name, values in group.options.items():
        changed = {} if group.base is None else _changed(values, group.base)
        sets = ", ".join(f"`{path}`: {shown(value)}" for path, value in changed.items())
        lines.append(
            (
                f"`{group.name}={name}`",
                " ".join(comment_of(CONF / group.name / f"{name}.yaml")),
                sets,
            )
        )
    if any(line[2] for line in lines):
        return table(("file", "", "sets"), lines)
    return table(("file", ""), [line[:2] for line in lines])


def _changed(
    values: Mapping[str, Any], base: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """What a file overrides of its base, by path."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in base:
            continue
        if isinstance(value, Mapping) and isinstance(base[name], Mapping):
            found |= _changed(value, base[name], f"{prefix}{name}.")
        elif value != base[name]:
            found[prefix + name] = value
    return found


def _fits(kind: type[Settings], values: Mapping[str, Any]) -> bool:
    """Whether a file becomes this one of the classes of a union."""
    for name, info in kind.model_fields.items():
        choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
        if len(choices) == 1 and values.get(name) not in choices:
            return False
    return True


def _discriminator(kind: type[Settings]) -> str:
    """The setting that tells this class from the others of a union."""
    for name, info in kind.model_fields.items():
        if get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1:
            return f"`{name}: {get_args(info.annotation)[0]}`"
    return f"{kind.__name__}"


def _merged_rows(
    kind: type[Settings], options: Mapping[str, Mapping[str, Any]], base: Mapping[str, Any] | None
) -> list[Row]:
    """A group's rows, whose defaults are those of the base, or of each file where they differ."""
    if base is not None:
        return list(rows(kind, base))
    of_each = {name: {row.path: row for row in rows(kind, v)} for name, v in options.items()}
    merged = []
    for path, row in next(iter(of_each.values())).items():
        files: dict[str, list[str]] = {}
        for name, found in of_each.items():
            files.setdefault(found[path].default, []).append(f"`{name}`")
        merged.append(Row(path, row.allowed, _of_files(files), row.sentence))
    return merged


def _of_files(files: Mapping[str, Sequence[str]]) -> str:
    """Default → the files that have it, in a cell."""
    if len(files) == 1:
        return next(iter(files))
    if all(names == [value] for value, names in files.items()):
        return "the file's name"
    if any(len(value) > LONGEST for value in files):
        return "see the file"
    return ", ".join(f"{value} ({', '.join(names)})" for value, names in files.items())


def reference() -> str:
    """The whole page."""
    commands = [command_section(command) for command in COMMANDS]
    groups = [group_section(group) for group in all_groups().values()]
    return "\n\n".join([INTRODUCTION.rstrip(), *commands, "## Groups", *groups]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
