"""One running batch for all callers: their sentences are translated together.

A thread owns the engines. A sentence joins as soon as there is room for it and leaves as soon as it
is finished, whatever else is in the batch (continuous batching).

Models and search settings that differ cannot share a batch: each combination has an engine of its
own (a lane), and the lanes take turns, step by step, within one common capacity.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Hashable, Sequence

from nmt.batching.queueing import WaitingQueue
from nmt.batching.requests import (
    BatchModel,
    ClosedError,
    DeadlineError,
    Limits,
    Observer,
    QueueFullError,
    RequestOptions,
    SearchSettings,
    Statistics,
    Submission,
    Waiting,
)
from nmt.config import DecodeConfig
from nmt.decoding.engine import Finished, Request
from nmt.decoding.translation import Translation
from nmt.errors import NmtError, WorkerError

logger = logging.getLogger(__name__)

LaneKey = tuple[int, SearchSettings]  # id() of the model


class _Lane:
    """One model with one set of search settings."""

    def __init__(
        self, translator: BatchModel, search: SearchSettings, decode: DecodeConfig
    ) -> None:
        self.translator, self.search = translator, search
        settings = decode.changed(beam_size=search.beam_size, n_best=1)
        self.engine = translator.engine(settings, search.alignments)
        self.running: dict[int, Waiting] = {}  # by number
        self.done: list[tuple[Waiting, Finished]] = []  # not yet answered


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
        """With `continuous` false, a batch is filled only when the one before is finished, and
        answered as a whole: static batching, to compare with."""
        self._decode, self._continuous = decode, continuous
        self._observe: Observer = observe or _ignore
        self._lock = threading.Condition()
        self._open: dict[int, Submission] = {}  # by id(), until answered
        self._lanes: dict[LaneKey, _Lane] = {}
        self._numbers = 0
        self._dropped = False  # whether some submissions have been cancelled
        self._next_deadline = float("inf")
        self._closing = False
        self._failed: BaseException | None = None
        self.statistics = Statistics()
        self._queue = WaitingQueue(limits, self.statistics)
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
        """Queue sources (pieces without special ones, none empty). The `future` of the submission
        has their translations, in order.

        Raises:
            QueueFullError: there is no room; nothing has been queued.
            ClosedError: the batch is being closed.
        """
        submission = Submission(translator, sources, options, caller, deadline)
        if not sources:
            submission.future.set_result([])
            return submission
        with self._lock:
            if self._closing or self._failed:
                raise ClosedError("The translator is shutting down.")
            self._queue.check_room(caller, len(sources), sum(map(len, sources)))
            self._queue.add(submission)
            self._open[id(submission)] = submission
            self._next_deadline = min(self._next_deadline, deadline)
            self._lock.notify()
        return submission

    def room_for(self, caller: Hashable) -> bool:
        """Whether the queue would take a sentence of this caller. Cheap."""
        with self._lock:
            try:
                self._queue.check_room(caller, 1, 1)
            except QueueFullError:
                return False
        return True

    def drop(self, submissions: Sequence[Submission]) -> None:
        """Cancel submissions that nobody waits for any more. Finished ones are unaffected."""
        for one in submissions:
            one.future.cancel()
        if any(one.future.cancelled() for one in submissions):
            with self._lock:
                self._dropped = True
                self._lock.notify()

    @property
    def idle(self) -> bool:
        """Whether no submission is waiting or running."""
        return not self._open

    @property
    def failure(self) -> BaseException | None:
        """Why the thread has ended, if it has failed."""
        return self._failed

    def close(self) -> None:
        """Accept nothing more, and wait until everything that was accepted is finished."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join()

    # In the thread

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                begin = time.monotonic()
                self._remove_cancelled()
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
        """Wait for a submission; false if the batch is closed and empty."""
        with self._lock:
            while not self._open:
                # An idle engine would keep its model from being freed.
                self._lanes = {}
                if self._closing:
                    return False
                self._lock.wait()
        return True

    def _remove_cancelled(self) -> None:
        """Remove what was cancelled, and what has missed its deadline."""
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
            self._queue.remove_over()
        for lane in self._lanes.values():
            for number in [n for n, one in lane.running.items() if one.submission.over]:
                lane.engine.cancel(number)
                del lane.running[number]
        self._count_running()

    def _admit(self) -> None:
        """Let waiting sentences join, callers in turns."""
        lanes = self._lanes.values()
        running = Counter(one.submission.caller for lane in lanes for one in lane.running.values())
        if running and not self._continuous:
            return
        longest = max((lane.engine.longest_source for lane in lanes), default=0)
        pause = sum(len(lane.engine) * lane.engine.admission_seconds for lane in lanes)
        with self._lock:
            joining = self._queue.take(running, longest, pause)
        by_lane: dict[LaneKey, list[Waiting]] = {}
        now = time.monotonic()
        for waiting in joining:
            submission = waiting.submission
            key = id(submission.translator), submission.options.search
            by_lane.setdefault(key, []).append(waiting)
            self._observe("queue_wait_seconds", now - submission.since)
        for key, some in by_lane.items():
            self._join(key, some)

    def _join(self, key: LaneKey, some: list[Waiting]) -> None:
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
            raise  # the process is gone, and with it all of its lanes
        except Exception as error:
            self._fail(key, lane, error)

    def _fail(self, key: LaneKey, lane: _Lane, error: Exception) -> None:
        """A lane's engine has failed (out of memory, for instance): the submissions in it get the
        error, and the next ones get a new engine."""
        logger.exception("a batch of %d sentences failed", len(lane.running))
        del self._lanes[key]
        for one in [*lane.running.values(), *(waiting for waiting, _ in lane.done)]:
            self._answer(one.submission, error)

    def _step(self, key: LaneKey, lane: _Lane) -> None:
        if not len(lane.engine):
            self._answer_finished(lane)  # the others of a static batch have been cancelled
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
        self._count_running()  # before callers are answered
        self.statistics.steps += 1
        self.statistics.padding = padding
        self._observe("batch_sentences", sentences)
        self._observe("batch_padding_ratio", padding)
        self._observe("inference_duration_seconds", time.monotonic() - begin)
        for one in finished:
            assert isinstance(one.id, int), "ids are numbers here"
            lane.done.append((lane.running.pop(one.id), one))
        if self._continuous or not len(lane.engine):
            self._answer_finished(lane)

    def _answer_finished(self, lane: _Lane) -> None:
        for waiting, one in lane.done:
            self._finish(lane, waiting, one)
        lane.done.clear()

    def _count_running(self) -> None:
        running = sum(len(lane.engine) for lane in self._lanes.values())
        self.statistics.running_sentences = running

    def _finish(self, lane: _Lane, one: Waiting, finished: Finished) -> None:
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
            return  # `_remove_cancelled` takes it out
        if isinstance(result, BaseException):
            submission.future.set_exception(result)
            self._dropped = True  # its other sentences
        else:
            submission.future.set_result(result)
            with self._lock:
                self._open.pop(id(submission), None)
