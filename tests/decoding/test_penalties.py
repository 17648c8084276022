from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nmt.decoding.penalties import CoveragePenalty, LengthPenalty, RepetitionGuard


@pytest.mark.parametrize(
    ("alpha", "length", "expected"), [(0.0, 9, 1.0), (1.0, 1, 1.0), (1.0, 7, 2.0), (0.5, 19, 2.0)]
)
def test_length_penalty(alpha: float, length: int, expected: float) -> None:
    assert LengthPenalty(alpha)(length) == pytest.approx(expected)


def test_coverage_penalty_counts_what_was_not_attended_to() -> None:
    attended = torch.tensor([[1.0, 2.0, 1.5], [0.5, 0.25, 9.0], [0.5, 0.0, 0.0]])
    penalties = CoveragePenalty(0.2)(attended, torch.tensor([3, 2, 1]))
    expected = torch.tensor([1.0, 0.5 * 0.25, 0.5]).log() * 0.2
    torch.testing.assert_close(penalties, expected)


def test_coverage_penalty_is_finite_where_nothing_was_attended_to() -> None:
    assert CoveragePenalty(1.0)(torch.zeros(1, 2), torch.tensor([2])).isfinite().all()


def banned(
    guard: RepetitionGuard, histories: list[list[int]], limits: list[int]
) -> set[tuple[int, int]]:
    width = max(map(len, histories)) + 3
    pieces = torch.tensor([[*history, *[0] * (width - len(history))] for history in histories])
    lengths = torch.tensor([len(history) for history in histories])
    rows, words = guard.banned(pieces, lengths, torch.tensor(limits))
    return set(zip(rows.tolist(), words.tolist(), strict=True))


def test_no_bigram_twice() -> None:
    guard = RepetitionGuard(2, 1)
    assert banned(guard, [[4, 5, 4], [4, 5, 6], [4, 4], [4]], [1] * 4) == {(0, 5), (2, 4)}


def test_no_guard() -> None:
    assert banned(RepetitionGuard(0, 1), [[4, 4, 4, 4]], [1]) == set()


def test_a_source_that_repeats_may_be_copied() -> None:
    guard = RepetitionGuard(2, 1)
    assert guard.limit([4, 5, 6]) == 1
    assert guard.limit([9, 9, 9, 9]) == 3
    assert guard.limit([]) == 1
    assert banned(guard, [[9, 9], [9, 9]], [3, 1]) == {(1, 9)}


@given(
    st.lists(st.lists(st.integers(4, 6), max_size=12), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_exactly_those_pieces_are_banned_that_repeat_too_often(
    histories: list[list[int]], size: int, most: int
) -> None:
    guard = RepetitionGuard(size, most)
    expected = set()
    for row, history in enumerate(histories):
        for piece in (4, 5, 6):
            longer = [*history, piece]
            grams = [tuple(longer[i : i + size]) for i in range(len(longer) - size + 1)]
            if grams and Counter(grams)[grams[-1]] > most:
                expected.add((row, piece))
    assert banned(guard, histories, [most] * len(histories)) == expected
