from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from nmt.batching import (
    ClosedError,
    DeadlineError,
    Limits,
    QueueFullError,
    RequestOptions,
    RunningBatch,
    SearchSettings,
    Submission,
)
from nmt.config import DecodeConfig
from nmt.decoding import DEFAULT, Translator
from tests.batching.fakes import Shouting

PLAIN = RequestOptions(SearchSettings(1, alignments=False))
Start = Callable[..., RunningBatch]


@pytest.fixture
def start() -> Iterator[Start]:
    batches: list[RunningBatch] = []

    def make(
        sentences: int = 4, waiting: int = 100, tokens: int = 10_000, **more: Any
    ) -> RunningBatch:
        limits = Limits(waiting, tokens, sentences)
        batches.append(RunningBatch(DEFAULT, limits, **more))
        return batches[-1]

    yield make
    for batch in batches:
        batch.close()


class Gate:
    """Lets a batch's thread do one step at a time."""

    def __init__(self) -> None:
        self.here, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.open = False

    def __call__(self) -> None:
        if not self.open:
            self.here.release()
            assert self.go.acquire(timeout=20)

    def arrived(self) -> None:
        assert self.here.acquire(timeout=20)

    def let_go(self) -> None:
        self.open = True
        self.go.release()


def submit(
    batch: RunningBatch, model: Any, texts: list[str], caller: str = "a", **more: Any
) -> Submission:
    return batch.submit(model, model.vocabulary.encode_batch(texts), PLAIN, caller, **more)


def texts_of(submission: Submission) -> list[str]:
    return [one.text for one in submission.future.result(20)]


def test_those_that_wait_join_together_when_it_is_worth_a_pause(start: Start) -> None:
    gate = Gate()
    model, batch = Shouting(gate), start()
    long = submit(batch, model, ["abcdefgh"])
    gate.arrived()
    model.admission_seconds = 1e6  # the one that runs would be held up for longer than these wait
    others = [submit(batch, model, [text], caller) for text, caller in (("x", "b"), ("y", "c"))]
    gate.go.release()
    gate.arrived()
    assert model.batches == [["abcdefgh"]] * 2
    model.admission_seconds = 1e-9
    gate.go.release()
    gate.arrived()
    assert model.batches[2] == ["abcdefgh", "x", "y"]
    model.admission_seconds = 1e6
    late = submit(batch, model, ["z"])
    gate.let_go()
    assert [texts_of(one) for one in (long, *others)] == [["ABCDEFGH"], ["X"], ["Y"]]
    assert texts_of(late) == ["Z"], "when nothing runs, nothing is held up"


def test_sentences_join_at_any_step_and_leave_when_they_are_done(start: Start) -> None:
    gate = Gate()
    model, batch = Shouting(gate), start()
    long = submit(batch, model, ["abcd"])
    gate.arrived()
    short = submit(batch, model, ["x"], caller="b")
    gate.go.release()
    gate.arrived()
    gate.go.release()
    assert texts_of(short) == ["X"]
    assert not long.future.done()
    gate.let_go()
    assert texts_of(long) == ["ABCD"]
    assert model.batches == [["abcd"], ["abcd", "x"], ["abcd"], ["abcd"]]


def test_a_batch_that_is_not_continuous_waits_for_the_one_before(start: Start) -> None:
    gate = Gate()
    model, batch = Shouting(gate), start(continuous=False)
    submit(batch, model, ["abc"])
    gate.arrived()
    short = submit(batch, model, ["x"])
    gate.let_go()
    assert texts_of(short) == ["X"]
    assert model.batches == [["abc"]] * 3 + [["x"]]


def test_callers_take_turns(start: Start) -> None:
    gate = Gate()
    model, batch = Shouting(gate), start(sentences=2)
    many = submit(batch, model, ["m0", "m1", "m2", "m3", "m4", "m5"], caller="flood")
    gate.arrived()  # two of them are running
    one = submit(batch, model, ["o"], caller="other")
    gate.let_go()
    assert texts_of(one) == ["O"]
    texts_of(many)
    firsts = list(dict.fromkeys(text for step in model.batches for text in step))
    assert firsts.index("o") <= 3


def test_answers_are_in_order(start: Start) -> None:
    batch, model = start(sentences=2), Shouting()
    texts = ["ccc", "a", "bb", "dddd", "e"]
    assert texts_of(submit(batch, model, texts)) == [text.upper() for text in texts]
    now = batch.statistics
    assert (now.sentences, now.source_tokens, now.waiting_sentences) == (5, 11, 0)
    assert now.waiting_tokens == 0
    assert submit(batch, model, []).future.result(1) == []


def test_more_than_may_wait_is_refused_whole(start: Start) -> None:
    gate = Gate()
    model, batch = Shouting(gate), start(sentences=1, waiting=3, tokens=5)
    running = submit(batch, model, ["abc"])
    gate.arrived()
    waiting = submit(batch, model, ["x", "y"])
    with pytest.raises(QueueFullError, match="Too many sentences are waiting"):
        submit(batch, model, ["z", "z"], caller="b")
    with pytest.raises(QueueFullError):
        submit(batch, model, ["zzzz"], caller="b")
    last = submit(batch, model, ["z"], caller="b")
    assert (batch.statistics.waiting_sentences, batch.statistics.waiting_tokens) == (3, 3)
    gate.let_go()
    assert [texts_of(one) for one in (running, waiting, last)] == [["ABC"], ["X", "Y"], ["Z"]]


def test_what_is_cancelled_leaves_the_queue_and_the_batch(start: Start) -> None:
    gate = Gate()
    model, batch = Shouting(gate), start(sentences=1)
    running, waiting = submit(batch, model, ["abc"]), submit(batch, model, ["def"])
    last = submit(batch, model, ["z"])
    gate.arrived()
    batch.drop([running, waiting])
    gate.let_go()
    assert texts_of(last) == ["Z"]
    with pytest.raises(CancelledError):
        running.future.result(1)
    assert model.batches == [["abc"], ["z"]]
    assert batch.statistics.waiting_tokens == 0


def test_a_deadline(start: Start) -> None:
    gate = Gate()
    model, batch = Shouting(gate), start(sentences=1)
    soon = time.monotonic() + 0.05
    late = submit(batch, model, ["abc"], deadline=soon)
    behind = submit(batch, model, ["def"], deadline=soon)
    gate.arrived()
    time.sleep(0.1)
    gate.let_go()
    for one in (late, behind):
        with pytest.raises(DeadlineError, match="The time for this request is over"):
            one.future.result(20)
    assert texts_of(submit(batch, model, ["x"])) == ["X"]


def test_closing_finishes_what_was_accepted(start: Start) -> None:
    model, batch = Shouting(lambda: time.sleep(0.001)), start(sentences=1)
    accepted = [submit(batch, model, ["abcdef"]) for _ in range(5)]
    batch.close()
    assert [texts_of(one) for one in accepted] == [["ABCDEF"]] * 5
    with pytest.raises(ClosedError):
        submit(batch, model, ["x"])


def test_a_failure_reaches_those_in_the_batch_alone(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("the cause")

    batch = start(sentences=1)
    both = [submit(batch, Shouting(fail), ["ab"]), submit(batch, Shouting(), ["cd"])]
    with pytest.raises(RuntimeError, match="the cause"):
        both[0].future.result(20)
    assert texts_of(both[1]) == ["CD"]
    assert batch.failure is None
    assert "the cause" in caplog.text


def test_one_caller_cannot_fill_the_queue(start: Start) -> None:
    gate = Gate()
    model, batch = Shouting(gate), start(sentences=1, waiting=10)
    submit(batch, model, ["abc"], caller="flood")
    gate.arrived()
    submit(batch, model, ["x"] * 5, caller="flood")
    with pytest.raises(QueueFullError):
        submit(batch, model, ["x"], caller="flood")
    submit(batch, model, ["y"] * 4, caller="flood too")
    with pytest.raises(QueueFullError):
        submit(batch, model, ["y"], caller="flood too")
    last = submit(batch, model, ["z"], caller="other")
    gate.let_go()
    assert texts_of(last) == ["Z"]
    assert not batch.statistics.running_sentences or not batch.idle


def test_a_heavy_caller_gets_a_part_while_a_light_one_is_there(start: Start) -> None:
    gate = Gate()
    model, batch = Shouting(gate), start(sentences=8)
    one = submit(batch, model, ["o"], caller="light")
    gate.arrived()
    many = submit(batch, model, ["mm"] * 10, caller="heavy")
    gate.let_go()
    assert (texts_of(one), texts_of(many)) == (["O"], ["MM"] * 10)
    assert max(map(len, model.batches)) == 1, "an eighth, since the light one came just now"
    alone = start(sentences=8)
    texts_of(submit(alone, model, ["aa"] * 10, caller="heavy"))
    assert len(model.batches[-3]) == 8 or len(model.batches[-4]) == 8


@pytest.mark.usefixtures("one_thread")
def test_a_real_model_says_the_same_as_alone(tiny_model_folder: Path) -> None:
    decode: DecodeConfig = DEFAULT.model_copy(update={"beam_size": 3, "batch_sentences": 3})
    translator = Translator.load(tiny_model_folder, device="cpu", decode=decode)
    texts = ["A man is sleeping.", "Two dogs play with a ball.", "The woman.", "Dogs", "A man"] * 3
    expected = translator.translate(texts, alignments=True)
    batch = RunningBatch(decode, Limits(100, 10_000, 3))
    sources = translator.vocabulary.encode_batch(texts)
    asks = [RequestOptions(SearchSettings(3, alignments=bool(i % 2))) for i in range(len(texts))]
    submissions = [
        batch.submit(translator, [source], options, caller=i % 4)
        for i, (source, options) in enumerate(zip(sources, asks, strict=True))
    ]
    found = [one.future.result(60)[0] for one in submissions]
    batch.close()
    assert [one.text for one in found] == [one.text for one in expected]
    assert [one.alignment is not None for one in found] == [bool(i % 2) for i in range(15)]


def test_whole_batches_are_answered_when_the_rest_of_them_is_dropped(start: Start) -> None:
    gate = Gate()
    model, batch = Shouting(gate), start(continuous=False)
    first = submit(batch, model, ["x"])
    gate.arrived()
    both = [submit(batch, model, ["a"]), submit(batch, model, ["bbb"])]
    gate.go.release()
    gate.arrived()
    assert texts_of(first) == ["X"]
    gate.go.release()
    gate.arrived()  # the second step of both: one is done, and waits for the other
    assert sorted(model.batches[1]) == ["a", "bbb"]
    assert not both[0].future.done()
    batch.drop(both[1:])
    gate.let_go()
    assert texts_of(both[0]) == ["A"]
