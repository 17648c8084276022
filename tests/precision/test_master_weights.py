"""Training in bf16 with fp32 parameters behind it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from nmt.model.context import EVALUATION
from nmt.model.embedding import Embedding
from nmt.model.graph import Axis, LayerGraph, LayerStack, Node, PerPosition
from nmt.model.gru import GruLayer
from nmt.model.lstm import LstmLayer
from nmt.precision.master_weights import MasterWeights

V, H = 7, 6
IDS = torch.tensor([[3, 4, 5], [6, 4, 0]])


@pytest.fixture
def stack() -> LayerStack:
    """An embedding and two recurrent layers."""
    shape = PerPosition((H,))
    embedding = partial(Embedding, "embedding", V, H, 0.0, 1)
    lstm = partial(LstmLayer, "lstm", H, H, 0.0, 0, 1)
    gru = partial(GruLayer, "gru", H, H, 0.0, 0, 1)
    nodes = (
        Node("embedding", embedding, (), Axis.SOURCE, shape, {}),
        Node("lstm", lstm, ("embedding",), Axis.SOURCE, shape, {}),
        Node("gru", gru, ("lstm",), Axis.SOURCE, shape, {}),
    )
    graph = LayerGraph("small", nodes)
    return graph.build(graph.names, seed=1)


def forward(stack: LayerStack, ids: Tensor = IDS) -> Tensor:
    x = ids
    for node in stack.nodes:
        x = stack.layer(node.name)([x], (), EVALUATION).value
    return x


def values(stack: LayerStack) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in stack.canonical_parameters().items()}


def test_layers_have_rounded_copies(stack: LayerStack) -> None:
    before = values(stack)
    masters = MasterWeights(stack)
    assert masters.parameters.keys() == before.keys()
    for name, parameter in stack.canonical_parameters().items():
        assert parameter.dtype == torch.bfloat16
        assert torch.equal(masters.parameters[name], before[name]), "the masters are not rounded"
        assert torch.equal(parameter, before[name].bfloat16())
    assert forward(stack).dtype == torch.bfloat16


def test_gradients_go_to_the_fp32_parameters(stack: LayerStack) -> None:
    masters = MasterWeights(stack)
    forward(stack).float().square().sum().backward()
    for name, parameter in stack.canonical_parameters().items():
        assert parameter.grad is None, name
        gradient = masters.parameters[name].grad
        assert gradient is not None, name
        assert gradient.dtype == torch.float32


def test_micro_batches_are_summed_in_fp32(stack: LayerStack) -> None:
    masters = MasterWeights(stack)
    single: dict[str, list[Tensor]] = {name: [] for name in masters.parameters}
    for row in IDS:
        forward(stack, row[None]).float().square().sum().backward()
        for name, parameter in masters.parameters.items():
            assert parameter.grad is not None
            single[name].append(parameter.grad)
            parameter.grad = None
    for row in IDS:
        forward(stack, row[None]).float().square().sum().backward()
    some_need_fp32 = False
    for name, parameter in masters.parameters.items():
        exact = single[name][0] + single[name][1]
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, exact), name
        some_need_fp32 |= not torch.equal(exact, exact.bfloat16().float())
    assert some_need_fp32, "or bf16 would have done"


def test_updates_too_small_for_bf16_add_up(stack: LayerStack) -> None:
    masters = MasterWeights(stack)
    name = "embedding.weight"
    working, master = stack.canonical_parameters()[name], masters.parameters[name]
    before = working.detach().clone()
    with torch.no_grad():
        master.copy_(before.float() * (1 + 2**-11))
    masters.publish()
    assert torch.equal(working, before), "an eighth of what bf16 can represent"
    with torch.no_grad():
        for _ in range(15):
            master.mul_(1 + 2**-11)
    masters.publish()
    assert not torch.equal(working, before)
    assert torch.equal(working, master.bfloat16())


def test_publishing_keeps_the_layers_memory(stack: LayerStack) -> None:
    masters = MasterWeights(stack)
    places = {name: p.data_ptr() for name, p in stack.canonical_parameters().items()}
    with torch.no_grad():
        for parameter in masters.parameters.values():
            parameter.add_(1.0)
    masters.publish()
    for name, parameter in stack.canonical_parameters().items():
        assert parameter.data_ptr() == places[name]
        assert torch.equal(parameter, masters.parameters[name].bfloat16())
