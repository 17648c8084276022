"""Placements that an expert would choose, and the fastest of them by simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from nmt.errors import PlanError
from nmt.placement.plan import Plan, contiguous_runs, task_costs
from nmt.placement.schedule import Rule, schedule
from nmt.placement.tasks import Layers, TaskGraph


def folded(layers: Layers, costs: Mapping[str, float], devices: int) -> dict[str, int]:
    """GNMT's placement (Wu et al. 2016, section 3.2): the i-th part of the encoder and the i-th
    part of the decoder on one device, so that all devices work while the encoder runs, and again
    while the decoder does.

    Raises:
        PlanError: a side has fewer layers than there are devices.
    """
    sides: dict[str, dict[str, float]] = {}
    for name, info in layers.items():
        sides.setdefault(info.axis, {})[name] = costs[name]
    return {
        name: device
        for side in sides.values()
        for name, device in contiguous_runs(side, devices).items()
    }


def fastest(
    graph: str,
    layers: Layers,
    costs: Mapping[str, float],
    forward_costs: Mapping[str, float],
    devices: Sequence[str],
    micro_batches: int,
    chunks: int,
    rule: Rule,
) -> Plan:
    """The expert's placement whose step is the shortest in simulation.

    Raises:
        PlanError: fewer layers than devices.
    """
    tasks = TaskGraph(layers, micro_batches, chunks)
    seconds = task_costs(costs, forward_costs, tasks)
    placements = [contiguous_runs(costs, len(devices))]
    with suppress(PlanError):  # more devices than layers of a side
        placements.append(folded(layers, costs, len(devices)))
    timelines = [schedule(tasks, one, len(devices), seconds, rule) for one in placements]
    best = min(range(len(placements)), key=lambda i: timelines[i].seconds)
    return Plan(
        graph=graph,
        devices=list(devices),
        placement=placements[best],
        micro_batches=micro_batches,
        chunks=chunks,
        schedule=rule,
        tasks=[[str(task) for task in order] for order in timelines[best].orders],
        costs=dict(costs),
        forward_costs=dict(forward_costs),
    )
