"""The search space of planners: a device for each group of layers, and a granularity.

Every planner evaluates candidates through a `PlanSearch`, which enforces the budget and keeps the
best candidate and the history, so that planners can be compared at equal budgets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from nmt.errors import PlanError
from nmt.placement.cost import Profile
from nmt.placement.plan import Plan
from nmt.placement.schedule import Rule
from nmt.placement.simulate import Simulation, Simulator

Objective = Literal["step", "bottleneck"]
Granularity = tuple[int, int]  # micro-batches, chunks
PLAUSIBLE_SPEED_UP = 1.25  # relative to the devices' speeds
SMALL = 0.002  # fraction of the total time below which a layer joins the group of its input


class Candidate(NamedTuple):
    """A point of the search space."""

    devices: tuple[int, ...]  # device of each group
    granularity: int  # index into `Problem.granularities`


class Evaluation(NamedTuple):
    """The value of a candidate."""

    seconds: float
    # Bytes beyond a device's memory, as a fraction of it, summed over devices, plus 1 for each
    # device without layers under `use_all_devices`; 0 if the candidate is feasible.
    overflow: float

    @property
    def feasible(self) -> bool:
        """Whether the candidate fits into memory, and uses all devices if it has to."""
        return self.overflow == 0


class Problem:
    """Placing one graph on one cluster.

    The objective `step` minimises the seconds of a training step. `bottleneck` minimises the work
    of the busiest device for a whole batch, ignoring messages: the time that a full pipeline needs
    for each batch.
    """

    def __init__(
        self,
        simulator: Simulator,
        granularities: Sequence[Granularity],
        rule: Rule = "wavefront",
        objective: Objective = "step",
        measure: Callable[[Plan], float] | None = None,
        groups: Sequence[Sequence[str]] | None = None,
        use_all_devices: bool = False,
    ) -> None:
        """`measure` runs a plan on the present devices and returns the seconds of a step; without
        it, plans are simulated. The layers of each of `groups` are placed together; without them,
        `groups_of` makes the groups. With `use_all_devices`, a candidate that leaves a device
        without layers is infeasible."""
        self.use_all_devices = use_all_devices
        assert granularities, "at least one granularity is required"
        self.simulator, self.rule = simulator, rule
        self.granularities = list(granularities)
        self.objective, self._measure = objective, measure
        self.profile, self.cluster = simulator.profile, simulator.cluster
        self.groups = groups_of(self.profile) if groups is None else groups
        self._layer_seconds = self.profile.layer_seconds()
        self.loads = [sum(self._layer_seconds[name] for name in group) for group in self.groups]

    @property
    def devices(self) -> int:
        """Number of devices."""
        return len(self.cluster)

    @property
    def single_device_seconds(self) -> float:
        """Seconds of a step on the fastest device alone, relative to which speed-ups are given."""
        return self.simulator.single_device_seconds

    def why_impossible(self, seconds: float) -> str | None:
        """Why a step of a plan cannot take so few seconds; None if it can. Costs may vary a little
        with the size of tasks, so that speed-ups are a little larger than the devices' speeds."""
        speed_up, most = self.single_device_seconds / seconds, self.cluster.total_speed
        if speed_up <= PLAUSIBLE_SPEED_UP * most:
            return None
        return (
            f"A speed-up of {speed_up:.2f} on devices that are together {most:.2f} times as fast "
            "as one cannot be: the costs were measured wrongly, beside other programs, for "
            "instance; measure again."
        )

    def placement(self, candidate: Candidate) -> dict[str, int]:
        """Layer → device of a candidate, in the graph's order."""
        where = {
            name: device
            for group, device in zip(self.groups, candidate.devices, strict=True)
            for name in group
        }
        return {name: where[name] for name in self.profile.layers}

    def candidate(self, placement: Mapping[str, int], granularity: int = 0) -> Candidate:
        """The candidate closest to a placement: each group goes where its costliest layer is."""
        costliest = [
            max(group, key=lambda name: self._layer_seconds[name]) for group in self.groups
        ]
        return Candidate(tuple(placement[name] for name in costliest), granularity)

    def simulate(self, candidate: Candidate) -> Simulation:
        """Simulate a step of a candidate."""
        return self.simulator.run(
            self.placement(candidate), *self.granularities[candidate.granularity], self.rule
        )

    def value(self, candidate: Candidate) -> Evaluation:
        """Evaluate a candidate."""
        idle = self.devices - len(set(candidate.devices)) if self.use_all_devices else 0
        if self.objective == "bottleneck":
            return Evaluation(
                max(self.busy(candidate)), idle + self._overflow(self._parameters(candidate))
            )
        simulation = self.simulate(candidate)
        overflow = idle + self._overflow(simulation.memory)
        if self._measure is not None and not overflow:
            return Evaluation(self._measure(self.plan(candidate)), 0.0)
        return Evaluation(simulation.seconds, overflow)

    def busy(self, candidate: Candidate) -> list[float]:
        """Seconds of work of each device for a whole batch."""
        busy = [0.0] * self.devices
        for device, load in zip(candidate.devices, self.loads, strict=True):
            busy[device] += load / self.cluster.speeds[device]
        return busy

    def _parameters(self, candidate: Candidate) -> list[float]:
        placement, factor = self.placement(candidate), self.profile.state_factor
        return [factor * self.simulator.parameter_bytes(d, placement) for d in range(self.devices)]

    def _overflow(self, used: Sequence[float]) -> float:
        return sum(
            max(0.0, bytes_used / self.cluster.memory(device) - 1)
            for device, bytes_used in enumerate(used)
        )

    def plan(self, candidate: Candidate) -> Plan:
        """The plan of a candidate, without the devices that have no layers."""
        simulation = self.simulate(candidate)
        placement = self.placement(candidate)
        used = sorted(set(placement.values()))
        micro_batches, chunks = self.granularities[candidate.granularity]
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
            tasks=[[str(task) for task in simulation.timeline.orders[device]] for device in used],
            costs=self._layer_seconds,
            forward_costs=self.profile.layer_forward_seconds(),
            seconds=simulation.seconds,
            memory=[simulation.memory[device] for device in used],
        )


def groups_of(profile: Profile) -> list[list[str]]:
    """Groups of layers that are placed together, each in the graph's order. A layer that takes next
    to no time joins the group of the first layer that it reads or, without one, of the first layer
    that reads it."""
    seconds = profile.layer_seconds()
    least = SMALL * sum(seconds.values())
    readers: dict[str, list[str]] = {name: [] for name in profile.layers}
    for name, layer in profile.layers.items():
        for source in layer.inputs:
            readers[source].append(name)
    group_of: dict[str, int] = {}
    groups: list[list[str]] = []
    postponed = []
    for name, layer in profile.layers.items():
        if seconds[name] >= least:
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
    """The budget of one planner, and the best candidate that it has evaluated."""

    problem: Problem
    evaluations: int  # largest number of evaluations
    seconds: float = float("inf")  # longest time of the search
    best: Candidate | None = None
    best_seconds: float = float("inf")
    # (evaluations, best seconds so far) at each improvement
    history: list[tuple[int, float]] = field(default_factory=list)
    used: int = 0  # evaluations
    _values: dict[Candidate, Evaluation] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    @property
    def budget_left(self) -> bool:
        """Whether the budget allows another evaluation."""
        return self.used < self.evaluations and self.elapsed < self.seconds

    @property
    def fraction_used(self) -> float:
        """Fraction of the budget that has been used, 0 to 1."""
        return min(1.0, max(self.used / self.evaluations, self.elapsed / self.seconds))

    @property
    def elapsed(self) -> float:
        """Seconds since the search began."""
        return time.monotonic() - self._started

    def value(self, candidate: Candidate) -> Evaluation:
        """Evaluate a candidate. One that was evaluated before uses the budget again, but its value
        is remembered."""
        self.used += 1
        evaluation = self._values.get(candidate)
        if evaluation is None:
            evaluation = self._values[candidate] = self.problem.value(candidate)
        if evaluation.feasible and evaluation.seconds < self.best_seconds:
            self.best, self.best_seconds = candidate, evaluation.seconds
            self.history.append((self.used, evaluation.seconds))
        return evaluation

    def result(self) -> Candidate:
        """The best candidate.

        Raises:
            PlanError: no candidate that was evaluated is feasible.
        """
        if self.best is None:
            devices = self.problem.devices
            needs = f"fit into the memory of {devices} devices"
            if self.problem.use_all_devices:
                needs = f"place layers on each of {devices} devices and fit into their memory"
            raise PlanError(
                f"A plan must {needs}, but none of the "
                f"{self.used} that were tried does; use another number of devices "
                "(`parallel.stages`), another planner, or more micro-batches."
            )
        return self.best
