"""Comparing planners at equal budgets, over several seeds: a table, and each search's history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from nmt.config import PlacementConfig, PlannerName
from nmt.errors import PlanError
from nmt.placement.planners import RANDOMIZED, plan_with
from nmt.placement.problem import PlanSearch, Problem


@dataclass(frozen=True)
class Attempt:
    """One search by one planner with one seed."""

    seed: int
    best: float  # seconds of a step; infinite if no candidate fitted into memory
    evaluations: int
    elapsed: float  # seconds that the search took
    history: list[tuple[int, float]]  # (evaluations, best seconds so far) at each improvement
    devices: tuple[int, ...]  # device of each group in the best plan
    granularity: tuple[int, int]  # micro-batches, chunks


@dataclass(frozen=True)
class PlannerResult:
    """All attempts of one planner."""

    planner: PlannerName
    attempts: list[Attempt]
    reason: str  # why there is no plan; empty if there is one

    @property
    def best(self) -> float:
        """Seconds of a step with the best plan: the median over the seeds."""
        return median(attempt.best for attempt in self.attempts) if self.attempts else inf

    @property
    def spread(self) -> float:
        """Worst minus best seed, as a fraction of the median."""
        values = [attempt.best for attempt in self.attempts]
        return (max(values) - min(values)) / self.best if self.best < inf else inf


def compare(
    problem: Problem,
    planners: Sequence[PlannerName],
    placement: PlacementConfig,
    seeds: Sequence[int],
) -> list[PlannerResult]:
    """Run each planner with the budget of `placement`: randomized planners once for each seed,
    deterministic ones once."""
    return [_attempts(problem, planner, placement, seeds) for planner in planners]


def _attempts(
    problem: Problem,
    planner: PlannerName,
    placement: PlacementConfig,
    seeds: Sequence[int],
) -> PlannerResult:
    attempts = []
    for seed in seeds if planner in RANDOMIZED or planner == "auto" else seeds[:1]:
        search = PlanSearch(problem, placement.evaluations, placement.seconds)
        try:
            plan_with(planner, search, seed, placement.learning, placement.policy)
        except PlanError as error:
            return PlannerResult(planner, [], str(error))
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
    none_fits = all(attempt.best == inf for attempt in attempts)
    reason = "None of the plans that it tried fits into memory." if none_fits else ""
    return PlannerResult(planner, attempts, reason)


def table(problem: Problem, results: Sequence[PlannerResult]) -> str:
    """The results as a Markdown table, the fastest planner first."""
    lines = [
        f"{problem.profile.graph} on {problem.cluster.config.name}, {problem.objective}; a single "
        f"device: {1e3 * problem.single_device_seconds:.1f} ms",
        "",
        "| planner | ms, median | speed-up | spread | seeds | evaluations | search, s | M × C |",
        "|---|---|---|---|---|---|---|---|",
    ]
    reasons = []
    for result in sorted(results, key=lambda result: result.best):
        if result.reason:
            reasons.append(f"\n{result.planner}: no plan. {result.reason}")
            continue
        best = min(result.attempts, key=lambda attempt: attempt.best)
        speed_up = problem.single_device_seconds / result.best
        lines.append(
            f"| {result.planner} | {1e3 * result.best:.1f} | {speed_up:.3f} | "
            f"{result.spread:.1%} | {len(result.attempts)} | {best.evaluations} | "
            f"{median(attempt.elapsed for attempt in result.attempts):.1f} | "
            f"{' × '.join(map(str, best.granularity))} |"
        )
    fastest = min((result.best for result in results if result.attempts), default=inf)
    if reason := problem.why_impossible(fastest):
        reasons.append(f"\n{reason}")
    return "\n".join(lines + reasons)
