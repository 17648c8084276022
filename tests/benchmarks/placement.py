"""Placements that were planned against those of experts, on two processes of this machine.

For each model and vocabulary: the layers are measured once, plans are searched by simulation, and
then real training steps of them are timed, in turns: the plan of `placement=auto`, and each
expert's rule, all with the granularity that suits them best in simulation, and the split of
encoder and decoder again with the plan's own granularity.

What the simulator predicts for exactly those batches is compared with what they took. The machine's
speed drifts by several percent within minutes, so that the layers are measured again in every round
and predictions made from the medians.
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
    """One way to train, what was predicted for it, and what it took."""

    name: str
    executor: ExecutorName
    placement: dict[str, int]
    granularity: tuple[int, int]
    file: Path
    predicted: float = 0.0  # seconds of all measured steps
    measured: list[list[float]] = field(default_factory=list)  # repetitions × steps

    @property
    def seconds(self) -> list[float]:
        """Of all steps of each repetition."""
        return [sum(steps) for steps in self.measured]

    @property
    def error(self) -> float:
        """Of the prediction, as a part of the median time."""
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
            "data=tatoeba_en_de",  # Multi30k has not words enough for 32,000 pieces
            f"data.vocabulary.size={vocabulary}",
            "parallel.threads=1",
            *batches_of(SENTENCES),
        )
        config = self._config()
        self._learning = config.placement.learning
        data = prepared(config)
        some = islice(data.batches(), options.steps)
        self._batches = [Batch.from_rows(pairs.source, pairs.target) for pairs in some]
        self._profiles = [measure_layers(config, GRANULARITIES, DEVICES)]
        self._simulator = self._simulator_now()
        self.candidates: list[Measured] = []

    @property
    def profile(self) -> Profile:
        """The median of all that were measured."""
        return median_profile(self._profiles)

    def _simulator_now(self) -> Simulator:
        return Simulator(self.profile, equal_devices(["cpu"] * DEVICES))

    def _config(self, *more: str) -> TrainConfig:
        return training_config([*self._settings, *more], self._folder)

    def problem(self, rule: Rule = "wavefront") -> Problem:
        """A placement and a granularity."""
        return Problem(self._simulator, GRANULARITIES, rule, use_all_devices=True)

    def planned(self, planner: PlannerName) -> Candidate | None:
        """What a planner finds; None where its rule does not fit."""
        search = PlanSearch(self.problem(), evaluations=2000)
        try:
            plan_with(planner, search, SEED, self._learning)
            return search.result()
        except PlanError:
            return None

    def optimum(self) -> Candidate:
        """Of all placements and granularities, in simulation."""
        problem = self.problem()
        search = PlanSearch(problem, evaluations=10**9)
        # Devices are alike: the first group may as well be on the first.
        for rest in itertools.product(range(DEVICES), repeat=len(problem.groups) - 1):
            for granularity in range(len(GRANULARITIES)):
                search.value(Candidate((0, *rest), granularity))
        return search.result()

    def add(self, name: str, choice: Candidate, executor: ExecutorName = "wavefront") -> Measured:
        """Another candidate, unless the same is there under another name."""
        rule: Rule = "1f1b" if executor == "deepspeed" else "wavefront"
        problem = self.problem(rule)
        placement, granularity = problem.placement(choice), GRANULARITIES[choice.granularity]
        for one in self.candidates:
            if (one.placement, one.granularity, one.executor) == (placement, granularity, executor):
                one.name = f"{one.name} = {name}"
                return one
        file = (self._folder / f"plan-{self.name}-{len(self.candidates)}.json").absolute()
        file.parent.mkdir(parents=True, exist_ok=True)
        problem.plan(choice).model_copy(update={"tasks": []}).save(file)
        found = Measured(name, executor, placement, granularity, file)
        self.candidates.append(found)
        return found

    def _predict(self, simulator: Simulator, one: Measured) -> float:
        """Seconds of the very steps that are measured."""
        rule: Rule = "1f1b" if one.executor == "deepspeed" else "wavefront"
        pieces = [
            [size_of(piece) for piece in batch.split(one.granularity[0])] for batch in self._batches
        ]
        factors = [simulator.profile.factors(*one.granularity, sizes) for sizes in pieces]
        return sum(simulator.run(one.placement, *one.granularity, rule, f).seconds for f in factors)

    def measure(self) -> None:
        """All candidates in turns."""
        for round_ in range(self._options.repeats):
            if round_:
                self._profiles.append(measure_layers(self._config(), GRANULARITIES, DEVICES))
            for one in self.candidates:
                config = self._config(
                    f"parallel={one.executor}",
                    f"parallel.stages={DEVICES}",
                    f"parallel.micro_batches={one.granularity[0]}",
                    f"parallel.chunks={one.granularity[1]}",
                    "placement=file",
                    f"placement.file={one.file}",
                )
                one.measured.append(measure_steps(config, self._options.steps).seconds)
        simulator = self._simulator_now()
        for one in self.candidates:
            one.predicted = self._predict(simulator, one)


def median_profile(profiles: list[Profile]) -> Profile:
    """Task by task."""
    cuts = [
        granularity.model_copy(
            update={
                side: {
                    name: median(getattr(one.measurements[i], side)[name] for one in profiles)
                    for name in granularity.forward
                }
                for side in ("forward", "backward")
            }
        )
        for i, granularity in enumerate(profiles[0].measurements)
    ]
    return profiles[0].model_copy(update={"cuts": cuts})


def run(options: Options, report: Report) -> None:
    """All models and vocabularies."""
    if cores() < DEVICES:
        report.skip("placement.auto_vs_split", "it takes two cores")
        return
    errors: list[float] = []
    gains: list[float] = []
    for model in options.models:
        for vocabulary in options.vocabularies:
            case = Case(options, model, vocabulary)
            gains.append(_compare(case, report))
            errors += [abs(one.error) for one in case.candidates]
            found = [f"{case.name}: {one}" for one in case.candidates]
            print("\n".join(found), flush=True)  # a case takes many minutes
            report.notes += found
    report.add("placement.auto_vs_split", "x", gains, "expert", [1.0])
    report.add("placement.simulator_error", "part of the step", errors)
    report.notes.append(f"largest error of {len(errors)} plans: {max(errors):.1%}")


def _compare(case: Case, report: Report) -> float:
    """Split time by plan time."""
    auto = case.planned("auto")
    assert auto is not None, "contiguous runs always fit"
    best = case.optimum()
    plan = case.add("auto", auto)
    optimum = case.add("optimum", best)
    experts = {
        rule: case.add(rule, choice) for rule in RULES if (choice := case.planned(rule)) is not None
    }
    split = experts["split"]
    placement = case.problem().candidate(split.placement)
    equal = case.add(
        "split, the plan's granularity", Candidate(placement.devices, auto.granularity)
    )
    # DeepSpeed's engine: contiguous plans, time in one piece.
    whole = [i for i, (_, chunks) in enumerate(GRANULARITIES) if chunks == 1]
    for one in _contiguous(case, [plan, *experts.values()]):
        devices = case.problem().candidate(one.placement).devices
        best_granularity = min(
            whole,
            key=lambda granularity: (
                case.problem("1f1b").value(Candidate(devices, granularity)).seconds
            ),
        )
        case.add(one.name.split(" = ")[0], Candidate(devices, best_granularity), "deepspeed")
    case.measure()
    name = f"placement.auto_vs_split.{case.name}"
    report.compare(name, plan.seconds, "split, its best granularity", split.seconds)
    report.compare(
        f"{name}.equal_granularity", plan.seconds, "split, the plan's granularity", equal.seconds
    )
    fastest = min(experts.values(), key=lambda one: median(one.seconds))
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
    """Those that DeepSpeed can run."""
    found = []
    for one in candidates:
        order = [one.placement[name] for name in case.profile.layers]
        if order == sorted(order):
            found.append(one)
    return found
