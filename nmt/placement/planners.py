"""All planners by name. A planner spends the budget of a `PlanSearch`, which keeps the best
candidate that was tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from nmt.config import LearningConfig, PlannerName
from nmt.errors import PlanError
from nmt.placement import expert
from nmt.placement.annealing import annealing, random_search
from nmt.placement.exact import exact
from nmt.placement.plan import contiguous_stages
from nmt.placement.problem import PlanSearch, Problem

RANDOMIZED = ("random", "annealing", "reinforce", "policy")  # their results depend on the seed


def plan_with(
    planner: PlannerName,
    search: PlanSearch,
    seed: int,
    learning: LearningConfig,
    policy: str | None = None,
) -> None:
    """Run a planner. `policy` is the file of a trained placement policy, for the planners `policy`
    and `reinforce`.

    Raises:
        PlanError: the planner has no placement for this graph on this cluster, or the file is not a
            policy.
    """
    assert planner != "file", "a plan that is given is not searched for"
    match planner:
        case "exact":
            exact(search)
        case "expert" | "auto":
            exact(search)
            with suppress(PlanError):  # more devices than encoder or decoder layers
                _try(search, _folded(search.problem))
            if planner == "auto" and search.budget_left:
                annealing(search, seed)
        case "random":
            random_search(search, seed)
        case "annealing":
            annealing(search, seed)
        case "reinforce":
            # Imported only here because torch takes about a second to import.
            from nmt.placement.policy import load_policy, reinforce

            reinforce(search, seed, learning, load_policy(Path(policy)) if policy else None)
        case "policy":
            from nmt.placement.policy import apply_policy, load_policy

            assert policy is not None, "the configuration requires a file"
            apply_policy(search, seed, load_policy(Path(policy)), learning.samples)
        case _:
            _try(search, EXPERTS[planner](search.problem))


def _try(search: PlanSearch, placement: Mapping[str, int]) -> None:
    """Evaluate a placement at each granularity."""
    for granularity in range(len(search.problem.granularities)):
        if search.budget_left:
            search.value(search.problem.candidate(placement, granularity))


def _single(problem: Problem) -> dict[str, int]:
    speeds = problem.cluster.speeds
    return dict.fromkeys(problem.profile.layers, speeds.index(max(speeds)))


def _equal_layers(problem: Problem) -> dict[str, int]:
    return expert.equal_layers(problem.profile.layer_seconds(), problem.devices)


def _split(problem: Problem) -> dict[str, int]:
    return expert.split(problem.profile.infos, problem.profile.layer_seconds(), problem.devices)


def _folded(problem: Problem) -> dict[str, int]:
    return expert.folded(problem.profile.infos, problem.profile.layer_seconds(), problem.devices)


def _parameters(problem: Problem) -> dict[str, int]:
    sizes = {name: layer.parameter_bytes for name, layer in problem.profile.layers.items()}
    return contiguous_stages(sizes, problem.devices)


# Planners that compute one placement, layer → device, for all granularities.
EXPERTS: Mapping[str, Callable[[Problem], dict[str, int]]] = {
    "single": _single,
    "equal_layers": _equal_layers,
    "split": _split,
    "folded": _folded,
    "parameters": _parameters,
}
