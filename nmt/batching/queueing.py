"""The queue in front of a running batch: bounded, and fair to its callers.

Callers take turns, sentence by sentence, so that one who submits a thousand does not keep another's
single sentence waiting. Not safe for threads by itself: the running batch holds a lock.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Sequence, Set

from nmt.batching.requests import Limits, QueueFullError, Statistics, Submission, Waiting
from nmt.decoding.batch_policy import capacity, worth_adding

# While a light caller is active, each heavy one may occupy this fraction of the batch at most:
# large batches take long steps, and everyone waits for them.
HEAVY_SHARE = 0.125
# A caller is light if it has at most this fraction of the heaviest caller's sentences.
LIGHT_FRACTION = 0.25
ACTIVE_SECONDS = 1.0  # for which a caller counts as active after its last submission
CALLER_SHARE = 0.5  # of the queue: the most that one caller may have
NEWCOMERS_SHARE = 0.1  # of the queue: kept free for callers that have nothing waiting


class WaitingQueue:
    """Sentences that wait to join the batch, by caller."""

    def __init__(self, limits: Limits, statistics: Statistics) -> None:
        self._limits, self._statistics = limits, statistics
        self._queues: OrderedDict[Hashable, deque[Waiting]] = OrderedDict()
        self._last_submission: dict[Hashable, float] = {}  # of active callers

    def check_room(self, caller: Hashable, sentences: int, tokens: int) -> None:
        """Check that a caller may add sentences. What is too large to ever fit may still come when
        nobody else waits.

        Raises:
            QueueFullError: there is no room.
        """
        now, limits = self._statistics, self._limits
        if not now.waiting_sentences:
            return
        own = self._queues.get(caller, ())
        share = 1.0 - NEWCOMERS_SHARE if own else 1.0
        if (
            now.waiting_sentences + sentences > share * limits.waiting_sentences
            or now.waiting_tokens + tokens > share * limits.waiting_tokens
            or (own and len(own) + sentences > CALLER_SHARE * limits.waiting_sentences)
        ):
            raise QueueFullError("Too many sentences are waiting; try again later.")

    def add(self, submission: Submission) -> None:
        """Let all sentences of a submission wait."""
        some = [Waiting(submission, place) for place in range(len(submission.sources))]
        self._queues.setdefault(submission.caller, deque()).extend(some)
        self._last_submission[submission.caller] = submission.since
        self._statistics.waiting_sentences += len(some)
        self._statistics.waiting_tokens += sum(len(one.source) for one in some)

    def remove_over(self) -> None:
        """Remove the sentences of submissions that have been answered or cancelled."""
        for caller, queue in list(self._queues.items()):
            over = [one for one in queue if one.submission.over]
            if not over:
                continue
            self._count_out(over)
            left = deque(one for one in queue if not one.submission.over)
            if left:
                self._queues[caller] = left
            else:
                del self._queues[caller]

    def take(self, running: Counter[Hashable], longest: int, pause: float) -> list[Waiting]:
        """The sentences that join the batch now.

        `running` has each caller's sentences in the batch, `longest` is the batch's longest source,
        and `pause` the seconds for which all running sentences together stand still while others
        join.
        """
        chosen = self._choose(running, longest, pause) if self._queues else []
        self._count_out(chosen)
        return chosen

    def _choose(self, running: Counter[Hashable], longest: int, pause: float) -> list[Waiting]:
        most, count = self._limits.batch_sentences, running.total()
        if count and not worth_adding(most - count, most, self._statistics.waiting_sentences):
            return []
        heavy = self._heavy_callers(running)
        share = max(1, int(HEAVY_SHARE * most))
        # Heavy callers join in groups of half their share: few are encoded less efficiently.
        full = {caller for caller in heavy if running[caller] > share // 2}
        if count and not self._waited_enough(full, pause):
            return []
        running, chosen = running.copy(), list[Waiting]()
        skipped = 0  # callers in a row that have their share
        while self._queues and skipped < len(self._queues):
            caller, queue = next(iter(self._queues.items()))
            if caller in full or (caller in heavy and running[caller] >= share):
                self._queues.move_to_end(caller)
                skipped += 1
                continue
            longest_then = max(longest, len(queue[0].source) + 1)
            together = count + len(chosen)
            if together and together >= capacity(most, longest_then):
                break
            longest, skipped = longest_then, 0
            chosen.append(queue.popleft())
            running[caller] += 1
            if queue:
                self._queues.move_to_end(caller)
            else:
                del self._queues[caller]
        return chosen

    def _waited_enough(self, full: Set[Hashable], pause: float) -> bool:
        """Whether the sentences that may join have waited, in total, as long as the running ones
        would have to stand still for them. Encoding a few takes hardly longer than encoding one,
        so waiting for this many delays all sentences together the least. Callers in `full` cannot
        join."""
        now, waited = time.monotonic(), 0.0
        for caller, queue in self._queues.items():
            for one in queue if caller not in full else ():
                waited += now - one.submission.since
                if waited >= pause:
                    return True
        return False

    def _heavy_callers(self, running: Counter[Hashable]) -> set[Hashable]:
        """The active callers with much work, if there are others with little; otherwise none."""
        since = time.monotonic() - ACTIVE_SECONDS
        self._last_submission = {
            caller: at
            for caller, at in self._last_submission.items()
            if at >= since or caller in self._queues or running[caller]
        }
        amounts = {
            caller: running[caller] + len(self._queues.get(caller, ()))
            for caller in self._last_submission
        }
        most = max(amounts.values(), default=0)
        heavy = {caller for caller, amount in amounts.items() if amount > LIGHT_FRACTION * most}
        return heavy if len(heavy) < len(amounts) else set()

    def _count_out(self, some: Sequence[Waiting]) -> None:
        self._statistics.waiting_sentences -= len(some)
        self._statistics.waiting_tokens -= sum(len(one.source) for one in some)
