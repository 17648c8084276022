"""A plan: which layer runs on which device, and how a batch is split. Plain data, saved as JSON."""

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
    """Layer → device, and the granularity of its tasks."""

    graph: str = Field(description="Name of the graph of layers that this plan is for.")
    devices: list[str] = Field(min_length=1, description="Devices, such as cpu or cuda:0.")
    hosts: list[str] = Field(
        default_factory=list,
        description="The machine of each device, by any name; empty: all are on one machine.",
    )
    placement: dict[str, int] = Field(description="Layer → position in `devices`.")
    micro_batches: int = Field(
        default=1, ge=1, description="Micro-batches that a batch is split into."
    )
    chunks: int = Field(default=1, ge=1, description="Chunks that time is split into.")
    schedule: Literal["sequential", "gpipe", "1f1b", "wavefront"] = Field(
        default="sequential", description="Rule of the order of work, see nmt.placement.schedule."
    )
    tasks: list[list[str]] = Field(
        default_factory=list,
        description="Each device's tasks in order; empty: by the schedule, for each batch anew.",
    )
    costs: dict[str, float] = Field(
        default_factory=dict, description="Measured seconds of each layer, forward and backward."
    )
    forward_costs: dict[str, float] = Field(
        default_factory=dict, description="The forward part of them."
    )
    seconds: float | None = Field(default=None, description="Predicted seconds of a step.")
    memory: list[float] = Field(default_factory=list, description="Predicted bytes of each device.")

    @model_validator(mode="after")
    def _hosts_fit(self) -> Plan:
        if self.hosts and len(self.hosts) != len(self.devices):
            raise ValueError(
                f"`hosts` must name a machine for each of {len(self.devices)} devices, or none, "
                f"but names {len(self.hosts)} instead."
            )
        return self

    def device_of(self, layer: str) -> str:
        """The device that runs `layer`."""
        return self.devices[self.placement[layer]]

    def host_of(self, device: int) -> str:
        """The machine of a device, by its position; "" where all are on one machine."""
        return self.hosts[device] if self.hosts else ""

    def require_one_host(self) -> None:
        """Check that one machine has all devices.

        Raises:
            PlanError: they are on several.
        """
        if len(hosts := sorted(set(self.hosts))) > 1:
            raise PlanError(
                f"The plan must have all its devices on one machine to be run from here, but has "
                f"them on {', '.join(hosts)}; start a process for each device with torchrun."
            )

    def validate_against(self, graph: str, layers: Sequence[str]) -> None:
        """Check that every layer of the graph has a device.

        Raises:
            PlanError: naming the layer or device that does not fit.
        """
        if self.graph != graph:
            raise PlanError(
                f"The plan must be for `{graph}`, but is for `{self.graph}` instead; "
                "make a new one."
            )
        missing = [layer for layer in layers if layer not in self.placement]
        unknown = [layer for layer in self.placement if layer not in set(layers)]
        if missing or unknown:
            problem = f"gives `{missing[0]}` no device" if missing else f"names `{unknown[0]}`"
            raise PlanError(f"The plan must place each layer of `{graph}` once, but {problem}.")
        for layer, device in self.placement.items():
            if not 0 <= device < len(self.devices):
                raise PlanError(
                    f"The plan must put `{layer}` on one of its {len(self.devices)} devices, "
                    f"but puts it on number {device} instead."
                )
        self._check_costs(layers)
        if idle := set(range(len(self.devices))) - set(self.placement.values()):
            raise PlanError(
                f"The plan must give each of its {len(self.devices)} devices a layer, "
                f"but number {min(idle)} has none."
            )

    def _check_costs(self, layers: Sequence[str]) -> None:
        """Costs are of one unit, seconds: those of some layers cannot stand beside guesses."""
        for field in ("costs", "forward_costs"):
            costs: dict[str, float] = getattr(self, field)
            missing = [layer for layer in layers if layer not in costs]
            if costs and missing:
                raise PlanError(
                    f"The plan's `{field}` must have seconds for every layer, or be empty, but "
                    f"have none for `{missing[0]}`; make the plan anew with `nmt-place`."
                )

    def orders(
        self, layers: Layers, factors: Sequence[Mapping[str, float]] = ()
    ) -> list[list[Task]]:
        """Each device's tasks of a training step, in order, for micro-batches whose work differs
        by `factors` (see `Costs`).

        Raises:
            PlanError: what is written in the plan is not a task.
        """
        if self.tasks:
            return [[Task.parse(text) for text in order] for order in self.tasks]
        return self._scheduled(TaskGraph(layers, self.micro_batches, self.chunks), factors)

    def forward_orders(self, layers: Layers) -> list[list[Task]]:
        """Each device's tasks of a validation step: forward alone, time in one piece."""
        return self._scheduled(TaskGraph(layers, self.micro_batches, 1, training=False), ())

    def _scheduled(
        self, graph: TaskGraph, factors: Sequence[Mapping[str, float]]
    ) -> list[list[Task]]:
        rule = "1f1b" if self.schedule == "sequential" else self.schedule
        costs = replace(task_costs(self.costs, self.forward_costs, graph), factors=factors)
        timeline = schedule(graph, self.placement, len(self.devices), costs, rule)
        return [list(order) for order in timeline.orders]

    def stages(self, layers: Sequence[str]) -> list[list[str]]:
        """The layers of each device, where each device has one contiguous run of `layers`.

        Raises:
            PlanError: the plan is not contiguous, or leaves a device without layers.
        """
        order = [self.placement[layer] for layer in layers]
        if not self.is_contiguous(layers):
            raise PlanError(
                "A plan for `parallel.executor=deepspeed` must give each device one contiguous run "
                "of layers, in the devices' order, but this one does not."
            )
        return [
            [layer for layer, d in zip(layers, order, strict=True) if d == device]
            for device in range(len(self.devices))
        ]

    def is_contiguous(self, layers: Sequence[str]) -> bool:
        """Whether each device has one run of `layers`, in the devices' order."""
        order = [self.placement[layer] for layer in layers]
        return order == sorted(order) and set(order) == set(range(len(self.devices)))

    def table(self) -> str:
        """The plan for people: a line for each device."""
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
        """Write JSON."""
        file.write_text(json.dumps(self.model_dump(mode="json"), indent=2) + "\n", "utf-8")

    @classmethod
    def load(cls, file: Path | str) -> Plan:
        """Read JSON.

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
    """Seconds of tasks from those of whole layers. Without any, all layers take one unit of time.
    Without forward ones, backward takes twice as long as forward."""
    whole = costs or dict.fromkeys(graph.layers, 1.0)
    forward = forward_costs or {layer: whole[layer] / 3 for layer in graph.layers}
    chunks = {layer: graph.chunks_of(layer) for layer in graph.layers}
    return Costs(
        {layer: forward[layer] / chunks[layer] for layer in graph.layers},
        {layer: (whole[layer] - forward[layer]) / chunks[layer] for layer in graph.layers},
    )


def single_device(graph: str, layers: Sequence[str], device: str, micro_batches: int = 1) -> Plan:
    """All layers on one device."""
    return Plan(
        graph=graph,
        devices=[device],
        placement=dict.fromkeys(layers, 0),
        micro_batches=micro_batches,
    )


def contiguous(
    graph: str, costs: Mapping[str, float], devices: Sequence[str], micro_batches: int
) -> Plan:
    """One contiguous run of layers for each device, the costliest run as cheap as possible.

    `costs` are seconds of each layer, in the graph's order. Exact: dynamic programming over
    (layers done, devices used).

    Raises:
        PlanError: fewer layers than devices.
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
    """Layer → device: one run of layers for each device, the costliest as cheap as possible.

    Raises:
        PlanError: fewer layers than devices.
    """
    layers = list(costs)
    bounds = balanced_bounds(list(costs.values()), devices)
    return {
        layer: device
        for device, (first, end) in enumerate(itertools.pairwise(bounds))
        for layer in layers[first:end]
    }


def balanced_bounds(costs: Sequence[float], parts: int) -> list[int]:
    """Positions 0 = b₀ < b₁ < … < b_parts = n that make the largest part's sum least.

    Raises:
        PlanError: fewer costs than parts.
    """
    n = len(costs)
    if parts > n:
        raise PlanError(
            f"`parallel.stages` must be at most {n}, the number of layers, but is {parts} instead."
        )
    sums = [0.0, *itertools.accumulate(costs)]
    return best_partitions(n, parts, lambda i, j, _: sums[j] - sums[i])[-1].bounds
