"""This process among those that train together, as its launcher describes it in the environment."""

from __future__ import annotations

import os
import sys
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
