"""What planners search: candidates, what they are worth, and budgets."""

from __future__ import annotations

import time

import pytest

from nmt.errors import PlanError
from nmt.placement.plan import Plan
from nmt.placement.problem import Candidate, Evaluation, PlanSearch, Problem, groups_of
from nmt.placement.simulate import Simulator
from tests.placement.problems import chain, cluster, problem


def test_a_candidate_is_a_placement() -> None:
    of = problem(chain([1.0, 0.0, 2.0]), cluster([1, 1]))
    assert of.groups == [["a", "b"], ["c"]]
    placement = of.placement(Candidate((1, 0), 0))
    assert placement == {"a": 1, "b": 1, "c": 0}
    assert of.candidate(placement) == Candidate((1, 0), 0)


def test_groups_that_are_given() -> None:
    of = Problem(
        Simulator(chain([1.0, 0.0, 2.0]), cluster([1, 1])), [(1, 1)], groups=[["a"], ["b"], ["c"]]
    )
    assert of.placement(Candidate((0, 1, 1), 0)) == {"a": 0, "b": 1, "c": 1}


def test_a_small_layer_that_nobody_feeds_goes_with_its_reader() -> None:
    profile = chain([0.0, 0.0, 5.0, 5.0])
    assert groups_of(profile) == [["a", "b", "c"], ["d"]]


def test_a_plan_leaves_out_idle_devices() -> None:
    of = problem(chain([1.0, 1.0]), cluster([1, 1, 1]), [(4, 1)])
    plan = of.plan(Candidate((2, 0), 0))
    assert plan.devices == ["cuda:0", "cuda:2"]
    assert plan.placement == {"a": 1, "b": 0}
    assert (plan.micro_batches, plan.chunks) == (4, 1)
    assert plan.seconds == pytest.approx(of.value(Candidate((2, 0), 0)).seconds)
    assert {text.split()[1] for text in plan.tasks[0]} == {"b"}
    assert plan.hosts == []


def test_use_all_refuses_idle_devices() -> None:
    simulator = Simulator(chain([1.0, 1.0]), cluster([1, 1]))
    of = Problem(simulator, [(1, 1)], use_all_devices=True)
    assert not of.value(Candidate((0, 0), 0)).feasible
    search = PlanSearch(of, 1)
    search.value(Candidate((0, 0), 0))
    with pytest.raises(PlanError, match="must place layers on each of 2 devices and fit into"):
        search.result()


def test_the_bottleneck_is_work_alone() -> None:
    of = problem(chain([2.0, 4.0], output=1e12), cluster([1, 2]), objective="bottleneck")
    assert of.busy(Candidate((0, 1), 0)) == [2.0, 2.0]
    assert of.value(Candidate((0, 1), 0)) == Evaluation(2.0, 0.0)


def test_measured_plans_count_as_they_were_measured() -> None:
    seen: list[Plan] = []

    def measure(plan: Plan) -> float:
        seen.append(plan)
        return 42.0

    profile = chain([1.0, 1.0], parameters=[1e9, 1e9])
    of = Problem(Simulator(profile, cluster([1, 1], [4.5, 4.5])), [(1, 1)], measure=measure)
    assert of.value(Candidate((0, 1), 0)).seconds == 42.0
    assert not of.value(Candidate((0, 0), 0)).feasible
    assert len(seen) == 1, "what does not fit is not run"


def test_a_budget_of_evaluations() -> None:
    search = PlanSearch(problem(chain([1.0, 1.0]), cluster([1, 1])), evaluations=3)
    for used, devices in enumerate(((0, 0), (0, 0), (0, 1))):
        assert search.budget_left
        assert search.fraction_used == pytest.approx(used / 3)
        search.value(Candidate(devices, 0))
    assert not search.budget_left, "a candidate that was seen before counts again"
    assert search.used == 3


def test_a_budget_of_time() -> None:
    search = PlanSearch(problem(chain([1.0]), cluster([1])), evaluations=10, seconds=0.02)
    assert search.budget_left
    time.sleep(0.03)
    assert not search.budget_left
    assert search.fraction_used == 1.0


def test_the_history_has_each_improvement() -> None:
    of = problem(chain([1.0, 1.0, 1.0, 1.0]), cluster([1, 1]), objective="bottleneck")
    search = PlanSearch(of, 10)
    for devices in ((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0), (0, 0, 1, 1)):
        search.value(Candidate(devices, 0))
    assert search.history == [(1, 4.0), (2, 3.0), (4, 2.0)]
    assert search.result() == Candidate((0, 0, 1, 1), 0)
