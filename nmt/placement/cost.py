"""What every layer costs: seconds, bytes, and what it waits for. Data, measured or read.

Two sources: `nmt-place mode=profile` measures the layers of a graph on the present device, for each
granularity (micro-batches and chunks), and PipeDream's format (`graph.txt`) has profiles of others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from nmt.config import NonNegativeFloat, PositiveInt, Settings, Text, read
from nmt.errors import ConfigurationError, PlanError
from nmt.placement.tasks import LayerInfo, Layers, amount_of_work

# Bytes of optimizer and gradient for each byte of a parameter: itself, its gradient, and Adam's
# two moments.
STATE = 4
MILLISECONDS = 1e-3


class LayerCost(Settings):
    """What of a layer does not depend on the granularity. Bytes are those of a whole batch."""

    kind: Text = Field(description="Type of the layer, such as LSTM.")
    inputs: list[str] = Field(description="The layers that it reads.")
    axis: Text = Field(description="Time axis of its output.")
    chunkable: bool = Field(description="Whether it can run chunk by chunk along that axis.")
    output_bytes: NonNegativeFloat = Field(description="Of its output, which a message carries.")
    kept_bytes: NonNegativeFloat = Field(
        description="What it keeps for its backward pass, inputs too."
    )
    parameter_bytes: NonNegativeFloat = Field(description="Of its parameters.")
    draw_seconds: NonNegativeFloat = Field(
        default=0.0,
        description="Of drawing its dropout masks for a whole batch, which its first task does.",
    )
    update_seconds: NonNegativeFloat = Field(
        default=0.0, description="Of the optimizer's step on its parameters."
    )
    shares: list[str] = Field(
        default=[], description="Layers with the same parameters, which are counted once a device."
    )


class TaskCosts(Settings):
    """Measured seconds of one task of each layer, at one granularity (micro-batches and chunks)."""

    micro_batches: PositiveInt
    chunks: PositiveInt
    forward: dict[str, NonNegativeFloat]
    backward: dict[str, NonNegativeFloat]
    size: dict[str, PositiveInt] = Field(
        default={},
        description="Of the micro-batch, see nmt.placement.tasks.amount_of_work; {}: not known.",
    )


class Profile(Settings):
    """All layers of a graph, in an order in which they can be computed."""

    graph: Text = Field(description="Name of the graph of layers.")
    device: Text = Field(description="What it was measured on.")
    precision: Text = Field(description="Number format of weights and activations.")
    batch: Text = Field(description="Shape of the batch, for people.")
    layers: dict[str, LayerCost] = Field(min_length=1)
    measurements: list[TaskCosts] = Field(
        min_length=1, description="By granularity; the first is the coarsest."
    )
    message_overhead: NonNegativeFloat = Field(
        default=0.0,
        description="Seconds that each byte sent or received takes from a device's work.",
    )

    @property
    def infos(self) -> Layers:
        """What tasks depend on."""
        return {
            name: LayerInfo(tuple(layer.inputs), layer.axis, layer.chunkable)
            for name, layer in self.layers.items()
        }

    def seconds(self, micro_batches: int, chunks: int) -> TaskCosts:
        """Of one task of each layer. A granularity that was not measured is derived from the
        nearest one, as if small tasks were computed as efficiently as large ones."""
        nearest = min(
            self.measurements,
            key=lambda one: (
                abs(one.micro_batches - micro_batches),
                abs(one.chunks - chunks),
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

    def whole(self) -> dict[str, float]:
        """Seconds of each layer for a whole batch, both directions, from the first measurement."""
        forward, backward = self.whole_forward(), self.measurements[0].backward
        return {name: forward[name] + backward[name] * self._tasks(name) for name in forward}

    def whole_forward(self) -> dict[str, float]:
        """The forward part of `whole`."""
        return {
            name: self.measurements[0].forward[name] * self._tasks(name) for name in self.layers
        }

    def carried_bytes(self, placement: Mapping[str, int]) -> dict[str, float]:
        """Bytes that each layer's tasks send to and receive from other devices for a whole batch,
        forward; backward, gradients go the other way. A device receives an output once, for the
        first layer that reads it."""
        found = dict.fromkeys(self.layers, 0.0)
        sent: set[tuple[str, int]] = set()
        for name, layer in self.layers.items():
            here = placement[name]
            for source in layer.inputs:
                if placement[source] != here and (source, here) not in sent:
                    sent.add((source, here))
                    size = self.layers[source].output_bytes
                    found[source] += size
                    found[name] += size
        return found

    def message_seconds(
        self, placement: Mapping[str, int], micro_batches: int, chunks: int
    ) -> dict[str, float]:
        """Seconds that messages add to each task of a layer, forward or backward."""
        sizes = self.carried_bytes(placement)
        return {
            name: self.message_overhead
            * sizes[name]
            / (micro_batches * (chunks if layer.chunkable else 1))
            for name, layer in self.layers.items()
        }

    def _tasks(self, layer: str) -> int:
        """Forward tasks of a layer in a step of the first measurement's granularity."""
        first = self.measurements[0]
        return first.micro_batches * (first.chunks if self.layers[layer].chunkable else 1)

    def factors(
        self, micro_batches: int, chunks: int, sizes: Sequence[Mapping[str, int]]
    ) -> list[dict[str, float]]:
        """For micro-batches of these sizes: each layer's work, relative to that on the micro-batch
        that was measured.

        Raises:
            PlanError: the profile does not have the size of what it measured.
        """
        measured = self.seconds(micro_batches, chunks).size
        if not measured:
            raise PlanError(
                f"A profile must have been measured with {micro_batches} micro-batches and "
                f"{chunks} chunks to compare micro-batches by their sizes, but this one was not."
            )
        usual = amount_of_work(self.infos, measured)
        works = [amount_of_work(self.infos, size) for size in sizes]
        return [{name: one[name] / usual[name] for name in usual} for one in works]

    def save(self, file: Path) -> None:
        """Write JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, file: Path) -> Profile:
        """Read JSON, or PipeDream's format where the file's name ends in `.txt`.

        Raises:
            PlanError: the file is missing, or not a profile.
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
    """A profile of PipeDream (Narayanan et al. 2019): a line for each operation, with milliseconds
    and bytes, and indented lines for what reads what. Operations that take no time (inputs, parts
    of tuples) stay, so that names are those of the file.

    Raises:
        PlanError: a line is neither.
    """
    found: dict[str, tuple[str, float, float, float, float]] = {}
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
                    f"`{name}`, line {number}: four figures must follow, as in "
                    "`forward_compute_time=…, backward_compute_time=…`."
                )
            forward, backward, activation, parameters = (sum(map(float, f)) for f in fields)
            found[node[1]] = node[2].strip(), forward, backward, activation, parameters
        else:
            raise PlanError(f"`{name}`, line {number}, must be a node or an edge of a graph.")
    if not found:
        raise PlanError(f"`{name}` must be a profile, but has no node.")
    for reader, sources in inputs.items():
        for node_name in (reader, *sources):
            if node_name not in found:
                raise PlanError(f"`{name}`: an edge names `{node_name}`, which is no node.")
    order = _sorted(list(found), inputs, name)
    return Profile(
        graph=Path(name).parent.name or name,
        device="as in the profile",
        precision="as in the profile",
        batch="as in the profile",
        layers={
            node: LayerCost(
                kind=found[node][0].split("(")[0],
                inputs=inputs.get(node, []),
                axis="whole",
                chunkable=False,
                output_bytes=found[node][3],
                kept_bytes=found[node][3] + sum(found[n][3] for n in inputs.get(node, [])),
                parameter_bytes=found[node][4],
            )
            for node in order
        },
        measurements=[
            TaskCosts(
                micro_batches=1,
                chunks=1,
                forward={node: found[node][1] * MILLISECONDS for node in order},
                backward={node: found[node][2] * MILLISECONDS for node in order},
            )
        ],
    )


def _sorted(nodes: list[str], inputs: Mapping[str, list[str]], name: str) -> list[str]:
    """Nodes after what they read, otherwise in the file's order."""
    order: list[str] = []
    left = list(nodes)
    while left:
        ready = next((n for n in left if not set(inputs.get(n, ())) & set(left)), None)
        if ready is None:
            raise PlanError(f"`{name}`: the edges must not go round in a circle.")
        order.append(ready)
        left.remove(ready)
    return order
