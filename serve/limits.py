"""Rate limits: requests and characters of one client in a minute."""

from __future__ import annotations

import time
from collections import OrderedDict
from math import ceil

from nmt.config import LimitsConfig
from serve.errors import RequestError

MOST_CLIENTS = 100_000  # remembered; the least recently seen are forgotten


class Bucket:
    """A token bucket: it refills evenly, up to one minute's allowance."""

    def __init__(self, per_minute: int, now: float) -> None:
        self._most, self._rate = float(per_minute), per_minute / 60
        self._level, self._at = float(per_minute), now

    def wait_for(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken; 0: now. More than a minute's allowance counts as
        exactly that."""
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (min(amount, self._most) - self._level) / self._rate)

    def take(self, amount: float) -> None:
        """Take an amount. `wait_for` must have returned 0."""
        self._level -= min(amount, self._most)


class Rates:
    """The buckets of all clients."""

    def __init__(self, limits: LimitsConfig) -> None:
        self._per_minute = (limits.requests_per_minute, limits.characters_per_minute)
        self._buckets: OrderedDict[tuple[str, int], Bucket] = OrderedDict()

    def check(self, client: str, characters: int, now: float | None = None) -> None:
        """Count a request of a client.

        Raises:
            RequestError: 429, and when to try again.
        """
        now = time.monotonic() if now is None else now
        asked = [
            (self._bucket(client, kind, per_minute, now), amount)
            for kind, (per_minute, amount) in enumerate(
                zip(self._per_minute, (1, characters), strict=True)
            )
            if per_minute is not None
        ]
        wait = max((bucket.wait_for(amount, now) for bucket, amount in asked), default=0.0)
        if wait > 0:
            raise RequestError("Slowdown: too many requests, try again later", 429, ceil(wait))
        for bucket, amount in asked:
            bucket.take(amount)

    def _bucket(self, client: str, kind: int, per_minute: int, now: float) -> Bucket:
        key = client, kind
        bucket = self._buckets.pop(key, None) or Bucket(per_minute, now)
        self._buckets[key] = bucket  # the most recently used comes last
        while len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return bucket
