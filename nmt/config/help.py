"""What `--help` prints: a command's groups and settings with a sentence for each."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from nmt.config.paths import configuration_folder
from nmt.config.reference import COMMANDS, all_groups, chosen_groups, comment_of, load, rows

WIDTH = 100
OPTIONS = """Options:
  --cfg job                 print all settings, also those of groups, without running anything
  --config-dir DIR          add a folder with groups of your own, such as DIR/data/mine.yaml
  -cn NAME, -cp DIR         take another file instead of the command's own
  -m, --multirun            run once for each combination of values that are given as a,b,c
  --info                    print where settings come from
  --hydra-help              print all of hydra's options
All settings are explained in docs/settings.md."""


def help_text(command: str, folders: Sequence[str] = ()) -> str:
    """The help of a command, such as `train`; `folders` have groups of the user's own."""
    head, *examples = comment_of(configuration_folder() / f"{command}.yaml")
    parts = [head, "\n".join(f"  {example}" for example in examples)]
    groups = "\n".join(_groups(command, folders))
    if groups:
        parts.append(f"Groups, each chosen by the name of a file (group=file):\n{groups}")
    parts.append(f"Settings (setting=value):\n{chr(10).join(_settings(command))}")
    return "\n\n".join(part for part in [*parts, OPTIONS] if part)


def _groups(command: str, folders: Sequence[str]) -> Iterator[str]:
    for path, (name, option) in chosen_groups(command).items():
        group = all_groups()[name]
        own = [file.stem for folder in folders for file in Path(folder, name).glob("*.yaml")]
        key = name if path == name else f"{name}@{path}"
        yield f"  {key}={option}"
        yield from _indented(group.summary)
        yield from _indented(f"Files: {', '.join(sorted({*group.options, *own}))}.")


def _settings(command: str) -> Iterator[str]:
    groups = chosen_groups(command)
    values = load(configuration_folder() / f"{command}.yaml")
    for row in rows(COMMANDS[command], values, groups=groups):
        if any(row.path == path or row.path.startswith(f"{path}.") for path in groups):
            continue
        default = row.default.strip("`")
        yield f"  {row.path}={default}" if default else f"  {row.path}"
        yield from _indented(row.sentence.replace("`", ""))


def _indented(sentence: str) -> list[str]:
    return textwrap.wrap(
        sentence, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8, break_on_hyphens=False
    )
