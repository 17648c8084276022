"""Requests from a second process: as many as come back (closed), or at a rate of their own (open).

A client of its own, since it must take a small part of what the server takes: requests are made
before, connections are kept, and of answers only the status and the length are read.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import NamedTuple

from nmt.errors import NmtError

IDLE = 2.0  # seconds after which a connection is not used again; the server keeps them for 5


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


class Answer(NamedTuple):
    """One request that was answered, or lost."""

    status: int  # 0: the connection broke
    sentences: int
    began: float  # of time.perf_counter
    seconds: float


@dataclass
class Answers:
    """All of a load."""

    answers: list[Answer] = field(default_factory=list)

    def statuses(self) -> dict[int, int]:
        """How often each came."""
        return dict(sorted(Counter(one.status for one in self.answers).items()))

    def throughput(self, since: float, until: float) -> float:
        """Sentences a second of those that were answered between two moments."""
        done = [
            one.sentences
            for one in self.answers
            if one.status == 200 and since <= one.began + one.seconds < until
        ]
        return sum(done) / (until - since)

    def percentile(self, part: float) -> float:
        """Milliseconds of those that were carried out."""
        seconds = sorted(one.seconds for one in self.answers if one.status == 200)
        if not seconds:
            raise NmtError("No request was carried out.")
        return 1000 * seconds[min(len(seconds) - 1, int(part * len(seconds)))]


class Request(NamedTuple):
    """Bytes to send, and how many sentences they have."""

    data: bytes
    sentences: int


def request_of(texts: Sequence[str], source: str, target: str) -> Request:
    """`POST /translate`."""
    body = json.dumps({"q": list(texts), "source": source, "target": target}).encode()
    head = (
        f"POST /translate HTTP/1.1\r\nhost: load\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return Request(head.encode() + body, len(texts))


class Connection:
    """One that is kept."""

    def __init__(self, address: Address, local: str) -> None:
        self._address, self._local = address, local
        self._used = 0.0  # when its last answer came
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> Answer:
        """Send a request and wait for its answer."""
        began = time.perf_counter()
        if self._streams is not None and began - self._used > IDLE:
            self.close()  # the server closes it too, and may just be doing so
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(
                    *self._address, local_addr=(self._local, 0)
                )
            reader, writer = self._streams
            writer.write(request.data)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            status = int(head[9:12])
            self._used = time.perf_counter()
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            status = 0
        return Answer(status, request.sentences, began, time.perf_counter() - began)

    def close(self) -> None:
        """Without waiting."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def closed(
    address: Address,
    requests: Sequence[Request],
    connections: int,
    seconds: float,
    local: str = "127.0.0.1",
) -> Answers:
    """Each connection asks again as soon as it has its answer."""
    found, until = Answers(), time.perf_counter() + seconds
    waiting = cycle(requests)

    async def work() -> None:
        connection = Connection(address, local)
        while time.perf_counter() < until:
            answer = await connection.ask(next(waiting))
            found.answers.append(answer)
            if answer.status != 200:
                await asyncio.sleep(0.05)
        connection.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return found


async def opened(
    address: Address,
    requests: Sequence[Request],
    rate: float,
    seconds: float,
    seed: int = 1,
    local: str = "127.0.0.1",
) -> Answers:
    """So many requests a second, whatever becomes of them; the times between them are drawn
    (a Poisson process)."""
    rng, found = random.Random(seed), Answers()
    free: list[Connection] = []
    running: set[asyncio.Task[None]] = set()
    begin = time.perf_counter()
    at = begin

    async def one(request: Request) -> None:
        connection = free.pop() if free else Connection(address, local)
        found.answers.append(await connection.ask(request))
        free.append(connection)

    for request in cycle(requests):
        at += rng.expovariate(rate)
        if at > begin + seconds:
            break
        wait = at - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(request))
        running.add(task)
        task.add_done_callback(running.discard)
    with suppress(ValueError):  # nothing is left
        await asyncio.wait(set(running))
    for connection in free:
        connection.close()
    return found
