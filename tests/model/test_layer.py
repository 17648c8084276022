"""Auxiliary losses, and outputs of any shape."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.config import GnmtConfig
from nmt.model.batch import Batch
from nmt.model.build import build_graph
from nmt.model.context import EVALUATION, ForwardContext
from nmt.model.dropout import Randomness
from nmt.model.graph import BATCH, Axis, LayerGraph, LayerStack, Node, PerPosition
from nmt.model.layer import run_layer
from tests.toy_layers import EXPERTS, Mixture, with_mixtures

V, H = 20, 6
MakeModel = Callable[..., GnmtConfig]
MakeBatch = Callable[..., Batch]


@pytest.fixture
def graph(model_config: MakeModel) -> LayerGraph:
    return with_mixtures(build_graph(model_config(), V), ("encoder.1", "decoder.0"), H)


def built(graph: LayerGraph) -> LayerStack:
    return graph.build(graph.names, seed=1, dtype=torch.float64)


def main_loss(logits: Tensor, batch: Batch) -> Tensor:
    labels = batch.target_output.flatten()[batch.target_index]
    return F.cross_entropy(logits, labels, reduction="sum")


def gradients(stack: LayerStack) -> dict[str, Tensor]:
    found = {name: p.grad for name, p in stack.canonical_parameters().items()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}


def explicit_losses(stack: LayerStack, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    """The main loss and the auxiliary ones, as the layers return them."""
    outputs: dict[str, Tensor] = {}
    losses: list[Tensor] = []
    for node in stack.nodes:
        inputs = [
            batch.field(name.removeprefix(BATCH)) if name.startswith(BATCH) else outputs[name]
            for name in node.inputs
        ]
        result = stack.layer(node.name)(inputs, (), EVALUATION)
        outputs[node.name] = result.value
        losses += result.losses.values()
    return main_loss(outputs["output"], batch), losses


def test_auxiliary_losses_are_trained_with_the_main_one(
    graph: LayerGraph, random_batch: MakeBatch
) -> None:
    batch, scale = random_batch(), 0.25
    ours, reference = built(graph), built(graph)
    context = ForwardContext.of(batch, Randomness(1), scale)
    (main_loss(ours(batch, context), batch) * scale).backward()
    loss, auxiliary = explicit_losses(reference, batch)
    assert len(auxiliary) == 4
    without = torch.autograd.grad(loss, list(reference.parameters()), retain_graph=True)
    assert all(float(one.detach()) > 0.1 for one in auxiliary)
    ((loss + sum(auxiliary)) * scale).backward()
    wanted = gradients(reference)
    for name, gradient in gradients(ours).items():
        torch.testing.assert_close(gradient, wanted[name], msg=name)
    before = dict(zip(wanted, without, strict=True))
    changed = [n for n, g in wanted.items() if (g / scale - before[n]).norm() > 1e-3 * g.norm()]
    assert "source_embedding.weight" in changed, "losses reach what lies below them"
    assert "output.weight" not in changed


def test_splitting_into_micro_batches_changes_no_gradient(
    graph: LayerGraph, random_batch: MakeBatch
) -> None:
    batch, together, apart = random_batch(), built(graph), built(graph)
    for stack, parts in ((together, [batch]), (apart, batch.split(3))):
        for part in parts:
            context = ForwardContext.of(part, Randomness(1), 0.5)
            (main_loss(stack(part, context), part) * 0.5).backward()
    wanted = gradients(together)
    for name, gradient in gradients(apart).items():
        torch.testing.assert_close(gradient, wanted[name], msg=name)


def test_evaluation_has_no_auxiliary_gradients(graph: LayerGraph, random_batch: MakeBatch) -> None:
    batch, ours, reference = random_batch(), built(graph), built(graph)
    main_loss(ours(batch, EVALUATION), batch).backward()
    loss, _ = explicit_losses(reference, batch)
    loss.backward()
    wanted = gradients(reference)
    for name, gradient in gradients(ours).items():
        torch.testing.assert_close(gradient, wanted[name], msg=name)


def test_losses_that_no_later_layer_reads_are_part_of_the_value_alone() -> None:
    layer = Mixture("mixture", H)
    torch.nn.init.normal_(layer.weight)
    x, experts = torch.randn(2, 3, H, requires_grad=True), torch.randn(2, 3, EXPERTS, H)
    inputs = [x, experts, torch.zeros(2, H), torch.tensor([3, 2])]
    plain, _, losses = layer(inputs, (), EVALUATION)
    value, _ = run_layer(layer, inputs, (), ForwardContext(loss_scale=2.0))
    assert torch.equal(value, plain)
    assert list(losses) == ["balance", "size"]
    value.backward(torch.zeros_like(value))
    (expected,) = torch.autograd.grad(2.0 * sum(losses.values()), x)
    torch.testing.assert_close(x.grad, expected)


def test_shapes_are_those_that_nodes_declare(graph: LayerGraph, random_batch: MakeBatch) -> None:
    batch, outputs = random_batch(), dict[str, Tensor]()
    built(graph).compute(outputs, batch, EVALUATION)
    steps = {Axis.SOURCE: batch.source.shape[1], Axis.TARGET: batch.target_input.shape[1]}
    for node in graph.nodes[:-1]:  # the last one leaves the padding out
        shape = node.output_shape(batch.rows, steps[node.axis])
        assert tuple(outputs[node.name].shape) == shape, node.name
    assert graph.node("encoder.1.experts").output_shape(2, 5) == (2, 5, EXPERTS, H)
    assert graph.node("summary").output_shape(2, 5) == (2, H)
    assert [node.name for node in graph.nodes if not node.has_steps] == ["summary"]


def test_a_layer_without_time_steps_is_not_chunkable(graph: LayerGraph) -> None:
    build = graph.nodes[0].build
    with pytest.raises(AssertionError, match="summary has no time to be split along"):
        Node("summary", build, (), Axis.SOURCE, lambda rows, _: (rows, H), {})
    assert Node("fine", build, (), Axis.SOURCE, PerPosition((H,)), {}).has_steps
