"""Random graphs of layers, random plans for them, and what one process computes instead."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from nmt.model.attention import Attention, AttentionKeys
from nmt.model.batch import Batch
from nmt.model.cells import CELLS
from nmt.model.clip import Clip
from nmt.model.embedding import Embedding
from nmt.model.graph import Axis, LayerGraph, Node, PerPosition
from nmt.model.output import Output
from nmt.parallel.executor import OptimizerFactory, TrainingRecipe
from nmt.parallel.local import LocalExecutor
from nmt.parallel.wavefront import WavefrontExecutor
from nmt.placement.plan import Plan
from nmt.training.loss import SmoothedCrossEntropy
from tests.toy_layers import with_mixtures

VOCABULARY, H, SEED = 40, 6, 3
VECTORS = PerPosition((H,))
LOSS = SmoothedCrossEntropy(0.1)
TIMES = {Axis.SOURCE: 1, Axis.TARGET: 2}


def random_graph(chance: random.Random, rates: Sequence[float] = (0.0, 0.3)) -> LayerGraph:
    """Each layer reads the one before it on its side, and perhaps another one."""
    rate = chance.choice(rates)
    clip = chance.choice([None, Clip(bound=0.1, start=0.3, steps=4)])
    nodes: list[Node] = []

    def embedding(axis: Axis, field: str, shares: Mapping[str, str]) -> None:
        name = f"{axis.value}_embedding"
        build = partial(Embedding, name, VOCABULARY, H, rate, TIMES[axis])
        nodes.append(Node(name, build, (f"batch.{field}",), axis, VECTORS, shares))

    def recurrent(name: str, axis: Axis) -> None:
        side = [node.name for node in nodes if node.axis is axis and node.name != "attention_keys"]
        inputs = [side[-1], *chance.sample(side[:-1], min(len(side) - 1, chance.randint(0, 1)))]
        residuals = chance.randint(0, len(inputs))
        cell = chance.choice(list(CELLS.values()))
        build = partial(cell, name, H * len(inputs), H, rate, residuals, TIMES[axis], clip)
        nodes.append(Node(name, build, tuple(inputs), axis, VECTORS, {}))

    def reversed_layer(name: str) -> None:
        build = partial(chance.choice(list(CELLS.values())), name, H, H, rate, 1, 1, reverse=True)
        inputs = (nodes[-1].name, "batch.source_lengths")
        nodes.append(Node(name, build, inputs, Axis.SOURCE, VECTORS, {}, chunkable=False))

    def attention(name: str) -> None:
        inputs = (nodes[-1].name, "attention_keys", memory, "batch.source_lengths")
        nodes.append(Node(name, partial(Attention, name, H, H), inputs, Axis.TARGET, VECTORS, {}))

    embedding(Axis.SOURCE, "source", {})
    for i in range(chance.randint(1, 3)):
        if chance.random() < 0.3:
            reversed_layer(f"encoder.{i}")
        else:
            recurrent(f"encoder.{i}", Axis.SOURCE)
    memory = nodes[-1].name
    keys = partial(AttentionKeys, "attention_keys", H, H)
    nodes.append(Node("attention_keys", keys, (memory,), Axis.SOURCE, VECTORS, {}))
    shares = {"weight": "source_embedding.weight"}
    embedding(Axis.TARGET, "target_input", chance.choice([{}, shares]))
    layers = chance.randint(1, 3)
    queried = chance.sample(range(layers), chance.randint(1, layers))
    for i in range(layers):
        recurrent(f"decoder.{i}", Axis.TARGET)
        if i in queried:
            attention(f"attention.{i}")
    build_output = partial(Output, "output", H, VOCABULARY, rate)
    last = nodes[-1].name
    tied = chance.choice([{}, shares])
    inputs = (last, "batch.target_index")
    nodes.append(
        Node("output", build_output, inputs, Axis.TARGET, PerPosition((VOCABULARY,)), tied)
    )
    graph = LayerGraph("random", tuple(nodes))
    places = [name for name in graph.names[:-1] if name != "attention_keys"]
    some = chance.sample(places, chance.choice([0, 1, 2]))
    return with_mixtures(graph, some, H) if some else graph


def random_plan(chance: random.Random, graph: LayerGraph, devices: int, kind: str = "cpu") -> Plan:
    """Any layer anywhere; every device has one at least, and all are of one kind."""
    places = [*range(devices), *(chance.randrange(devices) for _ in graph.names[devices:])]
    chance.shuffle(places)
    return Plan(
        graph=graph.name,
        devices=[kind] * devices,
        placement=dict(zip(graph.names, places, strict=True)),
        micro_batches=chance.choice([1, 2, 4]),
        chunks=chance.choice([1, 2, 3, 11]),  # often more than there are time steps
        schedule=chance.choice(["gpipe", "1f1b", "wavefront"]),
    )


def random_batch(seed: int, rows: int = 13) -> Batch:
    """Sentences of 1 to 9 pieces, EOS not counted."""
    draw = np.random.default_rng(seed)

    def sentences() -> list[np.ndarray]:
        lengths = draw.integers(1, 10, rows)
        return [draw.integers(4, VOCABULARY, n).astype(np.int32) for n in lengths]

    return Batch.from_rows(sentences(), sentences())


def sgd() -> OptimizerFactory:
    """Steps as large as the gradients."""
    return lambda parameters: torch.optim.SGD(parameters, lr=1.0)


def adam() -> OptimizerFactory:
    """With a state."""
    return lambda parameters: torch.optim.AdamW(parameters, lr=1.0, fused=True)


def recipe_of(
    graph: LayerGraph, optimizer: OptimizerFactory, dtype: torch.dtype = torch.float32
) -> TrainingRecipe:
    """How the graph is trained by all executors."""
    return TrainingRecipe(
        graph, SEED, LOSS, SmoothedCrossEntropy(0.0), optimizer, clip_norm=0.05, dtype=dtype
    )


def local(
    graph: LayerGraph,
    micro_batches: int,
    optimizer: OptimizerFactory,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> LocalExecutor:
    """The reference."""
    return LocalExecutor(recipe_of(graph, optimizer, dtype), device, micro_batches)


def wavefront(
    graph: LayerGraph,
    plan: Plan,
    optimizer: OptimizerFactory,
    dtype: torch.dtype = torch.float64,
    replicas: int = 1,
) -> WavefrontExecutor:
    """The same by a plan."""
    return WavefrontExecutor(recipe_of(graph, optimizer, dtype), plan, replicas)


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Largest distance of two tensors of the same name, relative to the second one's norm."""
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    a, b = ({name: x.cpu() for name, x in values.items()} for values in (a, b))
    return max(float((a[n] - b[n]).norm() / b[n].norm().clamp_min(1e-30)) for n in b)


def copied(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values that later steps do not change."""
    return {name: value.clone() for name, value in values.items()}
