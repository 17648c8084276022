"""What every layer costs: seconds, bytes, and what it waits for. Data, measured or read.

Two sources: `nmt-place mode=profile` measures the layers of a graph on the present device, for each
cut of the batch and of time, and PipeDream's format (`graph.txt`) holds a profile of others.
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
    """What of a layer does not depend on the cut. Bytes are those of a whole batch."""

    kind: Text = Field(description="Type of the layer, such as LSTM.")
    inputs: list[str] = Field(description="The layers that it reads.")
    axis: Text = Field(description="Time axis of its output.")
    cut: bool = Field(description="Whether it can be cut into chunks along it.")
    output_bytes: NonNegativeFloat = Field(description="Of its output: what a message carries.")
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


class CutCost(Settings):
    """Measured seconds of one task of each layer, for one way to cut a batch."""

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
    cuts: list[CutCost] = Field(min_length=1, description="The first is the least cut.")
    handling: NonNegativeFloat = Field(
        default=0.0,
        description="Seconds for which each byte sent or received holds up a device's work.",
    )

    @property
    def infos(self) -> Layers:
        """What tasks depend on."""
        return {
            name: LayerInfo(tuple(layer.inputs), layer.axis, layer.cut)
            for name, layer in self.layers.items()
        }

    def seconds(self, micro_batches: int, chunks: int) -> CutCost:
        """Of one task of each layer. A cut that was not measured is taken from the nearest one, as
        if small pieces were computed as efficiently as large ones."""
        nearest = min(
            self.cuts,
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
            * (nearest.chunks / chunks if layer.cut else 1.0)
            for name, layer in self.layers.items()
        }
        return CutCost(
            micro_batches=micro_batches,
            chunks=chunks,
            forward={name: nearest.forward[name] * factors[name] for name in self.layers},
            backward={name: nearest.backward[name] * factors[name] for name in self.layers},
        )

    def whole(self) -> dict[str, float]:
        """Seconds of each layer for a whole batch, forward and backward, from the first cut."""
        forward, backward = self.whole_forward(), self.cuts[0].backward
        return {name: forward[name] + backward[name] * self._tasks(name) for name in forward}

    def whole_forward(self) -> dict[str, float]:
        """The forward part of it."""
        return {name: self.cuts[0].forward[name] * self._tasks(name) for name in self.layers}

    def handled_bytes(self, placement: Mapping[str, int]) -> dict[str, float]:
        """What the tasks of each layer send to and receive from other devices for a whole batch,
        forward; backward, gradients go the other way. A device gets an output once, for the first
        layer that reads it."""
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

    def handling_seconds(
        self, placement: Mapping[str, int], micro_batches: int, chunks: int
    ) -> dict[str, float]:
        """How much longer messages make each task of a layer, forward or backward."""
        sizes = self.handled_bytes(placement)
        return {
            name: self.handling * sizes[name] / (micro_batches * (chunks if layer.cut else 1))
            for name, layer in self.layers.items()
        }

    def _tasks(self, layer: str) -> int:
        """Forward tasks of a layer in a step that is cut in the first way."""
        first = self.cuts[0]
        return first.micro_batches * (first.chunks if self.layers[layer].cut else 1)

    def factors(
        self, micro_batches: int, chunks: int, pieces: Sequence[Mapping[str, int]]
    ) -> list[dict[str, float]]:
        """Of other micro-batches of these sizes: how much more work each is for each layer than the
        one that was measured."""
        usual = amount_of_work(self.infos, self.seconds(micro_batches, chunks).size)
        works = [amount_of_work(self.infos, piece) for piece in pieces]
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
                cut=False,
                output_bytes=found[node][3],
                kept_bytes=found[node][3] + sum(found[n][3] for n in inputs.get(node, [])),
                parameter_bytes=found[node][4],
            )
            for node in order
        },
        cuts=[
            CutCost(
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
