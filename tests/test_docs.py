"""The documentation: its links, its commands, and the reference of settings."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from nmt.command import compose_values
from nmt.config import read
from nmt.config.reference import COMMANDS, reference
from tests.benchmarks.options import PARTS, Options, read_options
from tests.doc_links import ROOT, anchors, broken_links, pages

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MODULES = {"nmt.train": "nmt-train"}  # commands that are named as modules, after `-m`
OPTIONS_WITH_VALUE = ("--cfg", "--config-dir", "--config-name")


class Command(NamedTuple):
    """One of our commands in a page."""

    page: Path
    name: str  # such as train
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.name}: nmt-{self.name} {' '.join(self.arguments)}"


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield text


def commands_in(page: Path) -> Iterator[Command]:
    """The commands that are complete: those with `…` leave something to the reader."""
    for block in blocks(page, "sh", "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.replace("…", " … "), comments=True)
            if "…" not in words:
                yield from _commands_of(page, words)


def _commands_of(page: Path, words: list[str]) -> Iterator[Command]:
    names = [MODULES.get(word, word) for word in words]
    for place, name in enumerate(names):
        # Words are separated by spaces: `pip install nmt-train` would be somebody else's.
        command = name.removeprefix("nmt-")
        if name.startswith("nmt-") and command in COMMANDS:
            rest = iter(words[place + 1 :])
            arguments = []
            for word in rest:
                if word in ("|", "<", ">", "&", "&&", ";", "2>", ">>"):
                    break
                arguments.append(os.path.expandvars(word))
            yield Command(page, command, tuple(arguments))


def test_links_lead_somewhere() -> None:
    assert [sentence for page in pages() for sentence in broken_links(page)] == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two` three\n[a](#one-two-three) [b](#four) [c](none.md) [d](https://x.y)\n"
        "```\n[e](in/code.md)\n```\n`[f](in/code.md)` ![g](image.png)\n## Four\n## Four\n"
        "[h](#four-1) [i](#four-2) [j](page.md#five)\n",
        encoding="utf-8",
    )
    anchors.cache_clear()
    assert broken_links(page) == [
        f"{page}:2: `none.md` must be a file, but there is none.",
        f"{page}:6: `image.png` must be a file, but there is none.",
        f"{page}:9: `#four-2` must be a heading, but there is none.",
        f"{page}:9: `page.md#five` must be a heading, but there is none.",
    ]


def test_a_newcomer_reads_two_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 250


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_page_is_in_the_site_and_linked_from_the_home_page(page: Path) -> None:
    name = str(page.relative_to(ROOT))
    if name == "README.md":
        return
    assert f"\n{name.removesuffix('.md')}\n" in (ROOT / "docs/conf.py").read_text(encoding="utf-8")
    assert f"]({name})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_reference_of_settings_is_up_to_date() -> None:
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == reference(), (
        "docs/settings.md must be what nmt.config says, but is not; run `make settings`, or "
        "`python -m nmt.config.reference > docs/settings.md`."
    )


ALL = [command for page in pages() for command in commands_in(page)]


def test_the_pages_have_commands() -> None:
    assert {command.name for command in ALL} == COMMANDS.keys()
    assert len(ALL) > 40


@pytest.mark.parametrize("command", ALL, ids=str)
def test_commands_are_right(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NMT_CORPORA", "/corpora")
    overrides, options = split_arguments(command.arguments)
    if "--config-dir" in options:
        write_configurations(command.page, tmp_path)
        overrides = [f"hydra.searchpath=[file://{tmp_path / options['--config-dir']}]", *overrides]
    read(COMMANDS[command.name], compose_values(command.name, *overrides))


def split_arguments(arguments: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Overrides, and hydra's options; of a sweep, the first value of each list."""
    overrides, options, words = [], {}, iter(arguments)
    for word in words:
        if word in OPTIONS_WITH_VALUE:
            options[word] = next(words)
        elif word == "-m":
            options[word] = ""
        else:
            overrides.append(word)
    if "-m" in options:
        overrides = [word if "[" in word else word.partition(",")[0] for word in overrides]
        overrides = [word for word in overrides if "(" not in word]  # intervals
        if any(word.startswith("hydra/sweeper=") for word in overrides):
            search = [word for word in overrides if word.startswith("search=")]
            overrides = [*(search or ["search=settings"]), *overrides]
    return overrides, options


def write_configurations(page: Path, folder: Path) -> None:
    """The files that a page has its reader write: YAML whose first line names the file. A page
    that leaves them to another one has those of docs/training.md."""
    found = [text for text in blocks(page, "yaml") if text.startswith("# mine/")]
    for text in found or blocks(ROOT / "docs" / "training.md", "yaml"):
        file = folder / text.splitlines()[0].removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        assert yaml.safe_load(text)


def test_benchmarks_have_the_parts_and_options() -> None:
    calls = [
        re.findall(r"[\w]+=[\w,./]+", line.partition("make bench")[2])
        for page in pages()
        for block in blocks(page, "sh", "bash")
        for line in block.splitlines()
        if line.startswith("make bench ")
    ]
    assert len(calls) > 8
    for call in calls:
        assert set(read_options(Options, call).only) <= set(PARTS), call


FOLDERS = ("nmt", "serve", "tests", "conf", "docs")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+|\w+\.py)`")


@pytest.mark.parametrize(
    "page", [page for page in pages() if page.name != "CHANGELOG.md"], ids=lambda page: page.stem
)
def test_files_that_pages_name_exist(page: Path) -> None:
    """With a path, or by the name alone where the sentence says which folder is meant."""
    names = {file.name for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")}
    named = PATH.findall(page.read_text(encoding="utf-8"))
    assert [one for one in named if one not in names and not (ROOT / one).exists()] == []


def test_make_has_the_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    used = {
        target
        for page in pages()
        for block in blocks(page, "sh", "bash")
        for target in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)
    }
    assert {"demo", "test", "setup", "check"} <= used
    assert [target for target in sorted(used) if f"\n{target}:" not in makefile] == []


def test_a_timeline_is_drawn(tmp_path: Path) -> None:
    """docs/timeline.py shows the last step of a trace, and each micro-batch in it."""

    def event(device: int, kind: str, name: str, start: float, end: float) -> dict[str, object]:
        times = {"ts": 1e3 * start, "dur": 1e3 * (end - start)}
        return {"name": name, "cat": kind, "ph": "X", "pid": device, "tid": 0, **times}

    step = [
        ("forward", "forward encoder.1 0 0", 0, 50),
        ("communication", "send", 50, 60),
        ("backward", "backward encoder.1 0 0", 60, 180),
        ("update", "update", 190, 200),
    ]
    events = [
        event(device, kind, name, start + shift, end + shift)
        for shift in (0, 200)
        for device in (0, 1)
        for kind, name, start, end in step
    ]
    trace, picture = tmp_path / "trace.json", tmp_path / "timeline.svg"
    trace.write_text(json.dumps({"traceEvents": events}), encoding="utf-8")
    script = ROOT / "docs" / "timeline.py"
    subprocess.run([sys.executable, script, trace, picture, "below", "above"], check=True)
    text = picture.read_text(encoding="utf-8")
    assert text.count(">F1<") == text.count(">B1<") == 2
    assert text.count("90% busy") == 2
    assert "below" in text
    assert "above" in text
