"""The model as data: an ordered list of named layers, each with the names of its inputs.

A graph says *what* is computed and knows nothing of devices: a plan says where a layer runs
(`nmt.placement.plan`), and an executor runs it (`nmt.parallel`). Every layer can be
built without building the others, and gets the same initial values wherever it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn

from nmt.model.batch import Batch
from nmt.model.context import ForwardContext
from nmt.model.initializers import Initializer, initialise
from nmt.model.layer import Layer, run_layer

BATCH = "batch."


class Axis(Enum):
    """The time axis of a layer's output."""

    SOURCE = "source"
    TARGET = "target"


@dataclass(frozen=True)
class PerPosition:
    """The shape of an output that has `features` at every position: (B, steps, *features)."""

    features: tuple[int, ...]

    def __call__(self, rows: int, steps: int) -> tuple[int, ...]:
        """Sentences and time steps → the output's shape."""
        return (rows, steps, *self.features)


@dataclass(frozen=True)
class Node:
    """One layer of a graph."""

    name: str
    build: Callable[[], Layer]
    inputs: tuple[str, ...]  # earlier nodes, or fields of the batch as `batch.<field>`
    axis: Axis
    output_shape: Callable[[int, int], tuple[int, ...]]  # of sentences and time steps
    shares: Mapping[str, str]  # the layer's parameter → full name of the one it is tied to
    chunkable: bool = True  # whether it can run on one chunk of its time axis after the other

    def __post_init__(self) -> None:
        assert self.has_steps or not self.chunkable, f"{self.name} has no time to be split along"

    @property
    def has_steps(self) -> bool:
        """Whether the output has a time axis, its second dimension. One without, such as a vector
        for each sentence, is read whole by every chunk of its readers."""
        return self.output_shape(1, 1) != self.output_shape(1, 2)


@dataclass(frozen=True)
class LayerGraph:
    """Nodes in an order in which they can be computed; the last one gives the logits."""

    name: str
    nodes: tuple[Node, ...]
    alignment: str | None = None  # the attention layer that aligns target tokens with the source

    def __post_init__(self) -> None:
        known: set[str] = set()
        for node in self.nodes:
            for name in node.inputs:
                assert name.startswith(BATCH) or name in known, f"{node.name} reads {name}"
            assert node.name not in known, f"{node.name} occurs twice"
            known.add(node.name)
        assert self.alignment is None or self.alignment in known, f"no layer {self.alignment}"

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' names, in order."""
        return tuple(node.name for node in self.nodes)

    def node(self, name: str) -> Node:
        """The node called `name`."""
        return next(node for node in self.nodes if node.name == name)

    def live_after(self, position: int) -> tuple[str, ...]:
        """Outputs of the first `position` nodes that later nodes read: what a pipeline has to send
        over a boundary there."""
        done = set(self.names[:position])
        needed = {name for node in self.nodes[position:] for name in node.inputs}
        return tuple(name for name in self.names[:position] if name in done & needed)

    def build(
        self, names: Iterable[str], seed: int, dtype: torch.dtype = torch.float32
    ) -> LayerStack:
        """Build the layers called `names`, with their initial values and ties."""
        return LayerStack([self.node(name) for name in names], seed, dtype)


class LayerStack(nn.Module):
    """Some or all layers of a graph, under their canonical parameter names.

    `encoder.1.lstm.weight_ih_l0` is the parameter `lstm.weight_ih_l0` of layer `encoder.1`,
    whatever else is in the stack. A parameter that is tied to one of another layer has that one's
    canonical name, also where the other layer is not in the stack.
    """

    def __init__(self, nodes: Sequence[Node], seed: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.nodes = tuple(nodes)
        self._layers: dict[str, Layer] = {}
        self._canonical: dict[str, nn.Parameter] = {}
        initializers: dict[str, Initializer] = {}
        for node in self.nodes:
            layer = node.build().to(dtype)
            self._tie(node, layer)
            values = layer.initial_values()
            for own_name, parameter in layer.named_parameters(remove_duplicate=False):
                name = canonical_name(node, own_name)
                assert own_name in values, (
                    f"{type(layer).__name__} declares no initial values of {own_name}"
                )
                if name not in self._canonical:
                    initialise(parameter, values[own_name], name, seed)
                    self._canonical[name] = parameter
                    initializers[name] = values[own_name]
                # Whichever layer is built first initialises a parameter that they share.
                assert initializers[name] is values[own_name], f"{name} has two initial values"
            self._layers[node.name] = layer
            # Registered so that .to(), .parameters() and the like reach it.
            self.add_module(node.name.replace(".", "/"), layer)

    def _tie(self, node: Node, layer: Layer) -> None:
        for own_name, other in node.shares.items():
            if other in self._canonical:
                holder, _, attribute = own_name.rpartition(".")
                setattr(layer.get_submodule(holder), attribute, self._canonical[other])

    def layer(self, name: str) -> Layer:
        """The layer called `name`."""
        return self._layers[name]

    def canonical_parameters(self) -> dict[str, nn.Parameter]:
        """Each parameter once, by canonical name."""
        return dict(self._canonical)

    @torch.no_grad()
    def load(self, values: Mapping[str, Tensor]) -> None:
        """Copy values in; every parameter must be there with its shape."""
        for name, parameter in self._canonical.items():
            assert values[name].shape == parameter.shape, name
            parameter.copy_(values[name])

    def forward(self, batch: Batch, context: ForwardContext) -> Tensor:
        """The whole graph on one device → the last node's output."""
        return self.compute({}, batch, context)

    def compute(self, outputs: dict[str, Tensor], batch: Batch, context: ForwardContext) -> Tensor:
        """Run the layers of this stack in order; `outputs` holds what they need of earlier ones,
        and each layer's output is added to it. → the last one's output."""
        for node in self.nodes:
            inputs = [
                batch.field(name.removeprefix(BATCH)) if name.startswith(BATCH) else outputs[name]
                for name in node.inputs
            ]
            outputs[node.name], _ = run_layer(self._layers[node.name], inputs, (), context)
        return outputs[self.nodes[-1].name]


def total(vectors: Sequence[Tensor]) -> Tensor:
    """The sum of one or more tensors of one shape."""
    first, *others = vectors
    for other in others:
        first = first + other
    return first


def canonical_name(node: Node, own_name: str) -> str:
    """The full name of a node's parameter; that of the other one where it is tied."""
    return node.shares.get(own_name, f"{node.name}.{own_name}")
