"""All planners by name. Each spends a search; the best choice that it tried is its plan."""

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

DRAWING = ("random", "annealing", "reinforce", "policy")  # those whose result depends on the seed


def plan_with(
    planner: PlannerName,
    search: PlanSearch,
    seed: int,
    learning: LearningConfig,
    policy: str | None = None,
) -> None:
    """Spend a search. `policy` is the file of one that has learned before.

    Raises:
        PlanError: the planner has no placement for this graph and this cluster; or the file is no
            policy.
    """
    assert planner != "file", "there is nothing to search"
    match planner:
        case "exact":
            exact(search)
        case "expert" | "auto":
            exact(search)
            with suppress(PlanError):  # more devices than layers of a side
                _try(search, _folded(search.problem))
            if planner == "auto" and search.left:
                annealing(search, seed)
        case "random":
            random_search(search, seed)
        case "annealing":
            annealing(search, seed)
        case "reinforce":
            from nmt.placement.policy import load_policy, reinforce  # torch takes a second

            reinforce(search, seed, learning, load_policy(Path(policy)) if policy else None)
        case "policy":
            from nmt.placement.policy import ask, load_policy

            assert policy is not None, "the configuration has checked it"
            ask(search, seed, load_policy(Path(policy)), learning.samples)
        case _:
            _try(search, EXPERTS[planner](search.problem))


def _try(search: PlanSearch, placement: Mapping[str, int]) -> None:
    """A placement with each granularity."""
    for granularity in range(len(search.problem.granularities)):
        if search.left:
            search.value(search.problem.choice(placement, granularity))


def _single(problem: Problem) -> dict[str, int]:
    speeds = problem.cluster.speeds
    return dict.fromkeys(problem.profile.layers, speeds.index(max(speeds)))


def _equal_layers(problem: Problem) -> dict[str, int]:
    return expert.equal_layers(problem.profile.whole(), problem.devices)


def _split(problem: Problem) -> dict[str, int]:
    return expert.split(problem.profile.infos, problem.profile.whole(), problem.devices)


def _folded(problem: Problem) -> dict[str, int]:
    return expert.folded(problem.profile.infos, problem.profile.whole(), problem.devices)


def _parameters(problem: Problem) -> dict[str, int]:
    sizes = {name: layer.parameter_bytes for name, layer in problem.profile.layers.items()}
    return contiguous_stages(sizes, problem.devices)


# Layer → device, whatever the granularity.
EXPERTS: Mapping[str, Callable[[Problem], dict[str, int]]] = {
    "single": _single,
    "equal_layers": _equal_layers,
    "split": _split,
    "folded": _folded,
    "parameters": _parameters,
}
