"""The output of a long translation: written as it goes, and resumed after an interruption.

A file appears under its name when it is complete. Until then its lines are in `<output>.partial`,
and `<output>.partial.json` says what made them; the same command goes on behind the last whole
line, and another one begins anew.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nmt.config import TranslateConfig
from nmt.errors import InputError
from nmt.files import replacing

logger = logging.getLogger(__name__)


@dataclass
class Output:
    """An open output."""

    stream: BinaryIO
    name: str | None  # of the file; None: stdout, or something that is no file
    lines: int = 0  # that it has from before

    def write(self, line: str) -> None:
        """Write and flush a line, so that the reader of a pipe need not wait for the next one."""
        self.stream.write(line.encode("utf-8") + b"\n")
        self.stream.flush()


@contextmanager
def written_to(config: TranslateConfig) -> Iterator[Output]:
    """The output that the configuration names.

    Raises:
        InputError: the file cannot be written.
    """
    path = config.output
    if path is None:
        yield Output(sys.stdout.buffer, None)
        return
    target = Path(path)
    if target.exists() and not target.is_file():  # such as /dev/null or a named pipe
        with _open(target, path, "wb") as stream:
            yield Output(stream, None)
        return
    partial = target.with_name(f"{target.name}.partial")
    origin = partial.with_name(f"{partial.name}.json")
    identity = _identity(config)
    # What stdin holds is not known, and a document is written in one go.
    resumable = config.input is not None and config.input_format != "html"
    lines = _whole_lines(partial) if resumable and _made_by(origin, identity) else 0
    with _open(partial, path, "ab" if lines else "wb") as stream:
        if lines:
            logger.info("resuming behind line %d of %s", lines, partial)
        else:
            with replacing(origin) as unfinished:
                unfinished.write_text(json.dumps({"made by": identity}) + "\n", encoding="utf-8")
        yield Output(stream, path, lines)
    _complete(partial, target)
    origin.unlink(missing_ok=True)


def _complete(partial: Path, target: Path) -> None:
    """Give a file its name, compressed if that ends with .gz."""
    if target.suffix != ".gz":
        partial.replace(target)
        return
    with (
        replacing(target) as unfinished,
        partial.open("rb") as plain,
        unfinished.open("wb") as raw,
        # Without a name or time in it: the same translations are the same bytes.
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
    ):
        shutil.copyfileobj(plain, packed)
    partial.unlink()


def _identity(config: TranslateConfig) -> str:
    """A digest of all that the translations depend on; files count by their size and time."""
    files = [Path(config.translator.folder) / "model.safetensors"]
    files += [Path(config.input)] if config.input is not None else []
    status = [[f.stat().st_size, f.stat().st_mtime_ns] if f.exists() else None for f in files]
    values = config.model_dump(mode="json", exclude={"output", "progress", "buffer"})
    text = json.dumps([values, status, str(Path.cwd())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _made_by(origin: Path, identity: str) -> bool:
    try:
        return bool(json.loads(origin.read_text(encoding="utf-8"))["made by"] == identity)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _whole_lines(partial: Path) -> int:
    """Cut a file behind its last whole line → how many lines are left."""
    try:
        content = partial.open("r+b")
    except OSError:
        return 0
    lines = end = 0
    with content:
        for line in content:
            if line.endswith(b"\n"):
                lines, end = lines + 1, end + len(line)
        content.truncate(end)
    return lines


def _open(file: Path, path: str, mode: str) -> BinaryIO:
    try:
        stream = file.open(mode)
    except OSError as error:
        raise InputError(
            f"`output` must be a file that can be written, but `{path}` gives "
            f"“{error.strerror}” instead; correct the path or its permissions."
        ) from None
    return stream  # type: ignore[return-value]
