"""The exact planner: the best contiguous plan, with one run of groups of layers for each device.

Dynamic programming over (groups placed, devices used), with messages and memory, minimises the time
of the busiest device for a whole batch, messages included: the time that a full pipeline needs for
each batch. The simulation then chooses among the granularities. If the budget suffices to simulate
every contiguous plan, all are simulated, and the result has the shortest step of all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import comb, inf, perm

from nmt.errors import PlanError
from nmt.placement.partitions import best_partitions
from nmt.placement.problem import Candidate, PlanSearch, Problem

MOST_UNEQUAL = 12  # largest number of unequal devices, for which all orders are searched


def exact(search: PlanSearch) -> None:
    """Evaluate the best contiguous plan of each granularity, or all plans if the budget allows."""
    problem = search.problem
    for granularity in range(len(problem.granularities)):
        if search.budget_left and (bounds := bottleneck(problem, granularity)):
            search.value(Candidate(bounds, granularity))
    if problem.objective == "bottleneck":
        return
    if number_of_contiguous(problem) <= search.evaluations - search.used:
        for candidate in all_contiguous(problem):
            if not search.budget_left:
                return
            search.value(candidate)


def number_of_contiguous(problem: Problem) -> int:
    """Number of contiguous plans; the order of devices counts if the devices differ."""
    groups, devices = len(problem.groups), problem.devices
    return len(problem.granularities) * sum(
        comb(groups - 1, k - 1) * (1 if problem.cluster.uniform else perm(devices, k))
        for k in range(1, min(groups, devices) + 1)
    )


def all_contiguous(problem: Problem) -> Iterator[Candidate]:
    """All contiguous plans, at all granularities."""
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
    """The device of each group in the contiguous plan whose busiest device has the least work; None
    if no such plan fits into memory.

    Raises:
        PlanError: there are more than MOST_UNEQUAL devices, and they differ.
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
    """Costs of runs of groups. A run (i, j) is groups i to j - 1."""

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
        # Bytes that cross the boundary before group i: all earlier outputs that are read after it.
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
        """Bytes of the run's parameters; shared ones are counted once."""
        counted_again = 0.0
        for tie in self._ties:
            sizes = [size for group, size in tie if i <= group < j]
            counted_again += sum(sizes[1:])
        return self._parameters[j] - self._parameters[i] - counted_again

    def time(self, i: int, j: int, device: int) -> float:
        """Seconds that the run keeps a device or one of its links busy; infinite if it does not fit
        into memory. Messages into and out of the run, forward and backward, take the link to the
        next device, since the real neighbours are not known yet."""
        problem = self._problem
        memory = problem.profile.state_factor * self._parameter_bytes(i, j)
        if problem.objective == "step":
            # Only 1F1B limits the micro-batches in flight; the other rules may keep all of them.
            in_flight = min(self._micro_batches, problem.devices)
            fraction = in_flight / self._micro_batches if problem.rule == "1f1b" else 1.0
            memory += fraction * (self._kept[j] - self._kept[i])
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
    """(group, bytes) of the layers of each set that shares its parameters."""
    layers = problem.profile.layers
    ties: dict[str, list[tuple[int, float]]] = {}
    for name, layer in layers.items():
        for owner in layer.shares:
            tie = ties.setdefault(owner, [(place[owner], layers[owner].parameter_bytes)])
            tie.append((place[name], layer.parameter_bytes))
    return list(ties.values())


def _in_order(problem: Problem, granularity: int) -> tuple[int, ...] | None:
    groups = len(problem.groups)
    most = min(groups, problem.devices)
    partitions = best_partitions(groups, most, _Runs(problem, granularity).time)
    if problem.use_all_devices:
        best = partitions[-1]
    else:  # of equally good ones, that with the most devices
        best = min(reversed(partitions), key=lambda partition: partition.largest)
    if best.largest == inf:
        return None
    runs = itertools.pairwise(best.bounds)
    return tuple(device for device, (i, j) in enumerate(runs) for _ in range(i, j))


def _any_order(problem: Problem, granularity: int) -> tuple[int, ...] | None:
    """Dynamic programming over sets of devices, as bit masks: best[set][j] is the least time of the
    busiest device when the first j groups are on the devices of the set."""
    runs, groups, devices = _Runs(problem, granularity), len(problem.groups), problem.devices
    sets = 1 << devices
    best = [[inf] * (groups + 1) for _ in range(sets)]
    # (first group, device) of the last run in best[set][j]
    last_run: list[list[tuple[int, int]]] = [[(0, 0)] * (groups + 1) for _ in range(sets)]
    best[0][0] = 0.0
    for members in range(1, sets):
        for device in range(devices):
            if not members >> device & 1:
                continue
            before = best[members & ~(1 << device)]
            _extend(runs, before, device, best[members], last_run[members])
    ends = [sets - 1] if problem.use_all_devices else range(sets)
    last = min(ends, key=lambda members: best[members][groups])
    if best[last][groups] == inf:
        return None
    where, j, members = [0] * groups, groups, last
    while j:
        i, device = last_run[members][j]
        where[i:j] = [device] * (j - i)
        members, j = members & ~(1 << device), i
    return tuple(where)


def _extend(
    runs: _Runs,
    before: Sequence[float],
    device: int,
    best: list[float],
    last_run: list[tuple[int, int]],
) -> None:
    """Improve `best` and `last_run` of a set by partitions whose last run is on `device`; `before`
    is `best` of the set without it."""
    for j in range(1, len(best)):
        for i in range(j):
            if before[i] < best[j]:
                value = max(before[i], runs.time(i, j, device))
                if value < best[j]:
                    best[j], last_run[j] = value, (i, device)
