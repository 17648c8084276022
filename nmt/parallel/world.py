"""This process among those that train together, as its launcher describes it in the environment."""

from __future__ import annotations

import hashlib
import os
import sys
from datetime import timedelta
from typing import NamedTuple

LINUX = sys.platform.startswith("linux")


class World(NamedTuple):
    """This process among the workers."""

    rank: int
    local_rank: int  # among those on this machine
    size: int
    local_size: int


def is_worker() -> bool:
    """Whether this process was started by `nmt.run.processes`, torchrun or the deepspeed
    launcher."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def world() -> World:
    """This process's ranks; those of a lone process if it is not a worker."""
    if not is_worker():
        return World(0, 0, 1, 1)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_size = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or size
    return World(rank, int(os.environ.get("LOCAL_RANK", rank)), size, int(local_size))


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if LINUX else os.cpu_count() or 1


def is_first_to_say(what: str) -> bool:
    """Whether no other process of the run has called this with `what`, so that errors that all of
    them have are printed once. True where that cannot be found out."""
    if not is_worker():
        return True
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    # Where the processes find each other: in their starter, which outlives them.
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5))
        return int(store.add(f"nmt/said/{hash_of(what)}", 1)) == 1
    except (RuntimeError, ValueError):
        return True


def hash_of(text: str) -> str:
    """A short key for a text, the same in all processes."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
