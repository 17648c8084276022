import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config import FilterConfig
from nmt.corpus.filters import REASONS, find_duplicates, length_reason, text_reason

STRICT = FilterConfig(max_tokens=30, max_ratio=2.0, duplicates=True, copies=True)
LOOSE = FilterConfig(max_tokens=30, max_ratio=2.0, duplicates=False, copies=False)


@pytest.mark.parametrize(
    ("source", "target", "seen", "strict", "loose"),
    [
        ("a", "b", False, None, None),
        ("", "b", False, "empty", "empty"),
        ("a", " \u00a0\t", False, "empty", "empty"),
        ("a", "a ", False, "copies", None),
        ("a", "A", True, "duplicates", None),
    ],
)
def test_reasons_of_the_text(
    source: str, target: str, seen: bool, strict: str | None, loose: str | None
) -> None:
    assert text_reason(source, target, seen, STRICT) == strict
    assert text_reason(source, target, seen, LOOSE) == loose


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (30, 30, None),
        (31, 30, "length"),
        (16, 31, "length"),
        (10, 20, None),
        (10, 21, "ratio"),
        (21, 10, "ratio"),
        (1, 10, None),
        (1, 11, "ratio"),
        (0, 3, "empty"),
    ],
)
def test_reasons_of_the_length(source: int, target: int, reason: str | None) -> None:
    assert length_reason(source, target, STRICT) == reason
    assert reason is None or reason in REASONS


def reference(pairs: list[tuple[str, str]]) -> list[bool]:
    seen: set[tuple[str, str]] = set()
    marks = []
    for pair in pairs:
        marks.append(pair in seen)
        seen.add(pair)
    return marks


@given(
    st.lists(st.tuples(st.sampled_from("ab "), st.sampled_from(["a", "b", "", "a b"]))),
    st.integers(1, 7),
)
@settings(deadline=None)
def test_duplicates_are_those_of_a_set(pairs: list[tuple[str, str]], at_once: int) -> None:
    with TemporaryDirectory() as scratch:
        assert find_duplicates(pairs, Path(scratch), at_once).tolist() == reference(pairs)


def test_a_boundary_between_the_sides_counts(tmp_path: Path) -> None:
    assert not find_duplicates([("a b", "c"), ("a", "b c")], tmp_path).any()


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    def pairs(count: int) -> Iterator[tuple[str, str]]:
        return ((str(i % 40_000), "x") for i in range(count))

    find_duplicates(pairs(10), tmp_path)  # whatever is allocated once

    def peak(count: int) -> int:
        tracemalloc.start()
        marks = find_duplicates(pairs(count), tmp_path, at_once=2_000)
        assert int(marks.sum()) == max(0, count - 40_000)
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return memory

    assert peak(80_000) < 1.5 * peak(20_000)
