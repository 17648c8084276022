"""Many sentences at once: what to do with all of a processor's cores.

Compiled code leaves Python to other threads while it runs. So each thread has a running batch of
its own: they share the model's weights and a queue, and need not wait for each other at every step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from nmt.decoding.batch_policy import capacity, worth_adding
from nmt.decoding.engine import Engine, Hypothesis, Request

WORTH_A_THREAD = 8  # sentences; with fewer, threads share the steps of one batch


class Queue:
    """Sources that wait to be translated, the longest first, so that those in a batch have similar
    lengths, and what does not fit in memory fails at the start. Thread-safe."""

    def __init__(self, sources: Sequence[Sequence[int]]) -> None:
        """Empty sources are left out."""
        places = (place for place, source in enumerate(sources) if source)
        self._sources = sources
        self._waiting = deque(sorted(places, key=lambda place: -len(sources[place])))
        self._lock = Lock()
        self.stopped = False

    def __len__(self) -> int:
        return len(self._waiting)

    def refill(self, engine: Engine, batch_sentences: int) -> list[Request]:
        """The sentences that are to join a batch now."""
        with self._lock:
            if not self._waiting:
                return []
            longest = max(engine.longest_source, len(self._sources[self._waiting[0]]) + 1)
            most = capacity(batch_sentences, longest)
            room = most - len(engine)
            if len(engine) and not worth_adding(room, most, len(self._waiting)):
                return []
            places = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        return [Request(place, self._sources[place]) for place in places]


def search(
    make_engine: Callable[[int | None], Engine],
    sources: Sequence[Sequence[int]],
    batch_sentences: int,
    threads: int,
) -> dict[int, list[Hypothesis]]:
    """Hypotheses of each source that is not empty, by its place. `make_engine` makes a running
    batch that works with so many threads (None: as many as PyTorch); `threads` running batches
    share the work, if it is enough for them."""
    queue = Queue(sources)
    if threads == 1 or len(queue) < threads * WORTH_A_THREAD:
        return _drain(queue, make_engine(None), batch_sentences)
    engines = [make_engine(1) for _ in range(threads)]
    found: dict[int, list[Hypothesis]] = {}
    with ThreadPoolExecutor(threads) as pool:
        parts = [pool.submit(_drain, queue, engine, batch_sentences) for engine in engines]
        try:
            for part in parts:
                found.update(part.result())
        except BaseException:  # an interrupt, too: the other threads must not go on
            queue.stopped = True
            raise
    return found


def _drain(queue: Queue, engine: Engine, batch_sentences: int) -> dict[int, list[Hypothesis]]:
    """Translate until the queue is empty; the batch is refilled as sentences leave it."""
    found: dict[int, list[Hypothesis]] = {}
    while not queue.stopped and (len(queue) or len(engine)):
        engine.admit(queue.refill(engine, batch_sentences))
        for finished in engine.step():
            assert isinstance(finished.id, int), "places are the ids here"
            found[finished.id] = finished.hypotheses
    return found
