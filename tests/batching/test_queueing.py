"""The queue in front of the running batch: bounds, turns, and who may join."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest

from nmt.batching.queueing import ACTIVE_SECONDS, WaitingQueue
from nmt.batching.requests import (
    Limits,
    QueueFullError,
    RequestOptions,
    SearchSettings,
    Statistics,
    Submission,
)

OPTIONS = RequestOptions(SearchSettings(1, False))
NOBODY: Counter[Hashable] = Counter()
FOREVER = 1e9  # seconds that joining would hold up the batch


def submission(caller: str, sentences: int = 1, length: int = 3, age: float = 0.0) -> Submission:
    model: Any = None
    sources = [[9] * length] * sentences
    made = Submission(model, sources, OPTIONS, caller, float("inf"))
    made.since -= age
    return made


def queue(waiting: int = 20, tokens: int = 1000, batch: int = 8) -> WaitingQueue:
    return WaitingQueue(Limits(waiting, tokens, batch), Statistics())


def running(**counts: int) -> Counter[Hashable]:
    return Counter(dict[Hashable, int](counts))


def callers(taken: list[Any]) -> str:
    return "".join(str(one.submission.caller) for one in taken)


def test_callers_take_turns() -> None:
    waiting = queue()
    waiting.add(submission("a", 4))
    waiting.add(submission("b", 2))
    waiting.add(submission("c", 2))
    assert callers(waiting.take(NOBODY, 0, 0.0)) == "abcabcaa"
    assert waiting.take(NOBODY, 0, 0.0) == []


def test_a_batch_is_not_overfilled() -> None:
    waiting = queue(batch=4)
    waiting.add(submission("a", 9))
    assert len(waiting.take(NOBODY, 0, 0.0)) == 4
    assert waiting.take(running(a=4), 4, 0.0) == []
    assert len(waiting.take(running(a=3), 4, 0.0)) == 1


def test_long_sentences_leave_room_for_fewer() -> None:
    waiting = queue(batch=4)
    waiting.add(submission("a", 4, length=255))
    assert len(waiting.take(NOBODY, 0, 0.0)) == 2, "twice the usual length"


def test_they_wait_until_joining_pays() -> None:
    waiting = queue()
    waiting.add(submission("b", age=2.0))
    assert waiting.take(running(a=3), 4, pause=FOREVER) == []
    waiting.add(submission("c", age=2.0))
    assert callers(waiting.take(running(a=3), 4, pause=3.5)) == "bc", "4 seconds in all"


def test_a_heavy_caller_leaves_room_for_light_ones() -> None:
    """Of a batch of 64, an eighth is for the heavy caller while the other one is active."""
    waiting = queue(waiting=200, batch=64)
    waiting.add(submission("h", 60))
    waiting.add(submission("l", 1))
    taken = waiting.take(NOBODY, 0, 0.0)
    assert Counter(callers(taken)) == {"h": 8, "l": 1}
    alone = queue(waiting=200, batch=64)
    alone.add(submission("h", 60))
    assert len(alone.take(NOBODY, 0, 0.0)) == 60


def test_a_light_caller_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = queue(waiting=200, batch=64)
    waiting.add(submission("h", 90))
    waiting.add(submission("l", 1))
    first = waiting.take(NOBODY, 0, 0.0)
    assert len(first) == 9
    later = time.monotonic() + ACTIVE_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert len(waiting.take(running(h=8), 4, 0.0)) == 56


@pytest.mark.parametrize(
    ("sentences", "tokens", "fits"), [(10, 30, True), (11, 33, False), (5, 900, False)]
)
def test_bounds_of_a_caller(sentences: int, tokens: int, fits: bool) -> None:
    """One may have half of the queue's 20 sentences, and nine tenths of its 1000 tokens."""
    waiting = queue()
    waiting.add(submission("a", 0))
    waiting.add(submission("b", 1))
    waiting.add(submission("a", 1))
    if fits:
        waiting.check_room("a", sentences - 1, tokens)
        return
    with pytest.raises(QueueFullError, match="Too many sentences are waiting"):
        waiting.check_room("a", sentences - 1, tokens)


def test_the_last_tenth_is_for_newcomers() -> None:
    waiting = queue()
    for caller in "abc":
        waiting.add(submission(caller, 6))
    with pytest.raises(QueueFullError):
        waiting.check_room("a", 1, 3)
    waiting.check_room("new", 2, 6)
    with pytest.raises(QueueFullError):
        waiting.check_room("new", 3, 9)


def test_what_is_too_large_may_come_alone() -> None:
    queue().check_room("a", 1000, 100_000)


def test_cancelled_sentences_leave() -> None:
    statistics = Statistics()
    waiting = WaitingQueue(Limits(20, 1000, 8), statistics)
    gone, stays = submission("a", 3), submission("a", 2)
    waiting.add(gone)
    waiting.add(stays)
    waiting.add(submission("b", 1))
    assert (statistics.waiting_sentences, statistics.waiting_tokens) == (6, 18)
    gone.future.cancel()
    waiting.remove_over()
    assert (statistics.waiting_sentences, statistics.waiting_tokens) == (3, 9)
    assert callers(waiting.take(NOBODY, 0, 0.0)) == "aba"
    assert (statistics.waiting_sentences, statistics.waiting_tokens) == (0, 0)
