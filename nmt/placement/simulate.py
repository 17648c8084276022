"""A training step of a plan, simulated: how long it takes, who is idle, how much memory it needs.

Event by event: a device does one task at a time, in the order that the schedule's rule chooses, and
a task starts when all that it needs has arrived. A message leaves when its task has ended and takes
the link's latency and its size by the bandwidth. Messages do not hold up one another; where a
device's own cores carry them (`Profile.message_overhead`), its tasks with messages take longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from nmt.placement.cluster import Cluster
from nmt.placement.cost import STATE, Profile, TaskCosts
from nmt.placement.schedule import Costs, Rule, Timeline, schedule
from nmt.placement.tasks import Task, TaskGraph


@dataclass(frozen=True)
class ClusterCosts(Costs):
    """Seconds of tasks and messages on devices that may differ. `message` are bytes here."""

    cluster: Cluster = field(kw_only=True)

    def of(self, task: Task, device: int = 0) -> float:
        """Seconds of `task` on a device."""
        return super().of(task) / self.cluster.speeds[device]

    def delay(self, layer: str, sender: int, receiver: int) -> float:
        """Seconds that one chunk of a layer's output, or its gradient, is on its way."""
        return self.cluster.transfer(self.message[layer], sender, receiver)


@dataclass(frozen=True)
class Simulation:
    """What a step comes to."""

    seconds: float
    idle: float  # part of all devices' time
    memory: tuple[float, ...]  # the most bytes that each device holds at one time
    over: tuple[int, ...]  # devices that have less memory than that
    timeline: Timeline

    @property
    def feasible(self) -> bool:
        """Whether it fits into memory."""
        return not self.over


class Simulator:
    """Simulates plans of one graph on one cluster. Keeps what candidates have in common."""

    def __init__(self, profile: Profile, cluster: Cluster) -> None:
        self.profile, self.cluster = profile, cluster
        self._graphs: dict[tuple[int, int], TaskGraph] = {}
        self._costs: dict[tuple[int, int], ClusterCosts] = {}

    def run(
        self,
        placement: Mapping[str, int],
        micro_batches: int,
        chunks: int,
        rule: Rule,
        factors: Sequence[Mapping[str, float]] = (),
    ) -> Simulation:
        """One step of the layers so placed, with micro-batches whose work differs by `factors`."""
        graph = self.graph(micro_batches, chunks)
        costs = self.costs(micro_batches, chunks)
        if factors:
            costs = replace(costs, factors=factors)
        if self.profile.message_overhead:
            more = self.profile.message_seconds(placement, micro_batches, chunks)
            costs = replace(
                costs,
                forward={name: costs.forward[name] + more[name] for name in more},
                backward={name: costs.backward[name] + more[name] for name in more},
            )
        timeline = schedule(graph, placement, len(self.cluster), costs, rule)
        memory = self.memory(timeline.orders, graph, placement)
        over = tuple(d for d, used in enumerate(memory) if used > self.cluster.memory(d))
        # No device updates its parameters before all know the norm of all gradients.
        seconds = timeline.seconds + max(self._updates(placement))
        return Simulation(seconds, timeline.idle, memory, over, timeline)

    def graph(self, micro_batches: int, chunks: int) -> TaskGraph:
        """The tasks of a step."""
        key = micro_batches, chunks
        if key not in self._graphs:
            self._graphs[key] = TaskGraph(self.profile.infos, micro_batches, chunks)
        return self._graphs[key]

    def costs(self, micro_batches: int, chunks: int) -> ClusterCosts:
        """Seconds of its tasks, and bytes of its messages."""
        key = micro_batches, chunks
        if key not in self._costs:
            seconds: TaskCosts = self.profile.seconds(micro_batches, chunks)
            graph = self.graph(micro_batches, chunks)
            sizes = {
                name: layer.output_bytes / (micro_batches * graph.chunks_of(name))
                for name, layer in self.profile.layers.items()
            }
            draws = {name: layer.draw_seconds for name, layer in self.profile.layers.items()}
            self._costs[key] = ClusterCosts(
                seconds.forward, seconds.backward, sizes, first=draws, cluster=self.cluster
            )
        return self._costs[key]

    def memory(
        self, orders: Sequence[Sequence[Task]], graph: TaskGraph, placement: Mapping[str, int]
    ) -> tuple[float, ...]:
        """The most bytes that each device holds: its parameters with their gradients and Adam's
        state, and what forward tasks have kept for their backward tasks."""
        most = []
        for device, order in enumerate(orders):
            now = peak = STATE * self.parameter_bytes(device, placement)
            for task in order:
                kept = self.profile.layers[task.layer].kept_bytes
                size = kept / (graph.micro_batches * graph.chunks_of(task.layer))
                now += -size if task.backward else size
                peak = max(peak, now)
            most.append(peak)
        return tuple(most)

    def parameter_bytes(self, device: int, placement: Mapping[str, int]) -> float:
        """Of the layers on a device; those that share their parameters count once."""
        counted: set[str] = set()
        total = 0.0
        for name, layer in self.profile.layers.items():
            if placement[name] == device and not counted.intersection(layer.shares):
                total += layer.parameter_bytes
                counted.update((name, *layer.shares))
        return total

    def _updates(self, placement: Mapping[str, int]) -> list[float]:
        """Seconds of the optimizer's step on each device."""
        found = [0.0] * len(self.cluster)
        for name, device in placement.items():
            seconds = self.profile.layers[name].update_seconds
            found[device] += seconds / self.cluster.speeds[device]
        return found

    @cached_property
    def alone(self) -> float:
        """Seconds of a step on the fastest device alone, whatever its memory."""
        extra = sum(
            layer.draw_seconds + layer.update_seconds for layer in self.profile.layers.values()
        )
        return (sum(self.profile.whole().values()) + extra) / max(self.cluster.speeds)
