"""Files that are there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Another name, beside `path`, for a file to be written under: it becomes `path` when all went
    well, and is removed otherwise. Whoever looks sees the old file or all of the new one."""
    unfinished = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
