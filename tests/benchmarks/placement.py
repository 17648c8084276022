"""Planned placements compared with those of experts, with two processes on this machine.

For each model and vocabulary, the layers are measured, plans are searched by simulation, and real
training steps are timed in turns: the plan of `placement=auto` and the rule of each expert, each at
its best granularity in simulation, and the split of encoder and decoder also at the granularity of
the plan.

The measured times are compared with the simulator's predictions for the same batches. The machine's
speed drifts by several percent within minutes, so that the layers are measured again in every round
and predictions are made from the medians.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Literal

from nmt.config import PlannerName, TrainConfig
from nmt.errors import PlanError
from nmt.model.batch import Batch
from nmt.parallel.measure import size_of
from nmt.parallel.world import cores
from nmt.placement.cluster import equal_devices
from nmt.placement.cost import Profile
from nmt.placement.planners import plan_with
from nmt.placement.problem import Candidate, PlanSearch, Problem
from nmt.placement.schedule import Rule
from nmt.placement.simulate import Simulator
from nmt.run.measure import measure_layers, measure_steps
from tests.benchmarks.options import Options
from tests.benchmarks.ours import batches_of, prepared, training_config
from tests.benchmarks.results import Report

DEVICES = 2
SENTENCES = 512  # of a batch
GRANULARITIES = [(m, c) for m in (2, 4, 8) for c in (1, 2)]
RULES: tuple[PlannerName, ...] = ("split", "equal_layers", "parameters", "folded")
SEED = 1

ExecutorName = Literal["wavefront", "deepspeed"]


@dataclass
class Measured:
    """One way to train, with its predicted and its measured time."""

    name: str
    executor: ExecutorName
    placement: dict[str, int]
    granularity: tuple[int, int]
    file: Path
    predicted: float = 0.0  # seconds of all measured steps
    measured: list[list[float]] = field(default_factory=list)  # seconds, (repetitions, steps)

    @property
    def seconds(self) -> list[float]:
        """Seconds of all steps, for each repetition."""
        return [sum(steps) for steps in self.measured]

    @property
    def error(self) -> float:
        """Error of the prediction, as a fraction of the median time."""
        return self.predicted / median(self.seconds) - 1

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.executor}, M {self.granularity[0]}, C {self.granularity[1]}): "
            f"{median(self.seconds):.2f} s, predicted {self.predicted:.2f} "
            f"({self.error:+.1%})"
        )


class Case:
    """One model with one vocabulary."""

    def __init__(self, options: Options, model: str, vocabulary: int) -> None:
        self.name = f"{model}.v{vocabulary}"
        self._options, self._folder = options, options.output / "scratch"
        self._settings = (
            f"model={model}",
            "data=tatoeba_en_de",  # Multi30k has too few words for 32,000 pieces
            f"data.vocabulary.size={vocabulary}",
            "parallel.threads=1",
            *batches_of(SENTENCES),
        )
        config = self._config()
        self._learning = config.placement.learning
        data = prepared(config)
        first = islice(data.batches(), options.steps)
        self._batches = [Batch.from_rows(pairs.source, pairs.target) for pairs in first]
        self._profiles = [measure_layers(config, GRANULARITIES, DEVICES)]
        self._simulator = self._simulator_now()
        self.candidates: list[Measured] = []

    @property
    def profile(self) -> Profile:
        """The median of all measured profiles."""
        return median_profile(self._profiles)

    def _simulator_now(self) -> Simulator:
        return Simulator(self.profile, equal_devices(["cpu"] * DEVICES))

    def _config(self, *more: str) -> TrainConfig:
        return training_config([*self._settings, *more], self._folder)

    def problem(self, rule: Rule = "wavefront") -> Problem:
        """The problem of choosing a placement and a granularity."""
        return Problem(self._simulator, GRANULARITIES, rule, use_all_devices=True)

    def planned(self, planner: PlannerName) -> Candidate | None:
        """The best candidate that a planner finds; None if it finds none."""
        search = PlanSearch(self.problem(), evaluations=2000)
        try:
            plan_with(planner, search, SEED, self._learning)
            return search.result()
        except PlanError:
            return None

    def optimum(self) -> Candidate:
        """The best of all placements and granularities in simulation."""
        problem = self.problem()
        search = PlanSearch(problem, evaluations=10**9)
        # Devices are identical, so that the first group can be on the first device.
        for rest in itertools.product(range(DEVICES), repeat=len(problem.groups) - 1):
            for granularity in range(len(GRANULARITIES)):
                search.value(Candidate((0, *rest), granularity))
        return search.result()

    def add(
        self, name: str, candidate: Candidate, executor: ExecutorName = "wavefront"
    ) -> Measured:
        """Add a candidate to measure. If it is there already, it gets a second name."""
        rule: Rule = "1f1b" if executor == "deepspeed" else "wavefront"
        problem = self.problem(rule)
        placement, granularity = problem.placement(candidate), GRANULARITIES[candidate.granularity]
        key = placement, granularity, executor
        for known in self.candidates:
            if (known.placement, known.granularity, known.executor) == key:
                known.name = f"{known.name} = {name}"
                return known
        file = (self._folder / f"plan-{self.name}-{len(self.candidates)}.json").absolute()
        file.parent.mkdir(parents=True, exist_ok=True)
        problem.plan(candidate).model_copy(update={"tasks": []}).save(file)
        self.candidates.append(Measured(name, executor, placement, granularity, file))
        return self.candidates[-1]

    def _predict(self, simulator: Simulator, candidate: Measured) -> float:
        """Predicted seconds of the steps that are measured."""
        rule: Rule = "1f1b" if candidate.executor == "deepspeed" else "wavefront"
        granularity, seconds = candidate.granularity, 0.0
        for batch in self._batches:
            sizes = [size_of(micro_batch) for micro_batch in batch.split(granularity[0])]
            factors = simulator.profile.factors(*granularity, sizes)
            seconds += simulator.run(candidate.placement, *granularity, rule, factors).seconds
        return seconds

    def measure(self) -> None:
        """Measure all candidates in turns, and predict their times."""
        for round_ in range(self._options.repeats):
            if round_:
                self._profiles.append(measure_layers(self._config(), GRANULARITIES, DEVICES))
            for candidate in self.candidates:
                config = self._config(
                    f"parallel={candidate.executor}",
                    f"parallel.stages={DEVICES}",
                    f"parallel.micro_batches={candidate.granularity[0]}",
                    f"parallel.chunks={candidate.granularity[1]}",
                    "placement=file",
                    f"placement.file={candidate.file}",
                )
                candidate.measured.append(measure_steps(config, self._options.steps).seconds)
        simulator = self._simulator_now()
        for candidate in self.candidates:
            candidate.predicted = self._predict(simulator, candidate)


def median_profile(profiles: list[Profile]) -> Profile:
    """The first profile with the median seconds of each task over all profiles."""
    medians = [
        costs.model_copy(
            update={
                side: {
                    name: median(
                        getattr(profile.measurements[i], side)[name] for profile in profiles
                    )
                    for name in costs.forward
                }
                for side in ("forward", "backward")
            }
        )
        for i, costs in enumerate(profiles[0].measurements)
    ]
    return profiles[0].model_copy(update={"measurements": medians})


def run(options: Options, report: Report) -> None:
    """Compare placements for all models and vocabularies."""
    if cores() < DEVICES:
        report.skip("placement.auto_vs_split", "it needs two cores")
        return
    errors: list[float] = []
    gains: list[float] = []
    for model in options.models:
        for vocabulary in options.vocabularies:
            case = Case(options, model, vocabulary)
            gains.append(_compare(case, report))
            errors += [abs(candidate.error) for candidate in case.candidates]
            lines = [f"{case.name}: {candidate}" for candidate in case.candidates]
            print("\n".join(lines), flush=True)  # a case takes many minutes
            report.notes += lines
    report.add("placement.auto_vs_split", "x", gains, "expert", [1.0])
    report.add("placement.simulator_error", "part of the step", errors)
    report.notes.append(f"largest error of {len(errors)} plans: {max(errors):.1%}")


def _compare(case: Case, report: Report) -> float:
    """Measure a case, and return the time of the split as a multiple of that of the plan."""
    auto = case.planned("auto")
    assert auto is not None, "contiguous runs always fit"
    best = case.optimum()
    plan = case.add("auto", auto)
    optimum = case.add("optimum", best)
    experts = {
        rule: case.add(rule, candidate)
        for rule in RULES
        if (candidate := case.planned(rule)) is not None
    }
    split = experts["split"]
    placement = case.problem().candidate(split.placement)
    equal = case.add(
        "split, the plan's granularity", Candidate(placement.devices, auto.granularity)
    )
    # DeepSpeed runs contiguous plans with a single chunk.
    unchunked = [i for i, (_, chunks) in enumerate(GRANULARITIES) if chunks == 1]
    for measured in _contiguous(case, [plan, *experts.values()]):
        devices = case.problem().candidate(measured.placement).devices
        best_granularity = min(
            unchunked,
            key=lambda granularity: (
                case.problem("1f1b").value(Candidate(devices, granularity)).seconds
            ),
        )
        case.add(measured.name.split(" = ")[0], Candidate(devices, best_granularity), "deepspeed")
    case.measure()
    name = f"placement.auto_vs_split.{case.name}"
    report.compare(name, plan.seconds, "split, its best granularity", split.seconds)
    report.compare(
        f"{name}.equal_granularity", plan.seconds, "split, the plan's granularity", equal.seconds
    )
    fastest = min(experts.values(), key=lambda expert: median(expert.seconds))
    report.compare(
        f"placement.auto_vs_best_expert.{case.name}", plan.seconds, fastest.name, fastest.seconds
    )
    report.compare(
        f"placement.auto_vs_optimum.{case.name}",
        plan.seconds,
        "best of all placements, simulated",
        optimum.seconds,
    )
    bound = sum(case.profile.layer_seconds().values()) / DEVICES
    report.notes.append(
        f"{case.name}: {len(case.problem().groups)} groups of layers, half of all work "
        f"{bound:.2f} s a step; simulated: split {split.predicted / plan.predicted:.2f} times the "
        f"plan, the optimum {optimum.predicted / plan.predicted:.3f} times"
    )
    return median(split.seconds) / median(plan.seconds)


def _contiguous(case: Case, candidates: Iterable[Measured]) -> list[Measured]:
    """The contiguous candidates, which DeepSpeed can run."""
    contiguous = []
    for candidate in candidates:
        order = [candidate.placement[name] for name in case.profile.layers]
        if order == sorted(order):
            contiguous.append(candidate)
    return contiguous
