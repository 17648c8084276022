"""Partitioning a sequence into contiguous runs, the costliest run as cheap as possible."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

# Of a run: its first member, the one behind its last, and its place among the runs → its cost;
# infinite where it may not be.
StageCost = Callable[[int, int, int], float]


class Partition(NamedTuple):
    """One partition: run r is from bounds[r] to before bounds[r + 1]."""

    largest: float  # cost of a run
    bounds: list[int]


def best_partitions(members: int, most: int, cost: StageCost) -> list[Partition]:
    """The best division into 1, 2, … `most` runs; its cost is infinite where there is none.

    Exact: dynamic programming over (members done, runs used).
    """
    # best[k][j]: least largest cost when the first j members are in k runs; came[k][j]: where the
    # last of these begins.
    best = [[inf] * (members + 1) for _ in range(most + 1)]
    came = [[0] * (members + 1) for _ in range(most + 1)]
    best[0][0] = 0.0
    for k in range(1, most + 1):
        for j in range(k, members + 1):
            for i in range(k - 1, j):
                value = max(best[k - 1][i], cost(i, j, k - 1))
                if value < best[k][j]:
                    best[k][j], came[k][j] = value, i
    return [Partition(best[k][members], _bounds(came, k, members)) for k in range(1, most + 1)]


def _bounds(came: list[list[int]], runs: int, members: int) -> list[int]:
    bounds = [members]
    for k in range(runs, 0, -1):
        bounds.append(came[k][bounds[-1]])
    return bounds[::-1]
