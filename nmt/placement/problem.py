"""What planners search: a device for each group of layers, and how a batch is split.

Every planner spends evaluations of one `PlanSearch`, which keeps the best choice and how it was
found, so that planners can be compared at equal budgets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from nmt.errors import PlanError
from nmt.placement.cost import STATE, Profile
from nmt.placement.plan import Plan
from nmt.placement.schedule import Rule
from nmt.placement.simulate import Simulation, Simulator

Objective = Literal["step", "bottleneck"]
Granularity = tuple[int, int]  # micro-batches, chunks
SMALL = 0.002  # of the whole time: a layer that costs less goes where its input is


class Candidate(NamedTuple):
    """One candidate."""

    devices: tuple[int, ...]  # of each group
    granularity: int  # position among the problem's


class Evaluation(NamedTuple):
    """What a candidate is worth."""

    seconds: float
    overflow: float  # bytes that do not fit, as a part of the memory there is; 0: it is feasible

    @property
    def feasible(self) -> bool:
        """Whether it fits into memory."""
        return self.overflow == 0


class Problem:
    """One graph on one cluster.

    With the objective `bottleneck`, a candidate is worth the time of its busiest device for one
    whole batch, as if messages took none: what a full pipeline needs for each batch.
    """

    def __init__(
        self,
        simulator: Simulator,
        granularities: Sequence[Granularity],
        rule: Rule = "wavefront",
        objective: Objective = "step",
        measure: Callable[[Plan], float] | None = None,
        groups: Sequence[Sequence[str]] | None = None,
        use_all: bool = False,
    ) -> None:
        """`measure` runs a plan on the present devices → seconds; None: plans are simulated.
        `groups` of layers are placed together; None: see `groups_of`. With `use_all`, a plan that
        leaves a device without layers counts as one that does not fit."""
        self.use_all = use_all
        assert granularities, "a batch is split in some way"
        self.simulator, self.rule = simulator, rule
        self.granularities = list(granularities)
        self.objective, self._measure = objective, measure
        self.profile, self.cluster = simulator.profile, simulator.cluster
        self.groups = groups_of(self.profile) if groups is None else groups
        self._whole = self.profile.whole()
        self.loads = [sum(self._whole[name] for name in group) for group in self.groups]

    @property
    def devices(self) -> int:
        """How many there are."""
        return len(self.cluster)

    @property
    def alone(self) -> float:
        """Seconds on the fastest device alone: the measure of what a plan gains."""
        return self.simulator.alone

    def placement(self, choice: Candidate) -> dict[str, int]:
        """Layer → device, in the graph's order."""
        where = {
            name: device
            for group, device in zip(self.groups, choice.devices, strict=True)
            for name in group
        }
        return {name: where[name] for name in self.profile.layers}

    def choice(self, placement: Mapping[str, int], granularity: int = 0) -> Candidate:
        """The inverse of `placement`: each group goes where its costliest layer is."""
        most = [max(group, key=lambda name: self._whole[name]) for group in self.groups]
        return Candidate(tuple(placement[name] for name in most), granularity)

    def simulate(self, choice: Candidate) -> Simulation:
        """A whole step."""
        return self.simulator.run(
            self.placement(choice), *self.granularities[choice.granularity], self.rule
        )

    def value(self, choice: Candidate) -> Evaluation:
        """Of one candidate."""
        idle = self.devices - len(set(choice.devices)) if self.use_all else 0
        if self.objective == "bottleneck":
            return Evaluation(
                max(self.busy(choice)), idle + self._overflow(self._parameters(choice))
            )
        found = self.simulate(choice)
        overflow = idle + self._overflow(found.memory)
        if self._measure is not None and not overflow:
            return Evaluation(self._measure(self.plan(choice)), 0.0)
        return Evaluation(found.seconds, overflow)

    def busy(self, choice: Candidate) -> list[float]:
        """Seconds of work of each device for a whole batch."""
        busy = [0.0] * self.devices
        for device, load in zip(choice.devices, self.loads, strict=True):
            busy[device] += load / self.cluster.speeds[device]
        return busy

    def _parameters(self, choice: Candidate) -> list[float]:
        placement = self.placement(choice)
        return [STATE * self.simulator.parameter_bytes(d, placement) for d in range(self.devices)]

    def _overflow(self, used: Sequence[float]) -> float:
        return sum(
            max(0.0, bytes_used / self.cluster.memory(device) - 1)
            for device, bytes_used in enumerate(used)
        )

    def plan(self, choice: Candidate) -> Plan:
        """As executors follow it: devices without layers are left out."""
        found = self.simulate(choice)
        placement = self.placement(choice)
        used = sorted(set(placement.values()))
        micro_batches, chunks = self.granularities[choice.granularity]
        return Plan(
            graph=self.profile.graph,
            devices=[self.cluster.names[device] for device in used],
            hosts=[self.cluster.hosts[device] for device in used]
            if any(self.cluster.hosts)
            else [],
            placement={name: used.index(device) for name, device in placement.items()},
            micro_batches=micro_batches,
            chunks=chunks,
            schedule=self.rule,
            tasks=[[str(task) for task in found.timeline.orders[device]] for device in used],
            costs=self._whole,
            forward_costs=self.profile.whole_forward(),
            seconds=found.seconds,
            memory=[found.memory[device] for device in used],
        )


def groups_of(profile: Profile) -> list[list[str]]:
    """Layers that are placed together, in the graph's order: a layer that takes next to no time
    goes with the first layer that it reads, or else with the first that reads it."""
    whole = profile.whole()
    least = SMALL * sum(whole.values())
    readers: dict[str, list[str]] = {name: [] for name in profile.layers}
    for name, layer in profile.layers.items():
        for source in layer.inputs:
            readers[source].append(name)
    group_of: dict[str, int] = {}
    groups: list[list[str]] = []
    postponed = []
    for name, layer in profile.layers.items():
        if whole[name] >= least:
            group_of[name] = len(groups)
            groups.append([name])
        elif host := next((source for source in layer.inputs if source in group_of), None):
            group_of[name] = group_of[host]
            groups[group_of[host]].append(name)
        else:
            postponed.append(name)
    for name in reversed(postponed):
        host = next((reader for reader in readers[name] if reader in group_of), None)
        group_of[name] = group_of[host] if host else 0
        groups[group_of[name]].append(name)
    order = {name: i for i, name in enumerate(profile.layers)}
    return [sorted(group, key=order.__getitem__) for group in groups]


@dataclass
class PlanSearch:
    """Evaluations of one planner: counted, limited, and the best kept."""

    problem: Problem
    evaluations: int  # at most
    seconds: float = float("inf")  # at most
    best: Candidate | None = None
    best_seconds: float = float("inf")
    history: list[tuple[int, float]] = field(default_factory=list)  # evaluations, best so far
    used: int = 0
    _values: dict[Candidate, Evaluation] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> bool:
        """Whether there may be another evaluation."""
        return self.used < self.evaluations and self.elapsed < self.seconds

    @property
    def part(self) -> float:
        """How much of the budget is used, 0 to 1."""
        return min(1.0, max(self.used / self.evaluations, self.elapsed / self.seconds))

    @property
    def elapsed(self) -> float:
        """Seconds since the search began."""
        return time.monotonic() - self._started

    def value(self, choice: Candidate) -> Evaluation:
        """Evaluate a candidate; one that was seen before counts again, but is not computed."""
        self.used += 1
        found = self._values.get(choice)
        if found is None:
            found = self._values[choice] = self.problem.value(choice)
        if found.feasible and found.seconds < self.best_seconds:
            self.best, self.best_seconds = choice, found.seconds
            self.history.append((self.used, found.seconds))
        return found

    def result(self) -> Candidate:
        """The best choice.

        Raises:
            PlanError: none of those tried fits into memory.
        """
        if self.best is None:
            wanted = "fit into the memory"
            if self.problem.use_all:
                wanted = "have a layer for each, and fit into the memory,"
            raise PlanError(
                f"A plan must {wanted} of {self.problem.devices} devices, but none of "
                f"{self.used} that were tried does; use another number of devices "
                "(`parallel.stages`), another planner, or more micro-batches."
            )
        return self.best
