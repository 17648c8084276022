"""Reading parallel text files as pairs of lines; anything that could misalign them is an error.

Only "\\n" ends a line; U+2028, form feeds and the like are text. A "\\r" before it belongs to the
line end, and a byte order mark at the start of a file is dropped. Files are streamed, so that
memory use does not depend on the size of the corpus.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BufferedReader
from itertools import zip_longest
from pathlib import Path

from nmt.config import CorpusConfig
from nmt.errors import CorpusError
from nmt.files import replacing

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Survey:
    """The size and the digest of a parallel corpus."""

    pairs: int
    digest: str  # SHA-256 of all lines of both sides, in order, whether compressed or not


def read_lines(path: str | Path, column: int | None = None) -> Iterator[str]:
    """The lines of a UTF-8 file, plain or .gz, without line ends; with `column`, the text between
    tabs in that column, from 1.

    Raises:
        CorpusError: the file cannot be read; the message names the file and the line.
    """
    path = Path(path)
    number = 0
    try:
        with _open(path) as stream:
            for number, raw in enumerate(stream, 1):
                line = _decode(raw, path, number)
                yield line if column is None else _cut(line, column, path, number)
    except FileNotFoundError:
        raise CorpusError(
            f"`{path}` must be a file, but does not exist{_seen_from(path)}; correct the path, "
            "or get the corpus as described in data/README.md."
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(
            f"`{path}` must be a complete gzip file, but is damaged after line {number} "
            f"({error}) instead; download it again."
        ) from None
    except OSError as error:
        raise CorpusError(
            f"`{path}` must be a file that can be read, but gives “{error.strerror}” instead; "
            "correct the path or its permissions."
        ) from None


def read_parallel(corpus: CorpusConfig) -> Iterator[tuple[str, str]]:
    """All pairs of a corpus, in order; see `read_pair`."""
    for source, target in zip(corpus.source, corpus.target, strict=True):
        yield from read_pair(source, target, corpus.column_of_source, corpus.column_of_target)


def read_pair(
    source: str,
    target: str,
    source_column: int | None = None,
    target_column: int | None = None,
) -> Iterator[tuple[str, str]]:
    """Pairs of the lines of two files, or of columns of them; see `read_lines`.

    Raises:
        CorpusError: the files have different numbers of lines, or none, or both sides are the same.
    """
    if source_column == target_column and _same_file(source, target):
        raise CorpusError(
            f"`{source}` must be the source alone, but is the target as well (`{target}`); name "
            "another file, or choose `columns` of a TSV file."
        )
    pairs = 0
    source_lines = read_lines(source, source_column)
    target_lines = read_lines(target, target_column)
    for source_line, target_line in zip_longest(source_lines, target_lines):
        if source_line is None or target_line is None:
            rest = 1 + sum(1 for _ in source_lines) + sum(1 for _ in target_lines)
            counts = (pairs, pairs + rest) if source_line is None else (pairs + rest, pairs)
            raise CorpusError(
                f"`{target}` must have as many lines as `{source}`, but `{source}` has "
                f"{counts[0]} lines and `{target}` has {counts[1]} instead; line i of one must "
                "be the translation of line i of the other."
            )
        pairs += 1
        yield source_line, target_line
    if pairs == 0:
        raise CorpusError(
            f"`{source}` must have at least one line, but is empty instead, as is `{target}`; "
            "download the corpus again, or leave these files out."
        )


def check(corpus: CorpusConfig, cache: Path | None = None) -> Survey:
    """Check a whole corpus by reading it. With `cache`, files that have not changed since they were
    last checked are not read again.

    Raises:
        CorpusError: a file is missing, damaged, empty, or not parallel.
    """
    record = cache / "checked" / f"{_identity(corpus)}.json" if cache is not None else None
    if record is not None and record.exists():
        return Survey(**json.loads(record.read_text()))
    survey = _survey(corpus)
    if record is not None:
        write_atomically(record, json.dumps(asdict(survey)).encode())
    return survey


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see either the old content or all of the new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _seen_from(path: Path) -> str:
    """From which folder a relative path was looked for."""
    return "" if path.is_absolute() else f" in `{Path.cwd()}`"


def _same_file(one: str, other: str) -> bool:
    return Path(one).exists() and Path(other).exists() and Path(one).samefile(other)


def _cut(line: str, column: int, path: Path, number: int) -> str:
    columns = line.split("\t")
    if len(columns) < column:
        raise CorpusError(
            f"`{path}` must have at least {column} columns with tabs between them, but line "
            f"{number} has {len(columns)} instead; correct the line, or set `columns`."
        )
    return columns[column - 1]


def _decode(raw: bytes, path: Path, number: int) -> str:
    if number == 1:
        raw = raw.removeprefix(BYTE_ORDER_MARK)
    try:
        return raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"`{path}` must be UTF-8, but line {number} is not valid UTF-8: it has byte "
            f"0x{raw[error.start]:02x} at position {error.start + 1} instead; convert the file, "
            "for instance with iconv, or correct the line."
        ) from None


def _survey(corpus: CorpusConfig) -> Survey:
    pairs, digests = 0, (hashlib.sha256(), hashlib.sha256())
    for pair in read_parallel(corpus):
        pairs += 1
        for digest, line in zip(digests, pair, strict=True):
            digest.update(line.encode() + b"\n")
    both = "".join(digest.hexdigest() for digest in digests)
    return Survey(pairs, hashlib.sha256(both.encode()).hexdigest())


def _identity(corpus: CorpusConfig) -> str:
    """A digest of the files' metadata, which changes whenever a file is written or replaced."""
    stamps: list[object] = [] if corpus.columns is None else [corpus.columns]
    for path in [*corpus.source, "", *corpus.target]:
        if path == "" or not Path(path).is_file():  # a missing file is reported when it is read
            stamps.append(path)
            continue
        status = Path(path).stat()
        real = os.path.realpath(path)
        stamps.append([real, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino])
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:32]
