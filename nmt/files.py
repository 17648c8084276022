"""Writing files and folders atomically, and checksums of what is in a folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError

from nmt.errors import StorageError

SUMS = "SHA256SUMS"  # as `sha256sum --check` reads it


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to. The file replaces `path` atomically if the
    block succeeds, and is removed otherwise."""
    unfinished = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder to write to, which is removed if the block fails.

    Raises:
        StorageError: it cannot be written, for instance since the disk is full.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        yield
    except (OSError, SafetensorError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StorageError(
            f"`{folder}` could not be written: {reason} ({_free(folder)} MB are free there); make "
            "room or correct its permissions, and run the same command again."
        ) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _free(folder: Path) -> int:
    """Megabytes that are free on the disk of a folder, which may not exist."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free // 1_000_000


def write_sums(folder: Path, names: Sequence[str]) -> None:
    """Write the checksums of some of a folder's files into it."""
    lines = [f"{_sum(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def damage(folder: Path) -> str | None:
    """How a folder differs from its checksums, in words; None if it does not, or has none."""
    file = folder / SUMS
    if not file.exists():
        return None
    try:
        for line in file.read_text(encoding="ascii").splitlines():
            expected, _, name = line.partition("  ")
            if not name or Path(name).name != name:
                return f"{SUMS} is damaged"
            if not (folder / name).is_file():
                return f"{name} is missing"
            if _sum(folder / name) != expected:
                return f"{name} does not have the checksum in {SUMS}"
    except UnicodeDecodeError:
        return f"{SUMS} is damaged"
    except OSError as error:
        return f"{error.strerror}"
    return None


def _sum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
