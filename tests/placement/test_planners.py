from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nmt.config import PlacementConfig, PlannerName
from nmt.errors import PlanError
from nmt.placement.cluster import equal_devices
from nmt.placement.compare import compare, table
from nmt.placement.cost import Profile
from nmt.placement.exact import all_contiguous, bottleneck, number_of_contiguous
from nmt.placement.planners import plan_with
from nmt.placement.policy import (
    Features,
    PlacementPolicy,
    apply_policy,
    load_policy,
    pretrain,
    reinforce,
    save_policy,
)
from nmt.placement.problem import Candidate, PlanSearch, Problem, groups_of
from nmt.placement.simulate import Simulator
from tests.placement.problems import LEARNING, chain, cluster, problem, random_chain

ALL: tuple[PlannerName, ...] = (
    "expert",
    "auto",
    "single",
    "equal_layers",
    "parameters",
    "exact",
    "random",
    "annealing",
    "reinforce",
)


def found_by(
    planner: PlannerName, of: Problem, evaluations: int = 200, seed: int = 1
) -> PlanSearch:
    search = PlanSearch(of, evaluations)
    plan_with(planner, search, seed, LEARNING)
    return search


@pytest.mark.parametrize("planner", ALL)
def test_every_planner_makes_a_plan_within_its_budget(planner: PlannerName) -> None:
    of = problem(chain([1.0] * 4, parameters=[1.0] * 4), cluster([1, 1]), [(1, 1), (4, 1)])
    search = found_by(planner, of, 60)
    assert search.used <= 60
    plan = of.plan(search.result())
    plan.validate_against("chain", list("abcd"))
    assert plan.seconds == pytest.approx(search.best_seconds)
    assert [best for _, best in search.history] == sorted(
        (best for _, best in search.history), reverse=True
    )
    if planner not in ("single", "random"):
        assert (plan.micro_batches, set(plan.placement.values())) == (4, {0, 1})


def brute_force(of: Problem) -> float:
    """The least time of the busiest device over all contiguous partitions and orders of devices."""
    best = float("inf")
    groups = len(of.groups)
    for k in range(1, of.devices + 1):
        for inner in itertools.combinations(range(1, groups), k - 1):
            bounds = [0, *inner, groups]
            for order in itertools.permutations(range(of.devices), k):
                where = [d for i, d in enumerate(order) for _ in range(bounds[i + 1] - bounds[i])]
                best = min(best, max(of.busy(Candidate(tuple(where), 0))))
    return best


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("speeds", [[1.0, 1.0, 1.0], [1.0, 2.0, 0.5]])
def test_exact_equals_brute_force(seed: int, speeds: list[float]) -> None:
    of = problem(random_chain(seed, 7), cluster(speeds), objective="bottleneck")
    assert found_by("exact", of).best_seconds == pytest.approx(brute_force(of))


def test_exact_keeps_within_memory() -> None:
    profile = chain([1.0, 1.0, 1.0], parameters=[1e9, 1e9, 1e9])
    of = problem(profile, cluster([1, 1], memory=[4.5, 8.5]), objective="bottleneck")
    assert bottleneck(of, 0) in ((0, 1, 1), (1, 1, 0))
    small = problem(profile, cluster([1, 1], memory=[4.5, 4.5]))
    with pytest.raises(PlanError, match="must fit into the memory of 2 devices, but none of"):
        found_by("exact", small).result()


def test_exact_counts_shared_parameters_once() -> None:
    """a and c share theirs: all three fit on one device, and not on two by turns."""
    profile = chain([1.0, 1.0, 1.0], parameters=[1e9, 0.1e9, 1e9])
    tied = profile.layers["c"].model_copy(update={"shares": ["a"]})
    profile = profile.model_copy(update={"layers": {**profile.layers, "c": tied}})
    of = problem(profile, cluster([1, 1], memory=[4.5, 3.0]), objective="bottleneck")
    assert bottleneck(of, 0) == (0, 0, 0)
    assert of.value(Candidate((0, 0, 0), 0)).feasible


def test_exact_counts_messages() -> None:
    """A cut in the middle would be even, but the message there is long."""
    profile = chain([1.0, 1.0, 1.0, 1.0])
    layers = {
        name: layer.model_copy(update={"output_bytes": 3e9 if name == "b" else 0.0})
        for name, layer in profile.layers.items()
    }
    of = problem(profile.model_copy(update={"layers": layers}), cluster([1, 1], bandwidth=1.0))
    assert bottleneck(of, 0) in ((0, 0, 0, 1), (0, 1, 1, 1))


def test_all_contiguous_plans_are_listed() -> None:
    of = problem(chain([1.0] * 4), cluster([1, 1, 1]))
    found = [choice.devices for choice in all_contiguous(of)]
    assert len(set(found)) == len(found) == number_of_contiguous(of) == 1 + 3 + 3
    unequal = problem(chain([1.0] * 4), cluster([1, 2, 1]))
    found = [choice.devices for choice in all_contiguous(unequal)]
    assert len(set(found)) == len(found) == number_of_contiguous(unequal) == 3 + 3 * 6 + 3 * 6


def test_groups_follow_what_they_read() -> None:
    assert groups_of(chain([1.0, 0.0, 1.0])) == [["a", "b"], ["c"]]
    assert groups_of(chain([0.0, 1.0, 1.0])) == [["a", "b"], ["c"]]


def test_searches_find_what_no_contiguous_plan_has() -> None:
    """Long layers with short ones around: evenly shared only if runs are broken."""
    of = problem(chain([3.0, 1.0, 3.0, 3.0, 1.0, 1.0]), cluster([1, 1]), objective="bottleneck")
    assert found_by("exact", of).best_seconds == 7.0
    for planner in ("annealing", "reinforce"):
        assert found_by(planner, of, 500).best_seconds == 6.0


def test_reinforce_learns() -> None:
    """What it draws at the end is far better than what it draws at the start."""
    of = problem(random_chain(3, 12), cluster([1, 1, 1, 1]), objective="bottleneck")
    fresh = PlacementPolicy(LEARNING.hidden, torch.Generator().manual_seed(1))
    features = Features.of(of)

    def mean(policy: PlacementPolicy) -> float:
        with torch.no_grad():
            choices = policy.sample(features, 64, torch.Generator().manual_seed(2)).candidates
        return sum(of.value(choice).seconds for choice in choices) / 64

    before = mean(fresh)
    learned = reinforce(PlanSearch(of, 1500), 1, LEARNING)
    assert mean(learned) < before - 0.3 * (before - sum(of.loads) / 4)


def test_a_seed_gives_the_same_plan() -> None:
    of = problem(random_chain(5, 8), cluster([1, 2, 1]))
    for planner in ("random", "annealing", "reinforce"):
        assert found_by(planner, of, 100).history == found_by(planner, of, 100).history


def test_a_policy_of_other_graphs_serves_one_that_it_never_saw() -> None:
    devices = cluster([1, 1])
    small = [problem(random_chain(s, 4 + s), devices, objective="bottleneck") for s in (1, 2)]
    policy = pretrain(small, 60, 1, LEARNING)
    of = problem(random_chain(9, 8), cluster([1, 1, 1]), objective="bottleneck")
    search = PlanSearch(of, 50)
    reinforce(search, 1, LEARNING, policy)
    assert search.best_seconds < 0.6 * of.single_device_seconds


def test_a_policy_is_kept(tmp_path: Path) -> None:
    """Asked again after it was saved, it says the same; and it is asked, not taught."""
    of = problem(random_chain(2, 5), cluster([1, 1]), objective="bottleneck")
    policy, file = pretrain([of], 40, 1, LEARNING), tmp_path / "policy.safetensors"
    save_policy(policy, file)
    searches = []
    for _ in range(2):
        searches.append(PlanSearch(of, 20))
        plan_with("policy", searches[-1], 1, LEARNING, str(file))
    direct = PlanSearch(of, 20)
    apply_policy(direct, 1, policy, LEARNING.samples)
    assert [one.history for one in searches] == [direct.history] * 2
    assert direct.used == 20
    continued = PlanSearch(of, 20)
    plan_with("reinforce", continued, 1, LEARNING, str(file))
    assert continued.best is not None


def test_what_is_no_policy(tmp_path: Path) -> None:
    file = tmp_path / "policy.safetensors"
    with pytest.raises(PlanError, match="must be a policy of `nmt-place mode=pretrain`, but"):
        load_policy(file)
    file.write_text("{}")
    with pytest.raises(PlanError, match="must be a policy"):
        load_policy(file)
    save_file({"x": torch.zeros(1)}, file, {"hidden": "8"})
    with pytest.raises(PlanError, match="must be a policy"):
        load_policy(file)


def test_the_published_profile() -> None:
    """PipeDream's GNMT-8: total time by that of the longest stage, no messages."""
    profile = Profile.load(Path(os.environ["NMT_CORPORA"]) / "pipedream-gnmt" / "graph.txt")
    for devices, wanted in ((2, 1.95), (4, 3.46), (8, 4.70)):
        names = [f"cuda:{i}" for i in range(devices)]
        of = Problem(Simulator(profile, equal_devices(names)), [(1, 1)], objective="bottleneck")
        assert of.single_device_seconds / found_by("exact", of).best_seconds == pytest.approx(
            wanted, abs=0.005
        )
        learned = found_by("reinforce", of, 600)
        assert of.single_device_seconds / learned.best_seconds > 0.99 * wanted


def test_planners_side_by_side() -> None:
    of = problem(chain([1.0, 2.0, 1.0]), cluster([1, 1]), [(1, 1), (2, 1)])
    placement = PlacementConfig(
        planner="exact", file=None, policy=None, evaluations=50, minutes=1.0, learning=LEARNING
    )
    compared = compare(of, ["single", "split", "annealing"], placement, [1, 2])
    text = table(of, compared)
    assert [len(one.attempts) for one in compared] == [1, 0, 2]
    assert text.index("| annealing |") < text.index("| single |")
    assert "split: no plan. `placement=split` needs a graph with two time axes" in text
