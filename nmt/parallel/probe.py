"""Measuring the link between two processes.

Messages of several sizes go back and forth. The smallest gives the latency, the largest the
bandwidth.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median

import torch
import torch.distributed as dist

from nmt.config import LinkConfig
from nmt.parallel import group

SIZES = (1 << 10, 1 << 16, 1 << 20, 1 << 23)  # bytes
REPEATS = 15
WARM_UP = 2


def measure_link(backend: str) -> dict[int, float]:
    """One end of a link, in each of two processes → bytes to seconds, one way."""
    group.join(backend)
    rank, device = dist.get_rank(), group.messenger()
    found: dict[int, float] = {}
    for size in SIZES:
        message = torch.zeros(size // 4, device=device)
        seconds = []
        for _ in range(WARM_UP + REPEATS):
            dist.barrier()
            start = time.perf_counter()
            if rank:
                dist.recv(message, 0)
                dist.send(message, 0)
            else:
                dist.send(message, 1)
                dist.recv(message, 1)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append((time.perf_counter() - start) / 2)
        found[size] = median(seconds[WARM_UP:])
    return found


def link_of(seconds: Mapping[int, float]) -> LinkConfig:
    """The link that `measure_link` has measured."""
    latency, largest = seconds[SIZES[0]], seconds[SIZES[-1]]
    return LinkConfig(bandwidth=SIZES[-1] / max(largest - latency, 1e-9) / 1e9, latency=latency)
