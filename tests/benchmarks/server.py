"""The server on loopback against the same model offline, and what it does under load.

The model has one thread in both; the load comes from this process, which is kept on the last core.
Sentences are those of Multi30k's test2016, each request with other ones.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from nmt.config import DecodeConfig
from nmt.decoding import Translator
from nmt.errors import NmtError
from nmt.memory import keep_memory
from nmt.parallel.world import cores
from tests.benchmarks.load import Address, Answers, Request, closed, opened, request_of
from tests.benchmarks.options import Options
from tests.benchmarks.ours import in_new_process, test2016
from tests.benchmarks.results import Report

SPAWN = get_context("spawn")
SETTLE = 2.0  # seconds of a load that are not counted
DEADLINE = 20.0  # of a request under overload
REFUSED = {429, 503, 504}
LOOKS = 10  # at the memory, during a long load
BUSY = 0.7  # of the throughput: a load under which whole batches make the next ones wait


class Server:
    """A server in a process of its own."""

    def __init__(self, address: Address, process: subprocess.Popen[str]) -> None:
        self.address, self.pid = address, process.pid

    def memories(self) -> tuple[float, float]:
        """Resident bytes of the HTTP side and of the models' process."""
        return resident(self.pid), memory_of(self.pid) - resident(self.pid)


def resident(pid: int) -> float:
    """Resident bytes of a process."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
    return float(line.split()[1]) * 1024


def memory_of(pid: int) -> float:
    """… and those that it has started; what they share counts twice."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [child for task in tasks for child in (task / "children").read_text().split()]
    return resident(pid) + sum(memory_of(int(child)) for child in children)


@contextmanager
def serving(model: Path, *settings: str) -> Iterator[Server]:
    """Start it, and stop it in the end."""
    command = [sys.executable, "-m", "serve", f"models={model}", "port=0", "translator.threads=1"]
    # Its log, with a line for each request, is written but not kept.
    process = subprocess.Popen(
        [*command, *settings], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        greeting = process.stdout.readline()
        if not greeting:
            raise NmtError("The server did not start.")
        host, _, port = greeting.split()[-1].removeprefix("http://").rpartition(":")
        yield Server(Address(host, int(port)), process)
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def on_last_core() -> Iterator[None]:
    """This process, for the time of a load."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    yield
    os.sched_setaffinity(0, before)


def run(options: Options, report: Report) -> None:
    """All parts."""
    if options.model is None:
        report.skip("server.*", "`model` must name a folder of a model of Multi30k, English-German")
        return
    if cores() < 2:
        report.skip("server.*", "it takes two cores")
        return
    texts, _ = test2016(options.sentences)
    singles = [request_of([text], "en", "de") for text in texts]
    sixteens = [request_of(texts[i : i + 16], "en", "de") for i in range(0, len(texts) - 15, 16)]
    if "saturation" in options.parts:
        speed = _saturation(options, report, texts, singles, sixteens)
    else:
        with serving(options.model) as server:
            speed = _throughput(server, singles, 128, options.seconds)
    if "health" in options.parts:
        _health(options, report, singles)
    if "latency" in options.parts:
        _latency(options, report, singles, sixteens, speed)
    if "overload" in options.parts:
        _overload(options, report, singles, speed)
    if "continuous" in options.parts:
        _continuous(options, report, texts)
    if "soak" in options.parts:
        _soak(options, report, texts, speed)


def _measure(
    server: Server, load: Callable[..., Coroutine[Any, Any, Answers]], *arguments: Any
) -> Answers:
    with on_last_core():
        return asyncio.run(load(server.address, *arguments))


def offline(model: Path, texts: Sequence[str], decode: str) -> float:
    """Sentences a second of `Translator.translate`."""
    keep_memory()
    translator = Translator.load(model, device="cpu", threads=1, decode=decode_of(decode))
    translator.translate(texts[:64])
    begin = time.perf_counter()
    translator.translate(texts)
    return len(texts) / (time.perf_counter() - begin)


def decode_of(name: str) -> DecodeConfig:
    """conf/decode."""
    from nmt.command import compose_values
    from nmt.config import read

    return read(DecodeConfig, compose_values("serve", "models=m", f"decode={name}")["decode"])


def _saturation(
    options: Options,
    report: Report,
    texts: Sequence[str],
    singles: Sequence[Request],
    sixteens: Sequence[Request],
) -> float:
    """Sentences a second over HTTP against offline → those of single ones, beam 5."""
    assert options.model is not None
    speed = 0.0
    for decode in ("beam5", "greedy"):
        alone: list[float] = []
        found: dict[str, list[float]] = {"single": [], "16": []}
        for _ in range(options.repeats):
            alone.append(in_new_process(offline, options.model, list(texts), decode))
            with serving(options.model, f"decode={decode}") as server:
                for name, requests, connections in (
                    ("single", singles, 128),
                    ("16", sixteens, 12),
                ):
                    found[name].append(_throughput(server, requests, connections, options.seconds))
        for name, values in found.items():
            report.add(
                f"server.http_vs_offline.{decode}.{name}", "sentences/s", values, "offline", alone
            )
        if decode == "beam5":
            speed = median(found["single"])
            report.add("server.http_vs_offline", "sentences/s", found["16"], "offline", alone)
    return speed


def _health(options: Options, report: Report, singles: Sequence[Request]) -> None:
    """How late /readyz and /metrics are while the model has all that it can do."""
    assert options.model is not None
    with serving(options.model) as server, ProcessPoolExecutor(1, SPAWN) as pool:
        _measure(server, closed, singles, 128, SETTLE)
        pool.submit(memory_of, server.pid).result()  # the other process is there
        watching = pool.submit(watch, server.address, server.pid, options.seconds)
        _measure(server, closed, singles, 128, options.seconds)
        asked, _ = watching.result()
    report.add("server.saturated.health_slowest_ms", "ms", [asked.percentile(1.0)])
    report.add("server.saturated.health_p99_ms", "ms", [asked.percentile(0.99)])


def _throughput(
    server: Server, requests: Sequence[Request], connections: int, seconds: float
) -> float:
    begin = time.perf_counter()
    found = _measure(server, closed, requests, connections, seconds + SETTLE)
    if set(found.statuses()) != {200}:
        raise NmtError(f"All requests must be carried out, but the answers are {found.statuses()}.")
    return found.throughput(begin + SETTLE, begin + SETTLE + seconds)


def _latency(
    options: Options,
    report: Report,
    singles: Sequence[Request],
    sixteens: Sequence[Request],
    speed: float,
) -> None:
    """Half load, alone and beside a client that floods."""
    assert options.model is not None
    calm: list[Answers] = []
    beside: list[Answers] = []
    rate = speed / 2
    for seed in range(options.repeats):
        with serving(options.model) as server:
            _measure(server, opened, singles, rate, SETTLE)
            calm.append(_measure(server, opened, singles, rate, options.seconds, seed))
            beside.append(_measure(server, _flooded, singles, sixteens, rate, options, seed))
    for name, part in (("p50_ms", 0.5), ("p99_ms", 0.99)):
        values = [one.percentile(part) for one in calm]
        flooded = [one.percentile(part) for one in beside]
        report.add(f"server.{name}", "ms", values)
        report.add(f"server.flooded.{name}", "ms", flooded)
        report.notes.append(
            f"{name} beside a client that floods: {median(flooded) / median(values):.2f} times"
        )
    report.notes.append(f"half load: {rate:.0f} single sentences a second")


async def _flooded(
    address: Address,
    singles: Sequence[Request],
    sixteens: Sequence[Request],
    rate: float,
    options: Options,
    seed: int,
) -> Answers:
    """The others' answers, while one client of another address keeps 1,000 sentences waiting."""
    flood = asyncio.create_task(
        closed(address, sixteens, 64, options.seconds + SETTLE, local="127.0.0.2")
    )
    await asyncio.sleep(SETTLE)
    found = await opened(address, singles, rate, options.seconds, seed)
    await flood
    return found


def _overload(options: Options, report: Report, singles: Sequence[Request], speed: float) -> None:
    """Ten times as many requests as can be carried out, for a minute."""
    assert options.model is not None
    settings = (f"limits.deadline_seconds={DEADLINE}", "limits.waiting_sentences=1000")
    with serving(options.model, *settings) as server, ProcessPoolExecutor(1, SPAWN) as pool:
        _measure(server, closed, singles, 64, 10.0)
        pool.submit(memory_of, server.pid).result()  # the other process is there
        # Health is asked for by a process of its own: the one that makes the load is late itself.
        watching = pool.submit(watch, server.address, server.pid, options.overload)
        load = _measure(server, opened, singles, 10 * speed, options.overload)
        asked, memory = watching.result()
    statuses = load.statuses()
    unexpected = sum(n for status, n in statuses.items() if status not in REFUSED | {200})
    slowest = max(one.seconds for one in load.answers if one.status == 200)
    report.add("server.overload.unexpected_answers", "requests", [float(unexpected)])
    report.add("server.overload.slowest_accepted_s", "s", [slowest])
    full = memory[len(memory) // 4]  # the queue is full by then
    report.add("server.overload.memory_growth", "part", [memory[-1] / full - 1])
    report.add("server.overload.health_slowest_ms", "ms", [asked.percentile(1.0)])
    report.add("server.overload.health_p99_ms", "ms", [asked.percentile(0.99)])
    report.notes.append(
        f"overload: memory {memory[0] / 1e6:.0f} MB before, {full / 1e6:.0f} after a quarter of "
        f"the time, {memory[-1] / 1e6:.0f} at the end"
    )
    done = statuses.get(200, 0) / options.overload
    report.notes.append(
        f"overload: {10 * speed:.0f} requests a second for {options.overload:.0f} s, answers "
        f"{statuses}; {done:.0f} carried out a second; deadline {DEADLINE:.0f} s"
    )


def watch(address: Address, pid: int, seconds: float) -> tuple[Answers, list[float]]:
    """Ask for /readyz and /metrics ten times a second → the answers, and the server's memory in
    each second."""
    questions = [
        Request(f"GET {path} HTTP/1.1\r\nhost: load\r\n\r\n".encode(), 0)
        for path in ("/readyz", "/metrics")
    ]
    memory: list[float] = []

    async def look() -> Answers:
        asking = asyncio.create_task(opened(address, questions, 10, seconds, local="127.0.0.3"))
        while not asking.done():
            memory.append(memory_of(pid))
            await asyncio.wait({asking}, timeout=1)
        return asking.result()

    return asyncio.run(look()), memory


def mixed(texts: Sequence[str], seed: int = 1) -> list[Request]:
    """Requests of very different lengths: mostly short texts, some of many sentences in one."""
    rng = random.Random(seed)
    found = []
    for _ in range(500):
        if rng.random() < 0.15:
            long = " and ".join(rng.sample(list(texts), rng.randint(3, 6)))
            found.append(request_of([long], "en", "de"))
        else:
            words = rng.choice(list(texts)).split()
            found.append(request_of([" ".join(words[: rng.randint(2, 14)])], "en", "de"))
    return found


def _continuous(options: Options, report: Report, texts: Sequence[str]) -> None:
    """Sentences that join at any step against batches that wait for one another."""
    for size in options.batches:
        for decode in ("beam5", "greedy"):
            _compare_batches(options, report, mixed(texts), decode, size)


def _compare_batches(
    options: Options, report: Report, requests: Sequence[Request], decode: str, size: int
) -> None:
    """How much both can do at most, and how late answers are when they must do less than that."""
    assert options.model is not None
    speeds: dict[str, list[float]] = {"true": [], "false": []}
    tails: dict[str, list[float]] = {"true": [], "false": []}
    calm: dict[str, list[Answers]] = {"true": [], "false": []}
    for seed in range(options.repeats):
        for continuous, values in speeds.items():
            settings = (
                f"continuous={continuous}",
                f"decode={decode}",
                f"decode.batch_sentences={size}",
                "limits.segment_tokens=1000",
            )
            with serving(options.model, *settings) as server:
                begin, seconds = time.perf_counter(), options.seconds
                found = _measure(server, closed, requests, 128, seconds + SETTLE)
                values.append(found.throughput(begin + SETTLE, begin + SETTLE + seconds))
                tails[continuous].append(found.percentile(0.99))
                rate = BUSY * speeds["true"][0]
                calm[continuous].append(_measure(server, opened, requests, rate, seconds, seed))
    more = f".{decode}.{size}"
    report.add(
        f"server.continuous_vs_static{more}",
        "sentences/s",
        speeds["true"],
        "static",
        speeds["false"],
    )
    report.add(f"server.continuous{more}.p99_ms", "ms", tails["true"])
    report.add(f"server.static{more}.p99_ms", "ms", tails["false"])
    for name, part in (("p50_ms", 0.5), ("p99_ms", 0.99)):
        for kind, some in (("continuous", calm["true"]), ("static", calm["false"])):
            late = [one.percentile(part) for one in some]
            report.add(f"server.{kind}{more}.busy.{name}", "ms", late)
    report.notes.append(
        f"{decode}, {size} together: busy is {rate:.0f} requests of mixed lengths a second, "
        f"{BUSY:.0%} of the most"
    )


def _soak(options: Options, report: Report, texts: Sequence[str], speed: float) -> None:
    """Mixed load for a long time: does memory grow?"""
    assert options.model is not None
    requests = mixed(texts, seed=2)
    with serving(options.model) as server:
        # Memory for batches of all sizes, each of which oneDNN makes programs for: the largest ones
        # when there is too much, the others at the load that follows.
        _measure(server, closed, requests, 128, 60.0)
        _measure(server, opened, requests, speed / 2, 60.0)
        memory = [server.memories()]
        found = Answers()
        for seed in range(LOOKS):
            part = _measure(server, opened, requests, speed / 2, options.soak / LOOKS, seed)
            found.answers += part.answers
            memory.append(server.memories())
    totals = [sum(one) for one in memory]
    report.add("server.soak.memory_growth", "part", [totals[-1] / totals[0] - 1])
    looks = ", ".join(f"{http / 1e6:.0f} + {models / 1e6:.0f}" for http, models in memory)
    report.notes.append(
        f"{options.soak:.0f} s of mixed load: memory of the HTTP side and of the models in MB from "
        f"time to time {looks}; answers {found.statuses()}"
    )
