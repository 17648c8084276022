"""A load generator for the server: closed loop (each connection sends a request when it has the
answer to the one before) or open loop (requests at a given rate).

It must use much less time than the server: requests are prepared in advance, connections are kept
alive, and only the status and the length of answers are parsed.
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

IDLE = 2.0  # seconds after which an idle connection is not reused; the server closes it after 5


class Address(NamedTuple):
    """The address that a server listens on."""

    host: str
    port: int


class Answer(NamedTuple):
    """The outcome of one request."""

    status: int  # HTTP status; 0 if the connection broke
    sentences: int  # of the request
    began: float  # time.perf_counter() when the request was sent
    seconds: float  # until the answer


@dataclass
class Answers:
    """The answers to all requests of a load."""

    answers: list[Answer] = field(default_factory=list)

    def statuses(self) -> dict[int, int]:
        """Status → number of answers."""
        return dict(sorted(Counter(answer.status for answer in self.answers).items()))

    def throughput(self, since: float, until: float) -> float:
        """Sentences per second that were translated between two times of time.perf_counter()."""
        done = [
            answer.sentences
            for answer in self.answers
            if answer.status == 200 and since <= answer.began + answer.seconds < until
        ]
        return sum(done) / (until - since)

    def percentile(self, fraction: float) -> float:
        """A percentile of the latency of successful requests, in milliseconds."""
        seconds = sorted(answer.seconds for answer in self.answers if answer.status == 200)
        if not seconds:
            raise NmtError("No request was successful.")
        return 1000 * seconds[min(len(seconds) - 1, int(fraction * len(seconds)))]


class Request(NamedTuple):
    """A request as bytes, and its number of sentences."""

    data: bytes
    sentences: int


def request_of(texts: Sequence[str], source: str, target: str) -> Request:
    """A request to `POST /translate`, one sentence in each text."""
    body = json.dumps({"q": list(texts), "source": source, "target": target}).encode()
    head = (
        f"POST /translate HTTP/1.1\r\nhost: load\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return Request(head.encode() + body, len(texts))


class Connection:
    """A persistent connection."""

    def __init__(self, address: Address, local: str) -> None:
        self._address, self._local = address, local
        self._used = 0.0  # time of its last answer
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> Answer:
        """Send a request and wait for its answer."""
        began = time.perf_counter()
        if self._streams is not None and began - self._used > IDLE:
            self.close()  # the server might be closing it at this moment
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
        """Close the connection without waiting."""
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
    """Closed loop: each connection sends a request as soon as it has the answer to the one
    before."""
    answers, until = Answers(), time.perf_counter() + seconds
    waiting = cycle(requests)

    async def work() -> None:
        connection = Connection(address, local)
        while time.perf_counter() < until:
            answer = await connection.ask(next(waiting))
            answers.answers.append(answer)
            if answer.status != 200:
                await asyncio.sleep(0.05)
        connection.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return answers


async def opened(
    address: Address,
    requests: Sequence[Request],
    rate: float,
    seconds: float,
    seed: int = 1,
    local: str = "127.0.0.1",
) -> Answers:
    """Open loop: `rate` requests per second on average (a Poisson process), regardless of the
    answers."""
    rng, answers = random.Random(seed), Answers()
    free: list[Connection] = []
    running: set[asyncio.Task[None]] = set()
    begin = time.perf_counter()
    at = begin

    async def send(request: Request) -> None:
        connection = free.pop() if free else Connection(address, local)
        answers.answers.append(await connection.ask(request))
        free.append(connection)

    for request in cycle(requests):
        at += rng.expovariate(rate)
        if at > begin + seconds:
            break
        wait = at - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(send(request))
        running.add(task)
        task.add_done_callback(running.discard)
    with suppress(ValueError):  # raised if no request is running
        await asyncio.wait(set(running))
    for connection in free:
        connection.close()
    return answers
