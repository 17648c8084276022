"""The best contiguous partition, exactly: one run of groups of layers for each device.

Dynamic programming over (groups done, devices used), with messages and memory. What it makes least
is the busiest device's time for a whole batch, messages included, which is what a full pipeline
needs for each batch; of the granularities, the simulation decides. Where the budget suffices
for all contiguous plans, they are simulated, so that the step itself is the shortest there is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import comb, inf, perm

from nmt.errors import PlanError
from nmt.placement.cost import STATE
from nmt.placement.partitions import best_partitions
from nmt.placement.problem import Candidate, PlanSearch, Problem

MOST_UNEQUAL = 12  # devices whose order is searched too


def exact(search: PlanSearch) -> None:
    """Spend the search on contiguous plans."""
    problem = search.problem
    for granularity in range(len(problem.granularities)):
        if search.left and (bounds := bottleneck(problem, granularity)):
            search.value(Candidate(bounds, granularity))
    if problem.objective == "bottleneck":
        return
    if number_of_contiguous(problem) <= search.evaluations - search.used:
        for choice in all_contiguous(problem):
            if not search.left:
                return
            search.value(choice)


def number_of_contiguous(problem: Problem) -> int:
    """How many contiguous plans there are; orders of devices count where they are not alike."""
    groups, devices = len(problem.groups), problem.devices
    return len(problem.granularities) * sum(
        comb(groups - 1, k - 1) * (1 if problem.cluster.uniform else perm(devices, k))
        for k in range(1, min(groups, devices) + 1)
    )


def all_contiguous(problem: Problem) -> Iterator[Candidate]:
    """Every contiguous plan."""
    groups, devices = len(problem.groups), problem.devices
    for k in range(min(groups, devices), 0, -1):
        orders: Iterable[tuple[int, ...]] = itertools.permutations(range(devices), k)
        for order in [tuple(range(k))] if problem.cluster.uniform else orders:
            for inner in itertools.combinations(range(1, groups), k - 1):
                bounds = [0, *inner, groups]
                runs = [d for i, d in enumerate(order) for _ in range(bounds[i + 1] - bounds[i])]
                for granularity in range(len(problem.granularities)):
                    yield Candidate(tuple(runs), granularity)


def bottleneck(problem: Problem, granularity: int) -> tuple[int, ...] | None:
    """The device of each group; None where nothing fits into memory.

    Raises:
        PlanError: too many devices that are not alike.
    """
    if problem.cluster.uniform:
        return _in_order(problem, granularity)
    if problem.devices > MOST_UNEQUAL:
        raise PlanError(
            f"The exact planner takes at most {MOST_UNEQUAL} unequal devices, but there are "
            f"{problem.devices}; use `placement=annealing`."
        )
    return _any_order(problem, granularity)


class _Runs:
    """What runs of groups cost. `time(i, j, device)`: groups i to before j."""

    def __init__(self, problem: Problem, granularity: int) -> None:
        self._problem = problem
        self._sums = [0.0, *itertools.accumulate(problem.loads)]
        profile = problem.profile
        place = {name: i for i, group in enumerate(problem.groups) for name in group}
        parameters = [
            sum(profile.layers[name].parameter_bytes for name in group) for group in problem.groups
        ]
        kept = [sum(profile.layers[name].kept_bytes for name in group) for group in problem.groups]
        self._parameters = [0.0, *itertools.accumulate(parameters)]
        self._ties = _ties(problem, place)
        self._kept = [0.0, *itertools.accumulate(kept)]
        self._micro_batches = problem.granularities[granularity][0]
        # Bytes that cross the boundary before group i: of all outputs that are read behind it.
        last_read = {name: place[name] for name in profile.layers}
        for name, layer in profile.layers.items():
            for source in layer.inputs:
                last_read[source] = max(last_read[source], place[name])
        self.crossing = [
            sum(
                layer.output_bytes
                for name, layer in profile.layers.items()
                if place[name] < i <= last_read[name]
            )
            for i in range(len(problem.groups) + 1)
        ]

    def _parameter_bytes(self, i: int, j: int) -> float:
        """Of groups i to before j; those that share their parameters count once."""
        twice = sum(
            size for tie in self._ties for _, size in [one for one in tie if i <= one[0] < j][1:]
        )
        return self._parameters[j] - self._parameters[i] - twice

    def time(self, i: int, j: int, device: int) -> float:
        """Seconds; infinite where it does not fit into memory. Messages to and from the run are
        counted on a link to any neighbour, forward and backward."""
        problem = self._problem
        memory = STATE * self._parameter_bytes(i, j)
        if problem.objective == "step":
            # 1F1B alone bounds the micro-batches on their way; others may keep all of them.
            most = min(self._micro_batches, problem.devices)
            part = most / self._micro_batches if problem.rule == "1f1b" else 1.0
            memory += part * (self._kept[j] - self._kept[i])
        if memory > problem.cluster.memory(device):
            return inf
        work = (self._sums[j] - self._sums[i]) / problem.cluster.speeds[device]
        if problem.objective == "bottleneck":
            return work
        neighbour = (device + 1) % problem.devices
        messages = [
            2 * problem.cluster.transfer(self.crossing[b], device, neighbour)
            for b in (i, j)
            if 0 < b < len(problem.groups)
        ]
        return max(work, *messages) if messages else work


def _ties(problem: Problem, place: Mapping[str, int]) -> list[list[tuple[int, float]]]:
    """Of layers that share their parameters: where each is, and the bytes."""
    layers = problem.profile.layers
    found: dict[str, list[tuple[int, float]]] = {}
    for name, layer in layers.items():
        for owner in layer.shares:
            tie = found.setdefault(owner, [(place[owner], layers[owner].parameter_bytes)])
            tie.append((place[name], layer.parameter_bytes))
    return list(found.values())


def _in_order(problem: Problem, granularity: int) -> tuple[int, ...] | None:
    groups = len(problem.groups)
    most = min(groups, problem.devices)
    found = best_partitions(groups, most, _Runs(problem, granularity).time)
    # Fewer devices only where they do as well, unless all must have something.
    best = found[-1] if problem.use_all else min(reversed(found), key=lambda one: one.largest)
    if best.largest == inf:
        return None
    runs = itertools.pairwise(best.bounds)
    return tuple(device for device, (i, j) in enumerate(runs) for _ in range(i, j))


def _any_order(problem: Problem, granularity: int) -> tuple[int, ...] | None:
    """Over sets of devices: best[set][j], when the first j groups are on the devices of the set."""
    runs, groups, devices = _Runs(problem, granularity), len(problem.groups), problem.devices
    sets = 1 << devices
    best = [[inf] * (groups + 1) for _ in range(sets)]
    came: list[list[tuple[int, int]]] = [[(0, 0)] * (groups + 1) for _ in range(sets)]
    best[0][0] = 0.0
    for members in range(1, sets):
        for device in range(devices):
            if not members >> device & 1:
                continue
            before = best[members & ~(1 << device)]
            _extend(runs, before, device, best[members], came[members])
    ends = [sets - 1] if problem.use_all else range(sets)
    last = min(ends, key=lambda members: best[members][groups])
    if best[last][groups] == inf:
        return None
    where, j, members = [0] * groups, groups, last
    while j:
        i, device = came[members][j]
        where[i:j] = [device] * (j - i)
        members, j = members & ~(1 << device), i
    return tuple(where)


def _extend(
    runs: _Runs,
    before: Sequence[float],
    device: int,
    best: list[float],
    came: list[tuple[int, int]],
) -> None:
    for j in range(1, len(best)):
        for i in range(j):
            if before[i] < best[j]:
                value = max(before[i], runs.time(i, j, device))
                if value < best[j]:
                    best[j], came[j] = value, (i, device)
