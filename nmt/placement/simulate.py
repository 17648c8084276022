"""Simulating a training step of a plan: its duration, idle time and memory.

A discrete-event simulation: a device runs one task at a time, in the order given by the schedule's
rule, and a task can start when all of its inputs have arrived. A message leaves when its task ends,
and takes the link's latency plus its size divided by the bandwidth. Messages do not delay one
another; where a device's own cores carry them (`Profile.message_overhead`), tasks that send or
receive take longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from nmt.placement.cluster import Cluster
from nmt.placement.cost import Profile, TaskCosts
from nmt.placement.schedule import Costs, Rule, Timeline, schedule
from nmt.placement.tasks import Task, TaskGraph


@dataclass(frozen=True)
class ClusterCosts(Costs):
    """Seconds of tasks and messages on devices that may differ. Here, `message` is in bytes."""

    cluster: Cluster = field(kw_only=True)

    def of(self, task: Task, device: int = 0) -> float:
        """Seconds of `task` on a device."""
        return super().of(task) / self.cluster.speeds[device]

    def delay(self, layer: str, sender: int, receiver: int) -> float:
        """Seconds that one chunk of a layer's output, or its gradient, travels."""
        return self.cluster.transfer(self.message[layer], sender, receiver)


@dataclass(frozen=True)
class Simulation:
    """The result of simulating a step."""

    seconds: float
    idle: float  # fraction of the devices' total time
    memory: tuple[float, ...]  # peak memory of each device, in bytes
    over_memory: tuple[int, ...]  # devices whose memory is exceeded
    timeline: Timeline

    @property
    def feasible(self) -> bool:
        """Whether the step fits into the memory of all devices."""
        return not self.over_memory


class Simulator:
    """Simulates plans of one graph on one cluster. Task graphs and costs are cached by granularity,
    so that evaluating many plans is cheap."""

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
        """Simulate one step. `factors` is the relative work of each micro-batch (see `Costs`)."""
        graph = self.graph(micro_batches, chunks)
        costs = self.costs(micro_batches, chunks)
        if factors:
            costs = replace(costs, factors=factors)
        if self.profile.message_overhead:
            extra = self.profile.message_seconds(placement, micro_batches, chunks)
            costs = replace(
                costs,
                forward={name: costs.forward[name] + extra[name] for name in extra},
                backward={name: costs.backward[name] + extra[name] for name in extra},
            )
        timeline = schedule(graph, placement, len(self.cluster), costs, rule)
        memory = self.memory(timeline.orders, graph, placement)
        over_memory = tuple(d for d, used in enumerate(memory) if used > self.cluster.memory(d))
        # Updates begin when all devices are done, since they need the norm of all gradients.
        seconds = timeline.seconds + max(self._updates(placement))
        return Simulation(seconds, timeline.idle, memory, over_memory, timeline)

    def graph(self, micro_batches: int, chunks: int) -> TaskGraph:
        """The tasks of a step at a granularity."""
        key = micro_batches, chunks
        if key not in self._graphs:
            self._graphs[key] = TaskGraph(self.profile.infos, micro_batches, chunks)
        return self._graphs[key]

    def costs(self, micro_batches: int, chunks: int) -> ClusterCosts:
        """Seconds of tasks and bytes of messages at a granularity."""
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
        """Peak memory of each device in bytes: parameters, gradients, Adam's state and the average,
        and what forward tasks have kept for their backward tasks."""
        peaks = []
        for device, order in enumerate(orders):
            now = peak = self.profile.state_factor * self.parameter_bytes(device, placement)
            for task in order:
                kept = self.profile.layers[task.layer].kept_bytes
                size = kept / (graph.micro_batches * graph.chunks_of(task.layer))
                now += -size if task.backward else size
                peak = max(peak, now)
            peaks.append(peak)
        return tuple(peaks)

    def parameter_bytes(self, device: int, placement: Mapping[str, int]) -> float:
        """Bytes of the parameters on a device; shared ones are counted once."""
        counted: set[str] = set()
        total = 0.0
        for name, layer in self.profile.layers.items():
            if placement[name] == device and not counted.intersection(layer.shares):
                total += layer.parameter_bytes
                counted.update((name, *layer.shares))
        return total

    def _updates(self, placement: Mapping[str, int]) -> list[float]:
        """Seconds of the optimizer's update on each device."""
        seconds = [0.0] * len(self.cluster)
        for name, device in placement.items():
            update = self.profile.layers[name].update_seconds
            seconds[device] += update / self.cluster.speeds[device]
        return seconds

    @cached_property
    def single_device_seconds(self) -> float:
        """Seconds of a step on the fastest device alone, regardless of its memory."""
        extra = sum(
            layer.draw_seconds + layer.update_seconds for layer in self.profile.layers.values()
        )
        return (sum(self.profile.layer_seconds().values()) + extra) / max(self.cluster.speeds)
