"""One running batch for everybody: sentences of all callers are translated together.

A thread of its own owns the engines. A sentence joins as soon as there is room for it and leaves as
soon as it is done, whatever else is in the batch. Callers take turns, sentence by sentence, so that
one who brings a thousand does not keep another's one waiting. What waits is bounded, in sentences
and in pieces; more is refused at once.

Models and search settings that differ cannot share a batch: each has an engine of its own (a lane),
and the lanes take turns step by step under one common budget.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from nmt.config import DecodeConfig
from nmt.decoding.engine import Finished, Hypothesis, Request
from nmt.decoding.translation import Translation
from nmt.decoding.translator import USUAL_LENGTH
from nmt.errors import NmtError, WorkerError

logger = logging.getLogger(__name__)

REFILL = 4  # while others are decoded: not before this part of the batch is free, or all fit
# While a caller of whom little is on its way is active, those of whom much is may have this part
# of the batch each: a large batch takes long steps, and all wait for them.
CROWDED = 0.125
LIGHT = 0.25  # of the heaviest caller's sentences: the most that a light one has on its way
RECENT = 1.0  # seconds after its last submission in which a caller is active
SHARE = 0.5  # of what may wait: the most that one caller may have


class QueueFullError(NmtError):
    """There is no room for more sentences to wait."""


class DeadlineError(NmtError):
    """A request's time was over before its last sentence was translated."""


class ClosedError(NmtError):
    """Nothing is accepted any more."""


class SearchSettings(NamedTuple):
    """What sentences of one batch have in common."""

    beam_size: int
    alignments: bool


class RequestOptions(NamedTuple):
    """How a caller wants its sentences."""

    search: SearchSettings
    n_best: int = 1
    longest: int | None = None  # pieces of a translation; None: by its source's


class Limits(NamedTuple):
    """Of all that is on its way."""

    waiting_sentences: int  # of all callers; one of them may have half
    waiting_tokens: int  # pieces; likewise
    batch_sentences: int  # decoded together, of usual length; fewer of longer ones


class BatchEngine(Protocol):
    """What an `Engine` does, here or in another process."""

    def __len__(self) -> int:
        """Sentences in the batch."""

    @property
    def longest_source(self) -> int:
        """Positions of the longest source in it."""

    @property
    def admission_seconds(self) -> float:
        """What the last sentences took to join."""

    def admit(self, requests: Sequence[Request]) -> None:
        """Let sentences join."""

    def cancel(self, request_id: int) -> bool:
        """Take a sentence out; false if it is not in it."""

    def step(self) -> list[Finished]:
        """Write one piece → the sentences that have left."""


class BatchModel(Protocol):
    """What of a `Translator` is needed."""

    def engine(self, decode: DecodeConfig, alignments: bool) -> BatchEngine:
        """A batch of its own."""

    def translation(self, source: Sequence[int], hypotheses: list[Hypothesis]) -> Translation:
        """What hypotheses come to as text."""


@dataclass(eq=False)  # one is equal to itself alone
class Submission:
    """Some sentences of one caller, answered together."""

    translator: BatchModel
    sources: Sequence[Sequence[int]]
    options: RequestOptions
    caller: Hashable
    deadline: float  # of time.monotonic
    future: Future[list[Translation]] = field(default_factory=Future)
    found: dict[int, Translation] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.done()


class _Waiting(NamedTuple):
    submission: Submission
    place: int

    @property
    def source(self) -> Sequence[int]:
        return self.submission.sources[self.place]


class _Lane:
    """One model with one search."""

    def __init__(
        self, translator: BatchModel, search: SearchSettings, decode: DecodeConfig
    ) -> None:
        self.translator, self.search = translator, search
        settings = decode.changed(beam_size=search.beam_size, n_best=1)
        self.engine = translator.engine(settings, search.alignments)
        self.running: dict[int, _Waiting] = {}  # by number
        self.done: list[tuple[_Waiting, Finished]] = []  # not yet told


@dataclass
class Statistics:
    """What has happened so far, and what is on its way. Read by other threads."""

    waiting_sentences: int = 0
    waiting_tokens: int = 0
    running_sentences: int = 0
    padding: float = 0.0  # part of the running batch's source positions
    steps: int = 0
    sentences: int = 0  # translated
    source_tokens: int = 0
    target_tokens: int = 0
    truncated: int = 0
    busy_seconds: float = 0.0


Observer = Callable[[str, float], None]  # called with a name and a value, from the batch's thread


def _ignore(name: str, value: float) -> None:  # noqa: ARG001 - an observer that does nothing
    return


class RunningBatch:
    """Translates what is submitted, in a thread of its own."""

    def __init__(
        self,
        decode: DecodeConfig,
        limits: Limits,
        continuous: bool = True,
        observe: Observer | None = None,
    ) -> None:
        """With `continuous` false, a batch is filled only when the one before is done, and answered
        as a whole: what servers without a running batch do, to compare with."""
        self._decode, self._limits, self._continuous = decode, limits, continuous
        self._observe: Observer = observe or _ignore
        self._lock = threading.Condition()
        self._queues: OrderedDict[Hashable, deque[_Waiting]] = OrderedDict()
        self._open: dict[int, Submission] = {}  # by id(), until answered
        self._seen: dict[Hashable, float] = {}  # active callers → last submission
        self._lanes: dict[tuple[int, SearchSettings], _Lane] = {}
        self._numbers = 0
        self._dropped = False  # there are submissions that nobody waits for
        self._next_deadline = float("inf")
        self._closing = False
        self._failed: BaseException | None = None
        self.statistics = Statistics()
        self._thread = threading.Thread(target=self._run, name="running batch", daemon=True)
        self._thread.start()

    # For callers

    def submit(
        self,
        translator: BatchModel,
        sources: Sequence[Sequence[int]],
        options: RequestOptions,
        caller: Hashable,
        deadline: float = float("inf"),
    ) -> Submission:
        """Sources (pieces without special ones, none empty) join the queue; `future` of what is
        returned has their translations, in order. See `drop`.

        Raises:
            QueueFullError: there is no room; nothing has joined.
            ClosedError: the batch is being closed.
        """
        submission = Submission(translator, sources, options, caller, deadline)
        tokens = sum(map(len, sources))
        if not sources:
            submission.future.set_result([])
            return submission
        with self._lock:
            if self._closing or self._failed:
                raise ClosedError("The translator is shutting down.")
            now = self.statistics
            self._check_room(caller, len(sources), tokens)
            queue = self._queues.setdefault(caller, deque())
            queue.extend(_Waiting(submission, place) for place in range(len(sources)))
            self._open[id(submission)] = submission
            self._seen[caller] = submission.since
            self._next_deadline = min(self._next_deadline, deadline)
            now.waiting_sentences += len(sources)
            now.waiting_tokens += tokens
            self._lock.notify()
        return submission

    def room_for(self, caller: Hashable) -> bool:
        """Whether a sentence of a caller might join the queue: an answer that costs nothing."""
        with self._lock:
            try:
                self._check_room(caller, 1, 1)
            except QueueFullError:
                return False
        return True

    def _check_room(self, caller: Hashable, sentences: int, tokens: int) -> None:
        """What is too large to ever wait may still come when nobody else waits."""
        now, limits = self.statistics, self._limits
        if not now.waiting_sentences:
            return
        own = self._queues.get(caller, ())
        # The last tenth is for callers of whom nothing waits yet.
        part = 0.9 if own else 1.0
        if (
            now.waiting_sentences + sentences > part * limits.waiting_sentences
            or now.waiting_tokens + tokens > part * limits.waiting_tokens
            or (own and len(own) + sentences > SHARE * limits.waiting_sentences)
        ):
            raise QueueFullError("Too many sentences are waiting; try again later.")

    def drop(self, submissions: Sequence[Submission]) -> None:
        """Nobody waits for these any more; those that are done do not mind."""
        for one in submissions:
            one.future.cancel()
        if any(one.future.cancelled() for one in submissions):
            with self._lock:
                self._dropped = True
                self._lock.notify()

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._open

    @property
    def failure(self) -> BaseException | None:
        """Why it has ended, if it has failed."""
        return self._failed

    def close(self) -> None:
        """Accept nothing more, and wait until all that was accepted is finished."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join()

    # In the thread

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                begin = time.monotonic()
                self._drop_over()
                self._admit()
                for key, lane in list(self._lanes.items()):
                    self._step(key, lane)
                self.statistics.busy_seconds += time.monotonic() - begin
        except BaseException as error:
            logger.exception("the running batch failed")
            with self._lock:
                self._failed = error
                submissions = list(self._open.values())
            for submission in submissions:
                self._answer(submission, error)

    def _wait_for_work(self) -> bool:
        """False: it is closed and empty."""
        with self._lock:
            while not self._open:
                # An engine that stands idle keeps its model from being freed.
                self._lanes = {}
                if self._closing:
                    return False
                self._lock.wait()
        return True

    def _drop_over(self) -> None:
        """Take out what was cancelled, or has come too late."""
        now = time.monotonic()
        with self._lock:
            if not self._dropped and now < self._next_deadline:
                return
            self._dropped = False
            late = [one for one in self._open.values() if one.deadline <= now and not one.over]
        for submission in late:
            self._answer(submission, DeadlineError("The time for this request is over."))
        with self._lock:
            over = {key for key, one in self._open.items() if one.over}
            for key in over:
                del self._open[key]
            self._next_deadline = min(
                (one.deadline for one in self._open.values()), default=float("inf")
            )
            if not over:
                return
            for caller, queue in list(self._queues.items()):
                gone = [one for one in queue if one.submission.over]
                if gone:
                    self._take_from_statistics(gone)
                    left = deque(one for one in queue if not one.submission.over)
                    if left:
                        self._queues[caller] = left
                    else:
                        del self._queues[caller]
        for lane in self._lanes.values():
            for number in [n for n, one in lane.running.items() if one.submission.over]:
                lane.engine.cancel(number)
                del lane.running[number]
        self._count_running()

    def _admit(self) -> None:
        """Let waiting sentences join, callers in turns."""
        running = sum(len(lane.engine) for lane in self._lanes.values())
        if running and not self._continuous:
            return
        with self._lock:
            chosen = self._choose(running)
            self._take_from_statistics(chosen)
        by_lane: dict[tuple[int, SearchSettings], list[_Waiting]] = {}
        now = time.monotonic()
        for one in chosen:
            submission = one.submission
            by_lane.setdefault((id(submission.translator), submission.options.search), []).append(
                one
            )
            self._observe("queue_wait_seconds", now - submission.since)
        for key, some in by_lane.items():
            self._join(key, some)

    def _choose(self, running: int) -> list[_Waiting]:
        if not self._queues:  # as at most steps
            return []
        longest = max((lane.engine.longest_source for lane in self._lanes.values()), default=0)
        most = self._limits.batch_sentences
        room = most - running
        waiting = self.statistics.waiting_sentences
        if running and room < min(waiting, max(1, most // REFILL)):
            return []
        chosen: list[_Waiting] = []
        mine = self._running_of_callers()
        heavy = self._heavy(mine)
        share = max(1, int(CROWDED * most))
        # Of those some join together: few are encoded less efficiently than many.
        full = {caller for caller in heavy if mine[caller] > share // 2}
        if running and not self._waited_enough(full):
            return []
        skipped = 0  # callers, one after the other, who have their share
        while self._queues and skipped < len(self._queues):
            caller, queue = next(iter(self._queues.items()))
            if caller in full or (caller in heavy and mine[caller] >= share):
                self._queues.move_to_end(caller)
                skipped += 1
                continue
            wide = max(longest, len(queue[0].source) + 1)
            allowed = max(1, most * USUAL_LENGTH // max(wide, USUAL_LENGTH))
            if running + len(chosen) >= allowed and (running or chosen):
                break
            longest, skipped = wide, 0
            chosen.append(queue.popleft())
            mine[caller] += 1
            if queue:
                self._queues.move_to_end(caller)
            else:
                del self._queues[caller]
        return chosen

    def _waited_enough(self, full: Set[Hashable]) -> bool:
        """Whether those that may join have waited, all together, as long as those that run would
        have to stand still for them. Encoding a few takes hardly longer than encoding one, and this
        is how many to wait for so that all together are delayed the least. Callers that are `full`
        may have no more."""
        pause = sum(
            len(lane.engine) * lane.engine.admission_seconds for lane in self._lanes.values()
        )
        now, waited = time.monotonic(), 0.0
        for caller, queue in self._queues.items():
            for one in queue if caller not in full else ():
                waited += now - one.submission.since
                if waited >= pause:
                    return True
        return False

    def _running_of_callers(self) -> Counter[Hashable]:
        lanes = self._lanes.values()
        return Counter(one.submission.caller for lane in lanes for one in lane.running.values())

    def _heavy(self, running: Counter[Hashable]) -> set[Hashable]:
        """The callers of whom much is on its way, if there are others of whom little is."""
        since = time.monotonic() - RECENT
        self._seen = {
            caller: at
            for caller, at in self._seen.items()
            if at >= since or caller in self._queues or running[caller]
        }
        amounts = {
            caller: running[caller] + len(self._queues.get(caller, ())) for caller in self._seen
        }
        most = max(amounts.values(), default=0)
        heavy = {caller for caller, amount in amounts.items() if amount > LIGHT * most}
        return heavy if len(heavy) < len(amounts) else set()

    def _take_from_statistics(self, some: Sequence[_Waiting]) -> None:
        self.statistics.waiting_sentences -= len(some)
        self.statistics.waiting_tokens -= sum(len(one.source) for one in some)

    def _join(self, key: tuple[int, SearchSettings], some: list[_Waiting]) -> None:
        lane = self._lanes.get(key)
        if lane is None:
            translator = some[0].submission.translator
            lane = self._lanes[key] = _Lane(translator, key[1], self._decode)
        requests = []
        for one in some:
            self._numbers += 1
            lane.running[self._numbers] = one
            options = one.submission.options
            requests.append(Request(self._numbers, one.source, options.n_best, options.longest))
        try:
            lane.engine.admit(requests)
        except WorkerError:
            raise  # no lane of it can go on
        except Exception as error:
            self._fail(key, lane, error)

    def _fail(self, key: tuple[int, SearchSettings], lane: _Lane, error: Exception) -> None:
        """A lane's engine has failed (such as for want of memory): those whose sentences were in it
        are told, and the next ones get a new engine."""
        logger.exception("a batch of %d sentences failed", len(lane.running))
        del self._lanes[key]
        for one in [*lane.running.values(), *(waiting for waiting, _ in lane.done)]:
            self._answer(one.submission, error)

    def _step(self, key: tuple[int, SearchSettings], lane: _Lane) -> None:
        if not len(lane.engine):
            self._tell(lane)  # what waited for others, which have been dropped
            del self._lanes[key]
            return
        begin, sentences = time.monotonic(), len(lane.engine)
        used = sum(len(one.source) + 1 for one in lane.running.values())
        padding = 1 - used / (sentences * lane.engine.longest_source)
        self._count_running()
        try:
            finished = lane.engine.step()
        except WorkerError:
            raise
        except Exception as error:
            self._fail(key, lane, error)
            return
        self._count_running()  # before those who wait are told
        self.statistics.steps += 1
        self.statistics.padding = padding
        self._observe("batch_sentences", sentences)
        self._observe("batch_padding_ratio", padding)
        self._observe("inference_duration_seconds", time.monotonic() - begin)
        for one in finished:
            assert isinstance(one.id, int), "numbers are the ids here"
            lane.done.append((lane.running.pop(one.id), one))
        if self._continuous or not len(lane.engine):
            self._tell(lane)

    def _tell(self, lane: _Lane) -> None:
        for waiting, one in lane.done:
            self._finish(lane, waiting, one)
        lane.done.clear()

    def _count_running(self) -> None:
        running = sum(len(lane.engine) for lane in self._lanes.values())
        self.statistics.running_sentences = running

    def _finish(self, lane: _Lane, one: _Waiting, finished: Finished) -> None:
        submission = one.submission
        try:
            translation = lane.translator.translation(one.source, finished.hypotheses)
        except NmtError as error:
            self._answer(submission, error)
            return
        submission.found[one.place] = translation
        now = self.statistics
        now.sentences += 1
        now.source_tokens += len(one.source)
        now.target_tokens += len(translation.tokens)
        now.truncated += translation.truncated
        if len(submission.found) == len(submission.sources):
            places = range(len(submission.sources))
            self._answer(submission, [submission.found[place] for place in places])

    def _answer(self, submission: Submission, result: list[Translation] | BaseException) -> None:
        if submission.over or not submission.future.set_running_or_notify_cancel():
            return  # `_drop_over` takes it out
        if isinstance(result, BaseException):
            submission.future.set_exception(result)
            self._dropped = True  # the rest of it
        else:
            submission.future.set_result(result)
            with self._lock:
                self._open.pop(id(submission), None)
