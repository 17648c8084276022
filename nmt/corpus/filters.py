"""Filtering of training pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nmt.config import FilterConfig

# Reasons to leave a pair out, in the order in which they are checked, as predicates for the log.
REASONS = {
    "empty": "have an empty side",
    "copies": "have identical sides",
    "duplicates": "are duplicates",
    "length": "are too long",
    "ratio": "have sides of very different lengths",
}
RATIO_FROM = 10  # pieces; shorter pairs may have any ratio ("No." – "Das kommt nicht …")
HASHES_AT_ONCE = 2_000_000  # held in memory to find duplicates: 16 MB


def text_reason(source: str, target: str, seen: bool, config: FilterConfig) -> str | None:
    """The reason to leave a pair out by its text, a key of REASONS; None to keep it. `seen` is
    whether the pair has occurred before."""
    source, target = source.strip(), target.strip()
    if not source or not target:
        return "empty"
    if config.copies and source == target:
        return "copies"
    if config.duplicates and seen:
        return "duplicates"
    return None


def length_reason(source: int, target: int, config: FilterConfig) -> str | None:
    """The reason to leave a pair out by the numbers of pieces of its sides, a key of REASONS; None
    to keep it."""
    shorter, longer = sorted((source, target))
    if shorter == 0:
        return "empty"  # a side has only characters that normalisation removes
    if longer > config.max_tokens:
        return "length"
    if longer > RATIO_FROM and longer > config.max_ratio * shorter:
        return "ratio"
    return None


def find_duplicates(
    pairs: Iterable[tuple[str, str]], scratch: Path, at_once: int = HASHES_AT_ONCE
) -> NDArray[np.bool_]:
    """Mark each pair that has occurred before: (pairs,), memory-mapped from a file in `scratch`.

    The 64-bit hashes of all pairs are written to a file, which is read once for each range of about
    `at_once` hash values, so that memory use does not grow with the corpus. (The probability of any
    collision among forty million different pairs is 0.00005.)
    """
    count = _write_hashes(pairs, scratch / "hashes")
    if count == 0:
        return np.zeros(0, dtype=np.bool_)
    hashes = np.memmap(scratch / "hashes", dtype=np.uint64, mode="r")
    marks = np.memmap(scratch / "duplicates", dtype=np.bool_, mode="w+", shape=(count,))
    ranges = -(-count // at_once)
    for i in range(ranges):
        first, last = 2**64 * i // ranges, 2**64 * (i + 1) // ranges - 1
        _mark_range(hashes, marks, np.uint64(first), np.uint64(last), at_once)
    return marks


def _write_hashes(pairs: Iterable[tuple[str, str]], path: Path) -> int:
    count = 0
    with path.open("wb") as file:
        for source, target in pairs:
            text = f"{source}\n{target}".encode()  # neither side has a line end
            file.write(hashlib.blake2b(text, digest_size=8).digest())
            count += 1
    return count


def _mark_range(
    hashes: NDArray[np.uint64],
    marks: NDArray[np.bool_],
    first: np.uint64,
    last: np.uint64,
    at_once: int,
) -> None:
    seen = np.zeros(0, dtype=np.uint64)
    for start in range(0, len(hashes), at_once):
        chunk = np.asarray(hashes[start : start + at_once])
        places = np.flatnonzero((chunk >= first) & (chunk <= last))
        values, earliest = np.unique(chunk[places], return_index=True)
        new = ~np.isin(values, seen, assume_unique=True)
        repeated = np.ones(len(places), dtype=np.bool_)
        repeated[earliest[new]] = False
        marks[start + places[repeated]] = True
        seen = np.concatenate([seen, values[new]])
