"""A chain of stages, in one process, against the whole stack."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nmt.config import GnmtConfig
from nmt.model.batch import Batch
from nmt.model.context import ForwardContext
from nmt.model.dropout import Randomness
from nmt.model.gnmt import gnmt
from nmt.model.graph import LayerGraph
from nmt.parallel.stage import Stage, pack, parameters_on_several, unpack


def graph_of(tie: str = "none") -> LayerGraph:
    model = GnmtConfig.model_validate(
        {
            "name": "tiny",
            "architecture": "gnmt",
            "cell": "lstm",
            "encoder_layers": 2,
            "decoder_layers": 2,
            "hidden_size": 4,
            "dropout": 0.3,
            "embedding_dropout": 0.1,
            "residual": "full",
            "bidirectional_layers": 1,
            "context": "all",
            "normalisation": "none",
            "attention": "additive",
            "attention_heads": 1,
            "tie": tie,
        }
    )
    return gnmt(model, 20)


def batch() -> Batch:
    rows = [np.array([5, 6, 7]), np.array([8])]
    return Batch.from_rows(rows, [np.array([9]), np.array([10, 11, 12, 13])])


def test_packing_and_unpacking_keep_values_shapes_and_gradients() -> None:
    a, b = torch.randn(2, 3, 4, requires_grad=True), torch.randn(5, requires_grad=True)
    floats, header = pack(7, {"a": a, "b": b})
    assert floats.shape == (29,)
    assert header.tolist() == [7, 3, 2, 3, 4, 1, 5]
    index, outputs = unpack(["a", "b"], (floats, header))
    assert index == 7
    assert torch.equal(outputs["a"], a)
    assert torch.equal(outputs["b"], b)
    (outputs["a"].sum() * 2 + outputs["b"].sum() * 3).backward()
    assert a.grad is not None
    assert b.grad is not None
    assert torch.equal(a.grad, torch.full_like(a, 2))
    assert torch.equal(b.grad, torch.full_like(b, 3))


@pytest.mark.parametrize("training", [True, False])
def test_any_three_stages_compute_what_the_whole_graph_does(training: bool) -> None:
    graph, whole = graph_of(), batch()
    names, randomness = graph.names, Randomness(1)
    context = ForwardContext.of(whole, randomness if training else None, 0.0)
    wanted = graph.build(names, seed=2)(whole, context)
    for first in range(1, len(names) - 1):
        for second in {first + 1, len(names) - 1}:
            message = torch.tensor(0)
            for part in (names[:first], names[first:second], names[second:]):
                stage = Stage(graph, part, 2, torch.float32, randomness).train(training)
                stage.micro_batches = [whole]
                message = stage(message)
            assert torch.equal(message, wanted), (first, second)


@pytest.mark.parametrize(
    ("tie", "expected"),
    [
        ("none", {}),
        ("target", {"target_embedding.weight": (1, 2)}),
        ("all", {"source_embedding.weight": (0, 1, 2)}),
    ],
)
def test_parameters_on_several_stages_are_the_tied_ones(
    tie: str, expected: dict[str, tuple[int, ...]]
) -> None:
    graph = graph_of(tie)
    names, second = graph.names, graph.names.index("target_embedding")
    stages = [names[:second], names[second:-1], names[-1:]]
    assert parameters_on_several(graph, stages) == expected
    assert parameters_on_several(graph, [names]) == {}
