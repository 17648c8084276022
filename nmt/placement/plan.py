"""Plans: the device of each layer, and how a batch is split. Plain data, saved as JSON."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from nmt.config import Settings, read
from nmt.errors import ConfigurationError, PlanError
from nmt.placement.partitions import best_partitions
from nmt.placement.schedule import Costs, schedule
from nmt.placement.tasks import Layers, Task, TaskGraph


class Plan(Settings):
    """The device of each layer, the granularity of tasks, and the order in which they run."""

    graph: str = Field(description="Name of the graph of layers that the plan is for.")
    devices: list[str] = Field(min_length=1, description="Devices, such as cpu or cuda:0.")
    hosts: list[str] = Field(
        default_factory=list,
        description=(
            "Name of each device's machine, chosen freely; empty if all are on one machine."
        ),
    )
    placement: dict[str, int] = Field(description="Layer → position in `devices`.")
    micro_batches: int = Field(
        default=1, ge=1, description="Number of micro-batches that a batch is split into."
    )
    chunks: int = Field(
        default=1, ge=1, description="Number of chunks that a time axis is split into."
    )
    schedule: Literal["sequential", "gpipe", "1f1b", "wavefront"] = Field(
        default="sequential",
        description="Rule by which tasks are ordered, see nmt.placement.schedule.",
    )
    tasks: list[list[str]] = Field(
        default_factory=list,
        description=(
            "Tasks of each device, in order; empty if they are scheduled anew for each batch."
        ),
    )
    costs: dict[str, float] = Field(
        default_factory=dict,
        description="Measured seconds of each layer for a batch, forward and backward.",
    )
    forward_costs: dict[str, float] = Field(
        default_factory=dict, description="The forward part of `costs`."
    )
    seconds: float | None = Field(default=None, description="Predicted seconds of a step.")
    memory: list[float] = Field(
        default_factory=list, description="Predicted memory of each device, in bytes."
    )

    @model_validator(mode="after")
    def _hosts_fit(self) -> Plan:
        if self.hosts and len(self.hosts) != len(self.devices):
            raise ValueError(
                f"`hosts` must be empty or name a machine for each of {len(self.devices)} devices, "
                f"but names {len(self.hosts)} instead."
            )
        return self

    def device_of(self, layer: str) -> str:
        """The device that runs `layer`."""
        return self.devices[self.placement[layer]]

    def host_of(self, device: int) -> str:
        """The machine of the device at a position; empty if all are on one machine."""
        return self.hosts[device] if self.hosts else ""

    def require_one_host(self) -> None:
        """Check that all devices are on one machine.

        Raises:
            PlanError: they are on several machines.
        """
        if len(hosts := sorted(set(self.hosts))) > 1:
            raise PlanError(
                f"The plan must have all its devices on one machine for a command to start the "
                f"processes itself, but has them on {', '.join(hosts)}; start a process for each "
                "device with torchrun."
            )

    def validate_against(self, graph: str, layers: Sequence[str]) -> None:
        """Check that every layer of the graph has a device, and every device a layer.

        Raises:
            PlanError: the plan does not fit; the message names the layer or device.
        """
        if self.graph != graph:
            raise PlanError(
                f"The plan must be for `{graph}`, but is for `{self.graph}` instead; "
                "make a new one."
            )
        missing = [layer for layer in layers if layer not in self.placement]
        unknown = [layer for layer in self.placement if layer not in set(layers)]
        if missing or unknown:
            problem = (
                f"does not place `{missing[0]}`"
                if missing
                else f"places `{unknown[0]}`, which is not one of them"
            )
            raise PlanError(
                f"The plan must place exactly the layers of `{graph}`, but {problem}; "
                "make a new one."
            )
        for layer, device in self.placement.items():
            if not 0 <= device < len(self.devices):
                raise PlanError(
                    f"The plan must place `{layer}` on one of its {len(self.devices)} devices, "
                    f"numbered from 0, but places it on device {device} instead."
                )
        self._check_costs(layers)
        if idle := set(range(len(self.devices))) - set(self.placement.values()):
            raise PlanError(
                f"The plan must place a layer on each of its {len(self.devices)} devices, "
                f"but device {min(idle)} has none."
            )

    def _check_costs(self, layers: Sequence[str]) -> None:
        """Costs must be given for all layers or for none: measured seconds and the unit costs that
        replace missing ones cannot be compared."""
        for field in ("costs", "forward_costs"):
            costs: dict[str, float] = getattr(self, field)
            missing = [layer for layer in layers if layer not in costs]
            if costs and missing:
                raise PlanError(
                    f"The plan's `{field}` must have seconds for every layer, or be empty, but "
                    f"have none for `{missing[0]}`; make a new plan with `nmt-place`."
                )

    def orders(
        self, layers: Layers, factors: Sequence[Mapping[str, float]] = ()
    ) -> list[list[Task]]:
        """The tasks of each device in a training step, in order. `factors` is the relative work of
        each micro-batch (see `Costs`); a plan with `tasks` ignores it.

        Raises:
            PlanError: one of the plan's `tasks` is not a task.
        """
        if self.tasks:
            return [[Task.parse(text) for text in order] for order in self.tasks]
        return self._scheduled(TaskGraph(layers, self.micro_batches, self.chunks), factors)

    def forward_orders(self, layers: Layers) -> list[list[Task]]:
        """The tasks of each device in a validation step, in order: forward only, and with time in
        a single chunk."""
        return self._scheduled(TaskGraph(layers, self.micro_batches, 1, training=False), ())

    def _scheduled(
        self, graph: TaskGraph, factors: Sequence[Mapping[str, float]]
    ) -> list[list[Task]]:
        rule = "1f1b" if self.schedule == "sequential" else self.schedule
        costs = replace(task_costs(self.costs, self.forward_costs, graph), factors=factors)
        timeline = schedule(graph, self.placement, len(self.devices), costs, rule)
        return [list(order) for order in timeline.orders]

    def stages(self, layers: Sequence[str]) -> list[list[str]]:
        """The layers of each device of a contiguous plan (see `is_contiguous`).

        Raises:
            PlanError: the plan is not contiguous, or a device has no layers.
        """
        order = [self.placement[layer] for layer in layers]
        if not self.is_contiguous(layers):
            raise PlanError(
                "A plan for `parallel.executor=deepspeed` must give each device one contiguous run "
                "of layers, in the order of the devices, but this one does not."
            )
        return [
            [layer for layer, d in zip(layers, order, strict=True) if d == device]
            for device in range(len(self.devices))
        ]

    def is_contiguous(self, layers: Sequence[str]) -> bool:
        """Whether each device has one contiguous run of `layers`, in the order of the devices."""
        order = [self.placement[layer] for layer in layers]
        return order == sorted(order) and set(order) == set(range(len(self.devices)))

    def table(self) -> str:
        """The plan as text to read, with a line for each device."""
        lines = [f"{self.graph}: {self.micro_batches} micro-batches, {self.schedule}"]
        total = sum(self.costs.values())
        for i, device in enumerate(self.devices):
            layers = [layer for layer, place in self.placement.items() if place == i]
            share = sum(self.costs.get(layer, 0.0) for layer in layers)
            cost = f" {share / total:4.0%} of the time" if total else ""
            memory = f" {self.memory[i] / 1e6:.0f} MB" if self.memory else ""
            host = f"{self.hosts[i]} " if self.hosts else ""
            lines.append(f"  {i} {host}{device}:{cost}{memory} {' '.join(layers)}")
        if self.seconds is not None:
            lines.append(f"  predicted: {1e3 * self.seconds:.1f} ms a step")
        return "\n".join(lines)

    def save(self, file: Path) -> None:
        """Write the plan as JSON."""
        file.write_text(json.dumps(self.model_dump(mode="json"), indent=2) + "\n", "utf-8")

    @classmethod
    def load(cls, file: Path | str) -> Plan:
        """Read a plan from JSON.

        Raises:
            PlanError: the file is missing or not a plan.
        """
        try:
            values: Any = json.loads(Path(file).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise PlanError(f"`{file}` must be a plan, but there is no such file.") from None
        except OSError as error:
            raise PlanError(f"`{file}` must be a plan, but cannot be read: {error}") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise PlanError(f"`{file}` must be a plan in JSON, but is not: {error}") from None
        if not isinstance(values, dict):
            raise PlanError(f"`{file}` must be a plan, but holds {values!r} instead.")
        try:
            return read(cls, values)
        except ConfigurationError as error:
            raise PlanError(f"`{file}` is not a plan: {error}") from None


def task_costs(
    costs: Mapping[str, float], forward_costs: Mapping[str, float], graph: TaskGraph
) -> Costs:
    """The costs of tasks from those of layers. Without `costs`, every layer takes one unit of time;
    without `forward_costs`, the backward pass takes twice as long as the forward pass."""
    total = costs or dict.fromkeys(graph.layers, 1.0)
    forward = forward_costs or {layer: total[layer] / 3 for layer in graph.layers}
    chunks = {layer: graph.chunks_of(layer) for layer in graph.layers}
    return Costs(
        {layer: forward[layer] / chunks[layer] for layer in graph.layers},
        {layer: (total[layer] - forward[layer]) / chunks[layer] for layer in graph.layers},
    )


def single_device(graph: str, layers: Sequence[str], device: str, micro_batches: int = 1) -> Plan:
    """A plan with all layers on one device."""
    return Plan(
        graph=graph,
        devices=[device],
        placement=dict.fromkeys(layers, 0),
        micro_batches=micro_batches,
    )


def contiguous(
    graph: str, costs: Mapping[str, float], devices: Sequence[str], micro_batches: int
) -> Plan:
    """A plan with one contiguous run of layers for each device, in which the costliest run is as
    cheap as possible. `costs` are the seconds of each layer, in the graph's order.

    Raises:
        PlanError: there are fewer layers than devices.
    """
    return Plan(
        graph=graph,
        devices=list(devices),
        placement=contiguous_stages(costs, len(devices)),
        micro_batches=micro_batches,
        schedule="1f1b" if len(devices) > 1 else "sequential",
        costs=dict(costs),
    )


def contiguous_stages(costs: Mapping[str, float], devices: int) -> dict[str, int]:
    """Layer → device, as in `contiguous`.

    Raises:
        PlanError: there are fewer layers than devices.
    """
    layers = list(costs)
    bounds = balanced_bounds(list(costs.values()), devices)
    return {
        layer: device
        for device, (first, end) in enumerate(itertools.pairwise(bounds))
        for layer in layers[first:end]
    }


def balanced_bounds(costs: Sequence[float], parts: int) -> list[int]:
    """Bounds 0 = b₀ < b₁ < … < b_parts = n of the partition of n costs whose largest sum is least.

    Raises:
        PlanError: there are fewer costs than parts.
    """
    n = len(costs)
    if parts > n:
        raise PlanError(
            f"`parallel.stages` must be at most {n}, the number of layers, but is {parts} instead."
        )
    sums = [0.0, *itertools.accumulate(costs)]
    return best_partitions(n, parts, lambda i, j, _: sums[j] - sums[i])[-1].bounds
