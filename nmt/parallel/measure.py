"""How long each layer takes: what a plan with stages of equal cost is made from."""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import Tensor

from nmt.model.batch import Batch
from nmt.model.dropout import EVALUATION
from nmt.model.graph import BATCH, LayerGraph
from nmt.parallel.executor import Loss
from nmt.parallel.local import labels


def layer_costs(
    graph: LayerGraph, batch: Batch, loss: Loss, device: str, repeats: int = 3
) -> dict[str, float]:
    """Seconds of forward and backward of each layer on `batch`, the loss in the last one's.

    The first run warms up; the median of the `repeats` others is taken.
    """
    batch = batch.to(device)
    stack = graph.build(graph.names, seed=0).to(device)
    outputs: dict[str, Tensor] = {}
    costs: dict[str, float] = {}
    for node in graph.nodes:
        inputs = [
            batch.field(name.removeprefix(BATCH)) if name.startswith(BATCH) else outputs[name]
            for name in node.inputs
        ]
        times = []
        for _ in range(repeats + 1):
            start = _now(device)
            given = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
            output, _ = stack.layer(node.name)(given, (), EVALUATION)
            if node is graph.nodes[-1]:
                loss(output, labels(batch)).backward()
            else:
                output.backward(torch.ones_like(output))
            times.append(_now(device) - start)
        outputs[node.name] = output.detach()
        costs[node.name] = median(times[1:])
    return costs


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()
