"""What has happened in a search, in its folder: what it is (`search.json`) and every event
(`events.jsonl`), one line each, written when it happens. A search that was killed goes on from
there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from nmt.errors import ConfigurationError
from nmt.files import replacing
from nmt.run.folder import lock
from nmt.search.child import Record

MOST = 5  # differences that are listed
# What each kind of event tells.
FIELDS = {
    "child": {"number", "point", "values", "asked"},
    "refused": {"point", "why"},
    "repeat": {"point", "of"},
    "end": {field.name for field in fields(Record)} | {"method_seconds"},
}
SEARCH, EVENTS = "search.json", "events.jsonl"


class History:
    """The events of one search."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Open the folder's history, or begin one. Until it is closed, no other command may.

        Raises:
            ConfigurationError: the folder holds another search, something else, or damaged events.
            CheckpointError: another command is executing the search.
        """
        self.folder = folder
        self._file = folder / EVENTS
        self._check(identity)
        with ExitStack() as stack:
            stack.enter_context(lock(folder))
            self.events = list(read_events(folder))  # of earlier sessions
            # A last line that was cut off would spoil the next one.
            whole = "".join(json.dumps(one) + "\n" for one in self.events)
            with replacing(self._file) as unfinished:
                unfinished.write_text(whole, encoding="utf-8")
            self._lock = stack.pop_all()
        self._lines: TextIO | None = None

    def _check(self, identity: Mapping[str, Any]) -> None:
        file = self.folder / SEARCH
        if file.exists():
            before = read_identity(self.folder)
            differences = [
                f"`{path}` was {_short(was)}, is {_short(value)}"
                for path, was, value in _differences(before, identity)
            ]
            if differences:
                raise ConfigurationError(
                    [
                        f"`{self.folder}` holds another search ({'; '.join(differences[:MOST])}"
                        f"{'; …' if len(differences) > MOST else ''}); choose another `name`, or "
                        "give the same settings to go on with it."
                    ]
                )
            return
        if self.folder.exists() and any(
            (self.folder / name).exists() for name in ("config.yaml", "checkpoints", "best")
        ):
            raise ConfigurationError(
                [f"`{self.folder}` must be a search's folder, but is a run's; choose another name."]
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(file) as unfinished:
            unfinished.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")

    def add(self, event: str, **values: Any) -> None:
        """Write an event."""
        if self._lines is None:
            self._lines = self._file.open("a", encoding="utf-8")
        self._lines.write(json.dumps({"event": event, **values}) + "\n")
        self._lines.flush()
        os.fsync(self._lines.fileno())

    def close(self) -> None:
        """Close the file, and leave the folder to others."""
        self._lock.close()
        if self._lines is not None:
            self._lines.close()
            self._lines = None


def read_identity(folder: Path) -> dict[str, Any]:
    """What a search is.

    Raises:
        ConfigurationError: the folder holds none, or its file is damaged.
    """
    try:
        found = json.loads((folder / SEARCH).read_text(encoding="utf-8"))
    except OSError:
        raise ConfigurationError(
            [f"`{folder}` must be the folder of a search, but has no {SEARCH}."]
        ) from None
    except ValueError as error:
        raise ConfigurationError(
            [f"`{folder / SEARCH}` is damaged: {error}; choose another `name`."]
        ) from None
    if not isinstance(found, dict):
        raise ConfigurationError([f"`{folder / SEARCH}` is damaged; choose another `name`."])
    return found


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """The events so far, without a last one that was cut off while it was written.

    Raises:
        ConfigurationError: another line is damaged.
    """
    file = folder / EVENTS
    if not file.exists():
        return
    lines = file.read_bytes().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for number, line in enumerate(lines, 1):
        event = _event(line)
        if event is None:
            if number == len(lines):
                return
            raise ConfigurationError(
                [
                    f"Line {number} of `{file}` is damaged; remove it to go on without that event, "
                    "or choose another `name`."
                ]
            )
        yield event


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    kind = event.get("event") if isinstance(event, dict) else None
    return event if kind in FIELDS and event.keys() >= FIELDS[kind] else None


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """(path, value before, value now) of each value that differs."""
    for key in {**before, **now}:
        was, value = before.get(key), now.get(key)
        if isinstance(was, dict) and isinstance(value, dict):
            yield from _differences(was, value, f"{path}{key}.")
        elif was != value:
            yield f"{path}{key}", was, value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
