# ruff: noqa: ARG001, ARG002 - the arguments of every layer
"""Layers that no architecture has yet, for testing what a graph allows: outputs of other shapes
than (B, steps, H), and auxiliary losses.

B sentences, E experts, H units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from nmt.model.batch import length_mask
from nmt.model.context import ForwardContext
from nmt.model.graph import Axis, LayerGraph, Node, PerPosition
from nmt.model.initializers import Initializer, uniform
from nmt.model.layer import Layer, LayerOutput, State

EXPERTS = 3


class Experts(Layer):
    """(B, steps, H) → (B, steps, E, H): as many outputs as there are experts."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__(name)
        self.weight = nn.Parameter(torch.empty(EXPERTS, width))

    def forward(
        self, inputs: Sequence[Tensor], state: State, context: ForwardContext
    ) -> LayerOutput:
        return LayerOutput(torch.tanh(inputs[0][:, :, None] * self.weight))

    def initial_values(self) -> Mapping[str, Initializer]:
        return {"weight": uniform}


class Summary(Layer):
    """(B, S, H) and lengths → (B, H): the mean over the source, without a time axis."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__(name)
        self.weight = nn.Parameter(torch.empty(width, width))

    def forward(
        self, inputs: Sequence[Tensor], state: State, context: ForwardContext
    ) -> LayerOutput:
        x, lengths = inputs
        tokens = length_mask(lengths, x.shape[1])[:, :, None].to(x.dtype)
        return LayerOutput((x * tokens).sum(1) / lengths[:, None] @ self.weight.t())

    def initial_values(self) -> Mapping[str, Initializer]:
        return {"weight": uniform}


class Mixture(Layer):
    """Experts weighted by a softmax, with two losses: their imbalance and the size of scores."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__(name)
        self.weight = nn.Parameter(torch.empty(EXPERTS, width))

    def forward(
        self, inputs: Sequence[Tensor], state: State, context: ForwardContext
    ) -> LayerOutput:
        """(x (B, steps, H), experts (B, steps, E, H), summary (B, H), lengths (B,))."""
        x, experts, summary, lengths = inputs
        scores = (x + summary[:, None]) @ self.weight.t()
        gates = scores.softmax(-1)  # (B, steps, E)
        tokens = length_mask(lengths, x.shape[1])[:, :, None]
        losses = {
            "balance": 5.0 * (gates.square() * tokens).sum(),
            "size": 0.5 * (scores.square() * tokens).sum(),
        }
        return LayerOutput(x + (gates[..., None] * experts).sum(2), losses=losses)

    def initial_values(self) -> Mapping[str, Initializer]:
        return {"weight": uniform}


def with_mixtures(graph: LayerGraph, places: Sequence[str], width: int) -> LayerGraph:
    """The graph with a mixture behind each of the layers called `places`, whose readers read it
    instead."""
    mixed = {name: f"{name}.mixture" for name in places}
    vectors = PerPosition((width,))
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(replace(node, inputs=tuple(mixed.get(name, name) for name in node.inputs)))
        if len(nodes) == 1:
            inputs = (node.name, "batch.source_lengths")
            build = partial(Summary, "summary", width)
            shape = partial(_per_sentence, width)
            nodes.append(Node("summary", build, inputs, Axis.SOURCE, shape, {}, chunkable=False))
        if node.name in mixed:
            experts, name = f"{node.name}.experts", mixed[node.name]
            per_expert = PerPosition((EXPERTS, width))
            build_experts = partial(Experts, experts, width)
            nodes.append(Node(experts, build_experts, (node.name,), node.axis, per_expert, {}))
            reads = (node.name, experts, "summary", f"batch.{node.axis.value}_lengths")
            nodes.append(Node(name, partial(Mixture, name, width), reads, node.axis, vectors, {}))
    return replace(graph, name=f"{graph.name}-mixed", nodes=tuple(nodes))


def _per_sentence(width: int, rows: int, steps: int) -> tuple[int, ...]:
    return (rows, width)
