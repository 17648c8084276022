"""Planners side by side."""

from __future__ import annotations

from math import inf

import pytest

from nmt.config import PlacementConfig
from nmt.placement.compare import Attempt, PlannerResult, compare, table
from nmt.placement.cost import TaskCosts
from tests.placement.problems import LEARNING, chain, cluster, problem

PLACEMENT = PlacementConfig(
    planner="exact", file=None, policy=None, evaluations=40, minutes=1.0, learning=LEARNING
)


def attempt(best: float) -> Attempt:
    return Attempt(1, best, 10, 0.5, [(1, best)], (0,), (1, 1))


def test_medians_and_spreads() -> None:
    one = PlannerResult("random", [attempt(best) for best in (2.0, 4.0, 3.0)], "")
    assert one.best == 3.0
    assert one.spread == pytest.approx(2 / 3)
    nothing = PlannerResult("random", [], "There is none.")
    assert (nothing.best, nothing.spread) == (inf, inf)


def test_only_planners_that_draw_run_once_a_seed() -> None:
    of = problem(chain([1.0, 2.0, 1.0]), cluster([1, 1]), [(1, 1), (2, 1)])
    found = compare(of, ["exact", "random", "annealing", "auto", "single"], PLACEMENT, [1, 2, 3])
    assert [len(one.attempts) for one in found] == [1, 3, 3, 3, 1]
    assert all(a.evaluations <= 40 for one in found for a in one.attempts)


def test_a_planner_without_a_plan_says_why() -> None:
    of = problem(chain([1.0, 1.0], parameters=[1e9] * 2), cluster([1, 1], memory=[1.0, 1.0]))
    found = compare(of, ["single", "split"], PLACEMENT, [1])
    assert found[0].reason == "None of the plans that it tried fits into memory."
    assert "needs a graph with two time axes" in found[1].reason
    text = table(of, found)
    assert "single: no plan. None of the plans that it tried fits into memory." in text


def test_the_fastest_comes_first() -> None:
    of = problem(chain([1.0, 1.0]), cluster([1, 1]), [(4, 1)])
    lines = table(of, compare(of, ["single", "exact"], PLACEMENT, [1])).splitlines()
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["exact", "single"]
    assert "| 4 × 1 |" in lines[4]


def test_a_speed_up_that_cannot_be() -> None:
    costs = chain([1.0, 1.0])
    (first,) = costs.measurements
    tenth = {name: seconds / 20 for name, seconds in first.forward.items()}
    fine = TaskCosts(micro_batches=2, chunks=1, forward=tenth, backward=tenth)
    costs = costs.model_copy(update={"measurements": [first, fine]})
    of = problem(costs, cluster([1, 1]), [(2, 1)])
    text = table(of, compare(of, ["exact"], PLACEMENT, [1]))
    assert "on devices that are together 2.00 times as fast as one cannot be: the costs" in text
    possible = problem(chain([1.0, 1.0]), cluster([1, 1]), [(2, 1)])
    assert "cannot be" not in table(possible, compare(possible, ["exact"], PLACEMENT, [1]))
    assert possible.why_impossible(possible.single_device_seconds / 2.4) is None
    assert possible.why_impossible(possible.single_device_seconds / 2.6) is not None
