"""Random search and annealing: what they try, and that they never take what does not fit."""

from __future__ import annotations

import random
from itertools import product

import pytest

from nmt.placement.annealing import annealing, cost_of, neighbour, random_candidate, random_search
from nmt.placement.problem import Candidate, PlanSearch
from tests.placement.problems import chain, cluster, problem, random_chain

GRANULARITIES = [(1, 1), (2, 1), (4, 2)]


def test_drawn_candidates_are_even() -> None:
    of = problem(chain([1.0, 1.0]), cluster([1, 1]), [(1, 1), (2, 1)])
    rng = random.Random(1)
    counts: dict[Candidate, int] = {}
    for _ in range(4000):
        candidate = random_candidate(of, rng)
        counts[candidate] = counts.get(candidate, 0) + 1
    assert len(counts) == 2 * 2 * 2
    assert all(count == pytest.approx(500, abs=120) for count in counts.values())


@pytest.mark.parametrize("seed", range(5))
def test_a_neighbour_is_one_change_away(seed: int) -> None:
    of, rng = problem(random_chain(1, 6), cluster([1, 1, 1]), GRANULARITIES), random.Random(seed)
    here = random_candidate(of, rng)
    for _ in range(200):
        found = neighbour(of, here, rng)
        moved = [i for i in range(6) if found.devices[i] != here.devices[i]]
        if found.granularity != here.granularity:
            assert not moved
        elif len(moved) > 1:
            first, last = moved[0], moved[-1]
            swapped = sorted(found.devices) == sorted(here.devices)
            assert swapped or len({found.devices[i] for i in range(first, last + 1)}) == 1
        assert all(0 <= device < 3 for device in found.devices)
        here = found


def test_every_placement_can_be_reached() -> None:
    of, rng = problem(chain([1.0, 1.0, 1.0]), cluster([1, 1])), random.Random(0)
    here, seen = random_candidate(of, rng), set()
    for _ in range(500):
        here = neighbour(of, here, rng)
        seen.add(here.devices)
    assert seen == set(product(range(2), repeat=3))


@pytest.mark.parametrize("planner", [annealing, random_search])
@pytest.mark.parametrize("seed", range(4))
def test_what_does_not_fit_is_never_taken(planner: object, seed: int) -> None:
    """Each device holds two of the four layers' parameters, and no more."""
    profile = chain([1.0, 2.0, 3.0, 1.0], parameters=[1e9] * 4)
    of = problem(profile, cluster([1, 1], memory=[8.5, 8.5]))
    search = PlanSearch(of, 200)
    assert callable(planner)
    planner(search, seed)
    found = search.result()
    assert of.value(found).feasible
    assert sorted(found.devices) == [0, 0, 1, 1]
    assert search.used == 200


def test_what_does_not_fit_costs_more_the_less_it_fits() -> None:
    profile = chain([1.0, 1.0, 1.0], parameters=[1e9] * 3)
    search = PlanSearch(problem(profile, cluster([1, 1], memory=[4.5, 8.5])), 10)
    fits, tight, hopeless = (
        cost_of(search, Candidate(devices, 0)) for devices in ((0, 1, 1), (0, 0, 1), (0, 0, 0))
    )
    assert fits < tight < hopeless
    assert search.best == Candidate((0, 1, 1), 0)


def test_annealing_begins_with_what_was_found_before() -> None:
    of = problem(random_chain(4, 10), cluster([1, 1, 1]), objective="bottleneck")
    search = PlanSearch(of, 300)
    random_search(PlanSearch(of, 1), 0)
    good = min(
        (random_candidate(of, random.Random(i)) for i in range(200)),
        key=lambda c: of.value(c).seconds,
    )
    search.value(good)
    before = search.best_seconds
    annealing(search, 1)
    assert search.best_seconds <= before
    assert search.history[0] == (1, before)
