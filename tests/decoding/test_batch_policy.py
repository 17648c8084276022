"""How many sentences are decoded together, and when more are added."""

import pytest

from nmt.decoding.batch_policy import USUAL_LENGTH, capacity, worth_adding


@pytest.mark.parametrize(
    ("sentences", "longest", "expected"),
    [
        (64, 1, 64),
        (64, USUAL_LENGTH, 64),
        (64, USUAL_LENGTH + 1, 63),
        (64, 2 * USUAL_LENGTH, 32),
        (64, 100 * USUAL_LENGTH, 1),  # one is always possible
        (1, 5, 1),
    ],
)
def test_long_sentences_leave_room_for_fewer(sentences: int, longest: int, expected: int) -> None:
    assert capacity(sentences, longest) == expected


def test_source_positions_are_bounded() -> None:
    for longest in range(1, 3000, 37):
        together = capacity(48, longest)
        assert together * longest <= max(48 * USUAL_LENGTH, longest)


@pytest.mark.parametrize(
    ("room", "waiting", "expected"),
    [
        (16, 100, True),  # a quarter is free
        (15, 100, False),
        (15, 15, True),  # all that wait fit
        (2, 3, False),
        (1, 1, True),
        (0, 1, False),
    ],
)
def test_more_are_added_when_it_pays(room: int, waiting: int, expected: bool) -> None:
    assert worth_adding(room, 64, waiting) is expected


def test_a_batch_of_one_is_refilled_at_once() -> None:
    assert worth_adding(1, 1, 50)
