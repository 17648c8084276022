"""Measuring the link between two processes: `python -m nmt.parallel.probe <backend> <output.json>`
is one end of it.

Messages of several sizes go back and forth. The smallest gives the latency, the largest the
bandwidth.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist

from nmt.config import LinkConfig
from nmt.parallel import group
from nmt.parallel.launch import end_worker, run_workers

SIZES = (1 << 10, 1 << 16, 1 << 20, 1 << 23)  # bytes
REPEATS = 15


def probe(backend: str) -> LinkConfig:
    """The link between two processes of this machine.

    Raises:
        WorkerError: a process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "link.json"
        run_workers([sys.executable, "-m", "nmt.parallel.probe", backend, str(output)], 2, 1)
        seconds: dict[str, float] = json.loads(output.read_text(encoding="utf-8"))
    latency, largest = seconds[str(SIZES[0])], seconds[str(SIZES[-1])]
    return LinkConfig(bandwidth=SIZES[-1] / max(largest - latency, 1e-9) / 1e9, latency=latency)


def worker() -> None:
    """One end: seconds of one way, by size, into the file."""
    backend, output = sys.argv[1], Path(sys.argv[2])
    group.join(backend)
    place, device = dist.get_rank(), group.messenger()
    found: dict[int, float] = {}
    for size in SIZES:
        message = torch.zeros(size // 4, device=device)
        times = []
        for _ in range(REPEATS + 2):
            dist.barrier()
            start = time.perf_counter()
            if place:
                dist.recv(message, 0)
                dist.send(message, 0)
            else:
                dist.send(message, 1)
                dist.recv(message, 1)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append((time.perf_counter() - start) / 2)
        found[size] = median(times[2:])
    if place == 0:
        output.write_text(json.dumps(found), encoding="utf-8")
    group.leave()


if __name__ == "__main__":
    worker()
    end_worker()
