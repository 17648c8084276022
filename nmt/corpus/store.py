"""Token stores: filtered, encoded parallel corpora in memory-mapped files.

A store is built once, with memory use that does not depend on the size of the corpus, and cached
under a fingerprint of everything that it depends on. It is a folder with these files:

    source.tokens   target.tokens    ids of the pieces of all sentences (number type: meta.json)
    source.offsets  target.offsets   int64 (pairs + 1,): where each sentence begins
    source.lengths  target.lengths   int32 (pairs,): numbers of pieces
    meta.json                        format, number type, statistics
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from nmt.config import CorpusConfig, FilterConfig
from nmt.corpus.filters import REASONS, find_duplicates, length_reason, text_reason
from nmt.corpus.lines import check, read_parallel
from nmt.corpus.vocabulary import Vocabulary
from nmt.errors import CorpusError

logger = logging.getLogger(__name__)

FORMAT = 1
LINES_AT_ONCE = 10_000
SIDES = ("source", "target")


@dataclass(frozen=True)
class Statistics:
    """Numbers of pairs and pieces of a corpus."""

    read: int  # pairs before filtering
    kept: int  # pairs after filtering
    dropped: dict[str, int]  # reason (see filters.REASONS) → pairs
    source_tokens: int
    target_tokens: int


class TokenStore:
    """An encoded corpus on disk."""

    source_lengths: NDArray[np.int32]  # (pairs,), without special pieces
    target_lengths: NDArray[np.int32]

    def __init__(self, folder: Path) -> None:
        """Open a store.

        Raises:
            CorpusError: the store is incomplete or damaged.
        """
        self.folder = folder
        try:
            meta = json.loads((folder / "meta.json").read_text())
            self.statistics = Statistics(**meta["statistics"])
            kind, pairs = np.dtype(meta["dtype"]), self.statistics.kept
            tokens = (self.statistics.source_tokens, self.statistics.target_tokens)
            files: list[Any] = []
            for side, count in zip(SIDES, tokens, strict=True):
                files.append(_map(folder / f"{side}.tokens", kind, count))
                files.append(_map(folder / f"{side}.offsets", np.dtype(np.int64), pairs + 1))
                files.append(_map(folder / f"{side}.lengths", np.dtype(np.int32), pairs))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                f"`{folder}` must be a complete token store, but is damaged instead ({error}); "
                "delete the folder to have it built again."
            ) from None
        self._source, self._source_offsets, self.source_lengths = files[:3]
        self._target, self._target_offsets, self.target_lengths = files[3:]

    def __len__(self) -> int:
        return self.statistics.kept

    def source(self, i: int) -> np.ndarray:
        """Ids of the source pieces of pair i, (S,), a view of the file."""
        row: np.ndarray = self._source[self._source_offsets[i] : self._source_offsets[i + 1]]
        return row

    def target(self, i: int) -> np.ndarray:
        """Ids of the target pieces of pair i, (T,), a view of the file."""
        row: np.ndarray = self._target[self._target_offsets[i] : self._target_offsets[i + 1]]
        return row


def build_store(
    name: str, corpus: CorpusConfig, vocabulary: Vocabulary, filters: FilterConfig, cache: Path
) -> TokenStore:
    """The token store of a training corpus, from `cache` if it has been built before. `name` is
    used in the log and in errors.

    Raises:
        CorpusError: a file of the corpus is not valid, or no pair is left after filtering.
    """
    folder = cache / "stores" / _fingerprint(corpus, vocabulary, filters, cache)
    if not folder.exists():
        building = folder.with_name(f"{folder.name}.{uuid4().hex[:8]}.tmp")
        try:
            building.mkdir(parents=True)
            _build(name, corpus, vocabulary, filters, building)
            _publish(building, folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    store = TokenStore(folder)
    _report(name, store.statistics)
    return store


def _fingerprint(
    corpus: CorpusConfig, vocabulary: Vocabulary, filters: FilterConfig, cache: Path
) -> str:
    parts = [FORMAT, check(corpus, cache).digest, vocabulary.fingerprint, filters.model_dump()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _build(
    name: str, corpus: CorpusConfig, vocabulary: Vocabulary, filters: FilterConfig, folder: Path
) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    seen = find_duplicates(read_parallel(corpus), scratch) if filters.duplicates else None
    kind = np.dtype(np.uint16 if len(vocabulary) < 2**16 else np.uint32)
    dropped: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
    read = 0
    with _Side(folder, "source", kind) as source, _Side(folder, "target", kind) as target:
        for chunk in _chunks(read_parallel(corpus)):
            repeated = [False] * len(chunk) if seen is None else seen[read : read + len(chunk)]
            kept = _filter_texts(chunk, repeated, filters, dropped)
            encoded = _encode(kept, vocabulary, filters, dropped)
            source.append([ids for ids, _ in encoded])
            target.append([ids for _, ids in encoded])
            read += len(chunk)
    del seen
    shutil.rmtree(scratch)
    statistics = Statistics(read, source.rows, dict(dropped), source.tokens, target.tokens)
    if statistics.kept == 0:
        raise CorpusError(
            f"The corpus `{name}` must have at least one pair after filtering, but has none of its "
            f"{read} pairs left instead ({_reasons(statistics)}); loosen `data.filter`."
        )
    meta = {"format": FORMAT, "dtype": kind.name, "statistics": asdict(statistics)}
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


def _filter_texts(
    chunk: list[tuple[str, str]], repeated: Any, filters: FilterConfig, dropped: Counter[str]
) -> list[tuple[str, str]]:
    kept = []
    for (source, target), seen in zip(chunk, repeated, strict=True):
        reason = text_reason(source, target, bool(seen), filters)
        if reason is None:
            kept.append((source, target))
        else:
            dropped[reason] += 1
    return kept


def _encode(
    pairs: list[tuple[str, str]],
    vocabulary: Vocabulary,
    filters: FilterConfig,
    dropped: Counter[str],
) -> list[tuple[list[int], list[int]]]:
    sources = vocabulary.encode_batch([source for source, _ in pairs])
    targets = vocabulary.encode_batch([target for _, target in pairs])
    kept = []
    for source, target in zip(sources, targets, strict=True):
        reason = length_reason(len(source), len(target), filters)
        if reason is None:
            kept.append((source, target))
        else:
            dropped[reason] += 1
    return kept


def _chunks(pairs: Iterator[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    while chunk := list(islice(pairs, LINES_AT_ONCE)):
        yield chunk


class _Side:
    """Writes the three files of one side of a store."""

    def __init__(self, folder: Path, side: str, kind: np.dtype[Any]) -> None:
        self.rows = self.tokens = 0
        self._kind = kind
        self._tokens = (folder / f"{side}.tokens").open("wb")
        self._offsets = (folder / f"{side}.offsets").open("wb")
        self._lengths = (folder / f"{side}.lengths").open("wb")
        self._offsets.write(np.zeros(1, dtype=np.int64).tobytes())

    def append(self, rows: list[list[int]]) -> None:
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int32, count=len(rows))
        ends = self.tokens + np.cumsum(lengths, dtype=np.int64)
        ids = np.fromiter(chain.from_iterable(rows), dtype=self._kind, count=int(lengths.sum()))
        self._tokens.write(ids.tobytes())
        self._offsets.write(ends.tobytes())
        self._lengths.write(lengths.tobytes())
        self.rows += len(rows)
        self.tokens += len(ids)

    def __enter__(self) -> _Side:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file in (self._tokens, self._offsets, self._lengths):
            file.close()


def _publish(building: Path, folder: Path) -> None:
    try:
        building.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another process has built the same store
            raise


def _map(path: Path, kind: np.dtype[Any], count: int) -> NDArray[Any]:
    if path.stat().st_size != count * kind.itemsize:
        raise ValueError(
            f"{path.name} has {path.stat().st_size} bytes, not {count * kind.itemsize}"
        )
    return np.asarray(np.memmap(path, dtype=kind, mode="r"))


def _report(name: str, statistics: Statistics) -> None:
    for reason, count in statistics.dropped.items():
        if count:
            logger.info("%s: left out %d pairs that %s", name, count, REASONS[reason])
    logger.info(
        "%s: %d of %d pairs kept, %d source and %d target tokens",
        name,
        statistics.kept,
        statistics.read,
        statistics.source_tokens,
        statistics.target_tokens,
    )


def _reasons(statistics: Statistics) -> str:
    return ", ".join(
        f"{count} {REASONS[reason]}" for reason, count in statistics.dropped.items() if count
    )
