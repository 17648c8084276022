"""Planners that treat the problem as a black box: random search and simulated annealing."""

from __future__ import annotations

import random
from math import exp

from nmt.placement.problem import Candidate, PlanSearch, Problem

HOT, COLD = 0.1, 0.001  # first and last temperature, as fractions of the time on a single device


def random_search(search: PlanSearch, seed: int) -> None:
    """Spend the budget on independent random candidates."""
    rng = random.Random(seed)
    while search.budget_left:
        search.value(random_candidate(search.problem, rng))


def random_candidate(problem: Problem, rng: random.Random) -> Candidate:
    """A device for each group and a granularity, all drawn uniformly."""
    return Candidate(
        tuple(rng.randrange(problem.devices) for _ in problem.groups),
        rng.randrange(len(problem.granularities)),
    )


def annealing(search: PlanSearch, seed: int) -> None:
    """Simulated annealing (Kirkpatrick et al. 1983): make small changes, and accept those for the
    worse with a probability that falls as the budget is used up. Starts from contiguous runs of
    equally many groups at their best granularity, or from the search's best candidate so far if
    that is better."""
    problem, rng = search.problem, random.Random(seed)
    groups, devices = len(problem.groups), problem.devices
    runs = tuple(i * devices // groups for i in range(groups))
    starts = [Candidate(runs, granularity) for granularity in range(len(problem.granularities))]
    if search.best is not None:
        starts.append(search.best)
    used_before = search.fraction_used
    cost, current = min((cost_of(search, start), start) for start in starts)
    while search.budget_left:
        candidate = neighbour(problem, current, rng)
        progress = (search.fraction_used - used_before) / (1 - used_before)
        temperature = problem.single_device_seconds * HOT * (COLD / HOT) ** progress
        new_cost = cost_of(search, candidate)
        if new_cost <= cost or rng.random() < exp((cost - new_cost) / temperature):
            current, cost = candidate, new_cost


def cost_of(search: PlanSearch, candidate: Candidate) -> float:
    """Seconds of a step, plus a penalty in proportion to the memory that is missing, so that the
    search can find its way back to candidates that fit."""
    value = search.value(candidate)
    return value.seconds + search.problem.single_device_seconds * value.overflow


def neighbour(problem: Problem, candidate: Candidate, rng: random.Random) -> Candidate:
    """The candidate with one random change: another granularity, one group moved, a run of groups
    moved, or two groups swapped."""
    devices, granularity = list(candidate.devices), candidate.granularity
    if len(problem.granularities) > 1 and rng.random() < 0.1:
        return Candidate(candidate.devices, rng.randrange(len(problem.granularities)))
    kind = rng.random()
    i = rng.randrange(len(devices))
    if kind < 0.5:
        devices[i] = rng.randrange(problem.devices)
    elif kind < 0.75:
        end = min(len(devices), i + rng.randint(2, 4))
        devices[i:end] = [rng.randrange(problem.devices)] * (end - i)
    else:
        j = rng.randrange(len(devices))
        devices[i], devices[j] = devices[j], devices[i]
    return Candidate(tuple(devices), granularity)
