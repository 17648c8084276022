"""Planners side by side at equal budgets: a table, and how the best plan of each came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from nmt.config import PlacementConfig, PlannerName
from nmt.errors import PlanError
from nmt.placement.planners import DRAWING, plan_with
from nmt.placement.problem import PlanSearch, Problem


@dataclass(frozen=True)
class Attempt:
    """One planner with one seed."""

    seed: int
    best: float  # seconds; infinite: nothing fits, or there is no such plan
    evaluations: int
    elapsed: float  # seconds that the search took
    history: list[tuple[int, float]]  # evaluations, best seconds so far
    found: tuple[int, ...]  # device of each group
    granularity: tuple[int, int]  # micro-batches, chunks


@dataclass(frozen=True)
class Compared:
    """All attempts of one planner."""

    planner: PlannerName
    attempts: list[Attempt]
    reason: str  # why there is none; empty otherwise

    @property
    def best(self) -> float:
        """The median over the seeds."""
        return median(one.best for one in self.attempts) if self.attempts else inf

    @property
    def spread(self) -> float:
        """Worst minus best, as a part of the median."""
        values = [one.best for one in self.attempts]
        return (max(values) - min(values)) / self.best if self.best < inf else inf


def compare(
    problem: Problem,
    planners: Sequence[PlannerName],
    placement: PlacementConfig,
    seeds: Sequence[int],
) -> list[Compared]:
    """Run all planners at the budget of `placement`, those that draw once for each seed."""
    return [_attempts(problem, planner, placement, seeds) for planner in planners]


def _attempts(
    problem: Problem,
    planner: PlannerName,
    placement: PlacementConfig,
    seeds: Sequence[int],
) -> Compared:
    attempts = []
    for seed in seeds if planner in DRAWING or planner == "auto" else seeds[:1]:
        search = PlanSearch(problem, placement.evaluations, placement.seconds)
        try:
            plan_with(planner, search, seed, placement.learning, placement.policy)
        except PlanError as error:
            return Compared(planner, [], str(error))
        attempts.append(
            Attempt(
                seed,
                search.best_seconds,
                search.used,
                search.elapsed,
                search.history,
                search.best.devices if search.best else (),
                problem.granularities[search.best.granularity if search.best else 0],
            )
        )
    nothing = all(attempt.best == inf for attempt in attempts)
    return Compared(planner, attempts, "Nothing that it tried fits." if nothing else "")


def table(problem: Problem, compared: Sequence[Compared]) -> str:
    """Markdown, the fastest first."""
    lines = [
        f"{problem.profile.graph} on {problem.cluster.config.name}, {problem.objective}; one "
        f"device alone: {1e3 * problem.alone:.1f} ms",
        "",
        "| planner | ms, median | times one device | spread | seeds | evaluations | search, s | "
        "M × C |",
        "|---|---|---|---|---|---|---|---|",
    ]
    reasons = []
    for one in sorted(compared, key=lambda one: one.best):
        if one.reason:
            reasons.append(f"\n{one.planner}: no plan. {one.reason}")
            continue
        best = min(one.attempts, key=lambda attempt: attempt.best)
        lines.append(
            f"| {one.planner} | {1e3 * one.best:.1f} | {problem.alone / one.best:.3f} | "
            f"{one.spread:.1%} | {len(one.attempts)} | {best.evaluations} | "
            f"{median(a.elapsed for a in one.attempts):.1f} | "
            f"{' × '.join(map(str, best.granularity))} |"
        )
    return "\n".join(lines + reasons)
