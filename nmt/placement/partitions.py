"""Partitioning a sequence into contiguous runs so that the costliest run costs least."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

# (i, j, k) → cost of members i to j - 1 as the k-th run; infinite if that is not allowed.
StageCost = Callable[[int, int, int], float]


class Partition(NamedTuple):
    """A partition whose run k has the members bounds[k] to bounds[k + 1] - 1."""

    largest: float  # cost of the costliest run
    bounds: list[int]


def best_partitions(members: int, most: int, cost: StageCost) -> list[Partition]:
    """The best partitions into 1, 2, …, `most` runs; the cost is infinite if there is none.

    Exact, by dynamic programming over (members assigned, runs used).
    """
    # best[k][j]: least possible cost of the costliest run when the first j members are in k runs;
    # last_start[k][j]: first member of the last of these runs.
    best = [[inf] * (members + 1) for _ in range(most + 1)]
    last_start = [[0] * (members + 1) for _ in range(most + 1)]
    best[0][0] = 0.0
    for k in range(1, most + 1):
        for j in range(k, members + 1):
            for i in range(k - 1, j):
                value = max(best[k - 1][i], cost(i, j, k - 1))
                if value < best[k][j]:
                    best[k][j], last_start[k][j] = value, i
    return [
        Partition(best[k][members], _bounds(last_start, k, members)) for k in range(1, most + 1)
    ]


def _bounds(last_start: list[list[int]], runs: int, members: int) -> list[int]:
    bounds = [members]
    for k in range(runs, 0, -1):
        bounds.append(last_start[k][bounds[-1]])
    return bounds[::-1]
