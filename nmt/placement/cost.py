"""Profiles: the time and memory of every layer, and the layers that it reads.

A profile is either measured on the present device by `nmt-place mode=profile`, for each granularity
(number of micro-batches and chunks), or read from a file in PipeDream's format (`graph.txt`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from nmt.config import NonNegativeFloat, PositiveInt, Settings, Text, read
from nmt.errors import ConfigurationError, PlanError
from nmt.placement.tasks import LayerInfo, Layers, amount_of_work

# Bytes of memory for each byte of parameters in training: the parameters, their gradients, and
# Adam's two moments.
STATE_FACTOR = 4
MILLISECONDS = 1e-3


# Tasks of smaller batches are computed less efficiently, or a little more where all of their data
# fit into a cache, but never that much.
PLAUSIBLE = 1.5


class LayerCost(Settings):
    """The costs of a layer that do not depend on the granularity. Bytes are for a whole batch."""

    kind: Text = Field(description="Type of the layer, such as LSTM.")
    inputs: list[str] = Field(description="Names of the layers that it reads.")
    axis: Text = Field(description="Time axis of its output.")
    chunkable: bool = Field(description="Whether it can run chunk by chunk along that axis.")
    output_bytes: NonNegativeFloat = Field(
        description="Size of its output, which is sent to layers on other devices."
    )
    kept_bytes: NonNegativeFloat = Field(
        description="Memory that it keeps for its backward pass, its inputs included."
    )
    parameter_bytes: NonNegativeFloat = Field(description="Size of its parameters.")
    draw_seconds: NonNegativeFloat = Field(
        default=0.0,
        description=(
            "Time to draw its dropout masks for a whole batch, which is part of its first task."
        ),
    )
    update_seconds: NonNegativeFloat = Field(
        default=0.0, description="Time of the optimizer's update of its parameters."
    )
    shares: list[str] = Field(
        default=[],
        description=(
            "Layers with which it shares its parameters; a device that has several of them stores "
            "the parameters once."
        ),
    )


class TaskCosts(Settings):
    """Measured seconds of one task of each layer at one granularity."""

    micro_batches: PositiveInt
    chunks: PositiveInt
    forward: dict[str, NonNegativeFloat]
    backward: dict[str, NonNegativeFloat]
    size: dict[str, PositiveInt] = Field(
        default={},
        description=(
            "Size of the measured micro-batch, as `nmt.placement.tasks.amount_of_work` takes it; "
            "empty if unknown."
        ),
    )


class Profile(Settings):
    """The costs of all layers of a graph, in topological order."""

    graph: Text = Field(description="Name of the graph of layers.")
    device: Text = Field(description="Device that it was measured on.")
    precision: Text = Field(description="Number format of weights and activations.")
    batch: Text = Field(description="Shape of the batch, in words.")
    layers: dict[str, LayerCost] = Field(min_length=1)
    measurements: list[TaskCosts] = Field(
        min_length=1, description="One for each granularity; the first is the coarsest."
    )
    message_overhead: NonNegativeFloat = Field(
        default=0.0,
        description="Seconds of a device's own time that each byte sent or received costs it.",
    )
    state_factor: NonNegativeFloat = Field(
        default=STATE_FACTOR,
        description="Bytes of parameters, gradients, the optimizer's state and the running average "
        "for each byte of parameters.",
    )

    @property
    def infos(self) -> Layers:
        """Inputs, time axis and chunkability of each layer, from which tasks are derived."""
        return {
            name: LayerInfo(tuple(layer.inputs), layer.axis, layer.chunkable)
            for name, layer in self.layers.items()
        }

    def seconds(self, micro_batches: int, chunks: int) -> TaskCosts:
        """Seconds of one task of each layer. A granularity that was not measured is scaled from the
        nearest measured one, as if small tasks were computed as efficiently as large ones."""
        nearest = min(
            self.measurements,
            key=lambda costs: (
                abs(costs.micro_batches - micro_batches),
                abs(costs.chunks - chunks),
            ),
        )
        if (nearest.micro_batches, nearest.chunks) == (micro_batches, chunks):
            return nearest
        factors = {
            name: nearest.micro_batches
            / micro_batches
            * (nearest.chunks / chunks if layer.chunkable else 1.0)
            for name, layer in self.layers.items()
        }
        return TaskCosts(
            micro_batches=micro_batches,
            chunks=chunks,
            forward={name: nearest.forward[name] * factors[name] for name in self.layers},
            backward={name: nearest.backward[name] * factors[name] for name in self.layers},
        )

    def layer_seconds(self) -> dict[str, float]:
        """Seconds of each layer for a whole batch, forward and backward, from the first
        measurement."""
        forward, first = self.layer_forward_seconds(), self.measurements[0]
        counts = self._tasks(first.micro_batches, first.chunks)
        return {name: forward[name] + first.backward[name] * counts[name] for name in forward}

    def layer_forward_seconds(self) -> dict[str, float]:
        """The forward part of `layer_seconds`."""
        first = self.measurements[0]
        counts = self._tasks(first.micro_batches, first.chunks)
        return {name: first.forward[name] * counts[name] for name in self.layers}

    @property
    def disagreement(self) -> float:
        """How many times as long a step's tasks take at the coarsest granularity as at the one
        where they take the least. Beyond `PLAUSIBLE`, something else has used the machine during
        one of the measurements."""
        first, *others = (self.step_seconds(costs) for costs in self.measurements)
        return first / min([first, *others]) if first > 0 else 1.0

    def step_seconds(self, costs: TaskCosts) -> float:
        """Seconds of all tasks of a step."""
        counts = self._tasks(costs.micro_batches, costs.chunks)
        return sum((costs.forward[name] + costs.backward[name]) * counts[name] for name in counts)

    def carried_bytes(self, placement: Mapping[str, int]) -> dict[str, float]:
        """Bytes that each layer exchanges with other devices in the forward pass of a whole batch;
        the backward pass exchanges the same in the other direction. A device receives an output
        once, which counts for the first layer there that reads it."""
        carried = dict.fromkeys(self.layers, 0.0)
        sent: set[tuple[str, int]] = set()
        for name, layer in self.layers.items():
            receiver = placement[name]
            for source in layer.inputs:
                if placement[source] != receiver and (source, receiver) not in sent:
                    sent.add((source, receiver))
                    size = self.layers[source].output_bytes
                    carried[source] += size
                    carried[name] += size
        return carried

    def message_seconds(
        self, placement: Mapping[str, int], micro_batches: int, chunks: int
    ) -> dict[str, float]:
        """Seconds that messages add to each forward or backward task of each layer."""
        sizes, counts = self.carried_bytes(placement), self._tasks(micro_batches, chunks)
        return {name: self.message_overhead * sizes[name] / counts[name] for name in counts}

    def _tasks(self, micro_batches: int, chunks: int) -> dict[str, int]:
        """Number of forward tasks of each layer at a granularity."""
        return {
            name: micro_batches * (chunks if layer.chunkable else 1)
            for name, layer in self.layers.items()
        }

    def factors(
        self, micro_batches: int, chunks: int, sizes: Sequence[Mapping[str, int]]
    ) -> list[dict[str, float]]:
        """The work of each layer on micro-batches of the given sizes, relative to the micro-batch
        that was measured; one dictionary for each size.

        Raises:
            PlanError: the profile was not measured at this granularity, or lacks the size.
        """
        measured = self.seconds(micro_batches, chunks).size
        if not measured:
            raise PlanError(
                f"A profile must have been measured with {micro_batches} micro-batches and "
                f"{chunks} chunks to compare micro-batches by their sizes, but this one was not."
            )
        reference = amount_of_work(self.infos, measured)
        works = [amount_of_work(self.infos, size) for size in sizes]
        return [{name: work[name] / reference[name] for name in reference} for work in works]

    def save(self, file: Path) -> None:
        """Write the profile as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, file: Path) -> Profile:
        """Read a profile from JSON, or from PipeDream's format if the file's name ends in `.txt`.

        Raises:
            PlanError: the file is missing or not a profile.
        """
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"`{file}` must be a profile, but cannot be read: {error}") from None
        if file.suffix == ".txt":
            return from_pipedream(text, str(file))
        try:
            values: Any = json.loads(text)
            assert isinstance(values, dict)
            return read(cls, values)
        except (json.JSONDecodeError, AssertionError, ConfigurationError) as error:
            raise PlanError(f"`{file}` must be a profile in JSON, but is not: {error}") from None


NODE = re.compile(r"^(node\d+) -- (.*?) -- forward_compute_time=(.*)$")
NUMBERS = re.compile(r"[\d.]+(?:e[+-]?\d+)?")


def from_pipedream(text: str, name: str) -> Profile:
    """Parse a profile of PipeDream (Narayanan et al. 2019): one line for each operation, with
    milliseconds and bytes, and one indented line for each edge. Operations that take no time
    (inputs, elements of tuples) are kept, so that plans use the file's names.

    Raises:
        PlanError: a line is neither a node nor an edge, or the graph is not valid.
    """
    nodes, inputs = _parse_pipedream(text, name)
    order = _topological(list(nodes), inputs, name)
    return Profile(
        graph=Path(name).parent.name or name,
        device="as in the profile",
        precision="as in the profile",
        batch="as in the profile",
        layers={
            node: LayerCost(
                kind=nodes[node].kind,
                inputs=inputs.get(node, []),
                axis="whole",
                chunkable=False,
                output_bytes=nodes[node].activation,
                kept_bytes=sum(nodes[one].activation for one in (node, *inputs.get(node, []))),
                parameter_bytes=nodes[node].parameters,
            )
            for node in order
        },
        measurements=[
            TaskCosts(
                micro_batches=1,
                chunks=1,
                forward={node: nodes[node].forward * MILLISECONDS for node in order},
                backward={node: nodes[node].backward * MILLISECONDS for node in order},
            )
        ],
    )


class _Operation(NamedTuple):
    """A node of PipeDream's format. Milliseconds and bytes."""

    kind: str
    forward: float
    backward: float
    activation: float
    parameters: float


def _parse_pipedream(text: str, name: str) -> tuple[dict[str, _Operation], dict[str, list[str]]]:
    """The nodes by name, and the nodes that each one reads."""
    nodes: dict[str, _Operation] = {}
    inputs: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if line.startswith("\t"):
            source, _, reader = line.strip().partition(" -- ")
            inputs.setdefault(reader, []).append(source)
        elif node := NODE.match(line):
            fields = [NUMBERS.findall(part) for part in ("=" + node[3]).split("=")[1:]]
            if len(fields) != 4 or not all(fields):
                raise PlanError(
                    f"`{name}`, line {number}, must have four figures, as in "
                    "`forward_compute_time=…, backward_compute_time=…, activation_size=…, "
                    "parameter_size=…`."
                )
            kind = node[2].strip().split("(")[0]
            nodes[node[1]] = _Operation(kind, *(sum(map(float, field)) for field in fields))
        else:
            raise PlanError(f"`{name}`, line {number}, must be a node or an edge of a graph.")
    if not nodes:
        raise PlanError(f"`{name}` must be a profile, but has no node.")
    for reader, sources in inputs.items():
        for node_name in (reader, *sources):
            if node_name not in nodes:
                raise PlanError(f"`{name}`: an edge names `{node_name}`, which is not a node.")
    return nodes, inputs


def _topological(nodes: list[str], inputs: Mapping[str, list[str]], name: str) -> list[str]:
    """The nodes in topological order, and in the file's order where that leaves a choice."""
    order: list[str] = []
    remaining = list(nodes)
    while remaining:
        ready = next((n for n in remaining if not set(inputs.get(n, ())) & set(remaining)), None)
        if ready is None:
            raise PlanError(f"`{name}`: the edges must not form a cycle.")
        order.append(ready)
        remaining.remove(ready)
    return order
