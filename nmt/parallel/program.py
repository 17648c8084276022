"""What all devices of a plan do in one kind of step: their orders of work, and their messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nmt.model.batch import Batch
from nmt.parallel.measure import size_of
from nmt.parallel.messages import traffic
from nmt.placement.tasks import Layers, Task, TaskGraph, amount_of_work


class Program:
    """The tasks of a step, each device's order of them, and what they send to one another."""

    def __init__(
        self, tasks: TaskGraph, placement: Mapping[str, int], orders: Sequence[Sequence[Task]]
    ) -> None:
        self.tasks, self.orders = tasks, orders
        self.traffic = traffic(tasks, placement, orders)

    def sequence(self, devices: Sequence[int]) -> list[tuple[int, Task]]:
        """The tasks of some devices that one process drives, in an order in which it can launch
        them: each device its own order, and nothing before what it needs."""
        if len(devices) == 1:
            return [(devices[0], task) for task in self.orders[devices[0]]]
        merged: list[tuple[int, Task]] = []
        done: set[Task] = set()
        left = {device: list(reversed(self.orders[device])) for device in devices}
        while any(left.values()):
            for device, tasks in left.items():
                if tasks and done.issuperset(self.tasks.needs(tasks[-1])):
                    done.add(tasks[-1])
                    merged.append((device, tasks.pop()))
        return merged


def work_factors(layers: Layers, micro_batches: Sequence[Batch]) -> list[dict[str, float]]:
    """Of each micro-batch: how much more work it is for each layer than the mean."""
    works = [amount_of_work(layers, size_of(one)) for one in micro_batches]
    means = {name: sum(work[name] for work in works) / len(works) for name in layers}
    return [{name: work[name] / means[name] for name in layers} for work in works]
