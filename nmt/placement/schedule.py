"""Schedules: which device runs which task when. A simulation lets each idle device choose its next
task by one of three rules, so that the resulting order can never deadlock, and predicts how long a
step takes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nmt.placement.tasks import Task, TaskGraph

Rule = Literal["gpipe", "1f1b", "wavefront"]


@dataclass(frozen=True)
class Costs:
    """Seconds of tasks and messages, by layer."""

    forward: Mapping[str, float]  # one forward task
    backward: Mapping[str, float]  # one backward task
    message: Mapping[str, float] = field(default_factory=dict)  # one chunk's output or gradient
    # Relative work of each micro-batch, by layer; empty if all micro-batches have the same size.
    factors: Sequence[Mapping[str, float]] = ()
    first: Mapping[str, float] = field(default_factory=dict)  # extra time of a layer's first task

    def of(self, task: Task, device: int = 0) -> float:  # noqa: ARG002 - devices are identical here
        """Seconds of `task`."""
        seconds = (self.backward if task.backward else self.forward)[task.layer]
        if self.factors:
            seconds *= self.factors[task.micro_batch][task.layer]
        first = not (task.micro_batch or task.chunk or task.backward)
        return seconds + self.first.get(task.layer, 0.0) if first else seconds

    def delay(self, layer: str, sender: int, receiver: int) -> float:
        """Seconds that a layer's output, or its gradient, takes from one device to another."""
        return 0.0 if sender == receiver else self.message.get(layer, 0.0)


@dataclass(frozen=True)
class Timeline:
    """A simulated step: when each device runs each task."""

    orders: tuple[tuple[Task, ...], ...]  # tasks of each device
    start: Mapping[Task, float]  # seconds since the step began
    end: Mapping[Task, float]

    @property
    def seconds(self) -> float:
        """Duration: the time at which the last task ends."""
        return max(self.end.values())

    @property
    def idle(self) -> float:
        """Fraction of the devices' total time in which they are idle."""
        busy = sum(self.end[task] - start for task, start in self.start.items())
        return 1 - busy / (self.seconds * len(self.orders))


def schedule(
    graph: TaskGraph,
    placement: Mapping[str, int],
    devices: int,
    costs: Costs,
    rule: Rule,
    in_flight: int | None = None,
) -> Timeline:
    """Simulate a step in which an idle device takes the most urgent task that is ready.

    - `gpipe`: all forward tasks of a device first, then all backward tasks in reverse order.
    - `1f1b`: backward tasks first, with at most `in_flight` micro-batches (by default as many as
      devices) in flight, which limits memory.
    - `wavefront`: the oldest micro-batch first, and among its tasks the one with the longest chain
      of work that depends on it (critical path).
    """
    simulation = _Simulation(graph, placement, devices, costs)
    match rule:
        case "gpipe":
            return simulation.run(_mirrored(graph), simulation.forward_first)
        case "1f1b":
            simulation.limit = in_flight or devices
            return simulation.run(_backward_first(graph), simulation.within_limit)
        case "wavefront":
            return simulation.run(_critical_path(graph, placement, costs), lambda _: True)


Urgency = Mapping[Task, tuple[float, ...]]  # sort keys; the least is the most urgent


def _places(graph: TaskGraph) -> dict[Task, int]:
    return {task: place for place, task in enumerate(graph.tasks)}


def _mirrored(graph: TaskGraph) -> Urgency:
    places = _places(graph)
    return {
        task: (-places[task._replace(backward=False)] if task.backward else place,)
        for task, place in places.items()
    }


def _backward_first(graph: TaskGraph) -> Urgency:
    places = _places(graph)
    return {
        task: (
            not task.backward,
            task.micro_batch,
            -places[task._replace(backward=False)] if task.backward else place,
        )
        for task, place in places.items()
    }


def _critical_path(graph: TaskGraph, placement: Mapping[str, int], costs: Costs) -> Urgency:
    remaining: dict[Task, float] = {}  # seconds of the longest chain that starts with the task
    urgency: dict[Task, tuple[float, ...]] = {}
    count = len(graph.tasks)
    # Tasks are in topological order, so that in reverse all dependents come before a task.
    for place, task in zip(range(count - 1, -1, -1), reversed(graph.tasks), strict=True):
        longest = max((remaining[dependent] for dependent in graph.dependents[task]), default=0.0)
        remaining[task] = longest + costs.of(task, placement[task.layer])
        urgency[task] = task.micro_batch, -remaining[task], place
    return urgency


class _Simulation:
    """Simulates devices that run one task at a time, while messages travel in the background."""

    def __init__(
        self, graph: TaskGraph, placement: Mapping[str, int], devices: int, costs: Costs
    ) -> None:
        self._graph, self._placement, self._costs = graph, placement, costs
        self._devices = devices
        self.limit = graph.micro_batches
        self._forward_left = [0] * devices
        self._left_of = [0] * graph.micro_batches  # unfinished tasks of each micro-batch
        for task in graph.tasks:
            self._forward_left[placement[task.layer]] += not task.backward
            self._left_of[task.micro_batch] += 1
        self._first = 0  # the first micro-batch that is not finished

    def forward_first(self, task: Task) -> bool:
        """Whether the task is a forward task, or its device has done all of its forward tasks."""
        return not task.backward or not self._forward_left[self._placement[task.layer]]

    def within_limit(self, task: Task) -> bool:
        """Whether the task's micro-batch may be in flight."""
        return task.micro_batch < self._first + self.limit

    def run(self, urgency: Urgency, allowed: Callable[[Task], bool]) -> Timeline:
        """Simulate until all tasks are done."""
        graph, place = self._graph, self._placement
        missing, dependents = dict(graph.needed), graph.dependents
        arrival = dict.fromkeys(graph.tasks, 0.0)
        ready: list[list[tuple[tuple[float, ...], Task]]] = [[] for _ in range(self._devices)]
        free = [True] * self._devices
        orders: list[list[Task]] = [[] for _ in range(self._devices)]
        start: dict[Task, float] = {}
        end: dict[Task, float] = {}
        # Events in order of time: a task becomes ready (0) or ends (1).
        events = [(0.0, 0, task) for task, count in missing.items() if not count]
        heapq.heapify(events)
        while events:
            now = events[0][0]
            while events and events[0][0] == now:
                _, kind, task = heapq.heappop(events)
                if kind == 0:
                    heapq.heappush(ready[place[task.layer]], (urgency[task], task))
                    continue
                free[place[task.layer]] = True
                self._finish(task)
                here = place[task.layer]
                for after in dependents[task]:
                    # A gradient has the size of the output of the layer that receives it.
                    sent = after.layer if after.backward and task.backward else task.layer
                    delay = self._costs.delay(sent, here, place[after.layer])
                    arrival[after] = max(arrival[after], now + delay)
                    missing[after] -= 1
                    if not missing[after]:
                        heapq.heappush(events, (arrival[after], 0, after))
            for device in range(self._devices):
                task_or_none = _take(ready[device], allowed) if free[device] else None
                if task_or_none is not None:
                    free[device] = False
                    orders[device].append(task_or_none)
                    start[task_or_none] = now
                    end[task_or_none] = now + self._costs.of(task_or_none, device)
                    heapq.heappush(events, (end[task_or_none], 1, task_or_none))
        assert len(end) == len(graph.tasks), "a rule held a task back forever"
        return Timeline(tuple(map(tuple, orders)), start, end)

    def _finish(self, task: Task) -> None:
        self._forward_left[self._placement[task.layer]] -= not task.backward
        self._left_of[task.micro_batch] -= 1
        while self._first < len(self._left_of) and not self._left_of[self._first]:
            self._first += 1


def _take(
    ready: list[tuple[tuple[float, ...], Task]], allowed: Callable[[Task], bool]
) -> Task | None:
    """Remove and return the most urgent task that is allowed; None if there is none."""
    kept, taken = [], None
    while ready and taken is None:
        entry = heapq.heappop(ready)
        if allowed(entry[1]):
            taken = entry[1]
        else:
            kept.append(entry)
    for entry in kept:
        heapq.heappush(ready, entry)
    return taken
