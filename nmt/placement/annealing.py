"""Planners without a model of the problem: random search, and simulated annealing."""

from __future__ import annotations

import random
from math import exp

from nmt.placement.problem import Candidate, PlanSearch, Problem

HOT, COLD = 0.1, 0.001  # temperatures at the start and the end, as parts of the time on one device


def random_search(search: PlanSearch, seed: int) -> None:
    """Each group on a device drawn evenly, and a granularity drawn evenly."""
    chance = random.Random(seed)
    while search.left:
        search.value(drawn(search.problem, chance))


def drawn(problem: Problem, chance: random.Random) -> Candidate:
    """A choice drawn evenly."""
    return Candidate(
        tuple(chance.randrange(problem.devices) for _ in problem.groups),
        chance.randrange(len(problem.granularities)),
    )


def annealing(search: PlanSearch, seed: int) -> None:
    """Simulated annealing (Kirkpatrick et al. 1983): small changes, of which those for the worse
    are taken with a probability that falls as the budget is used up. Begins with equal runs
    and the granularity that suits them best, or with what the search has found already."""
    problem, chance = search.problem, random.Random(seed)
    groups, devices = len(problem.groups), problem.devices
    runs = tuple(i * devices // groups for i in range(groups))
    starts = [Candidate(runs, granularity) for granularity in range(len(problem.granularities))]
    if search.best is not None:
        starts.append(search.best)
    begun = search.part
    cost, now = min((cost_of(search, start), start) for start in starts)
    while search.left:
        candidate = neighbour(problem, now, chance)
        temperature = problem.alone * HOT * (COLD / HOT) ** ((search.part - begun) / (1 - begun))
        new = cost_of(search, candidate)
        if new <= cost or chance.random() < exp((cost - new) / temperature):
            now, cost = candidate, new


def cost_of(search: PlanSearch, choice: Candidate) -> float:
    """Seconds, and for what does not fit into memory as much more, so that there is a way back."""
    value = search.value(choice)
    return value.seconds + search.problem.alone * value.overflow


def neighbour(problem: Problem, choice: Candidate, chance: random.Random) -> Candidate:
    """One change: another granularity, a group moved, a run of groups moved, or two swapped."""
    devices, granularity = list(choice.devices), choice.granularity
    if len(problem.granularities) > 1 and chance.random() < 0.1:
        return Candidate(choice.devices, chance.randrange(len(problem.granularities)))
    kind = chance.random()
    i = chance.randrange(len(devices))
    if kind < 0.5:
        devices[i] = chance.randrange(problem.devices)
    elif kind < 0.75:
        end = min(len(devices), i + chance.randint(2, 4))
        devices[i:end] = [chance.randrange(problem.devices)] * (end - i)
    else:
        j = chance.randrange(len(devices))
        devices[i], devices[j] = devices[j], devices[i]
    return Candidate(tuple(devices), granularity)
