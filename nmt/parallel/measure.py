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
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each layer on `batch`, the loss in the last one's: forward and backward together,
    and forward alone.

    The first run warms up; the median of the `repeats` others is taken.
    """
    batch = batch.to(device)
    stack = graph.build(graph.names, seed=0).to(device)
    outputs: dict[str, Tensor] = {}
    costs: dict[str, float] = {}
    forward_costs: dict[str, float] = {}
    for node in graph.nodes:
        inputs = [
            batch.field(name.removeprefix(BATCH)) if name.startswith(BATCH) else outputs[name]
            for name in node.inputs
        ]
        times, forward_times = [], []
        for _ in range(repeats + 1):
            start = _now(device)
            given = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
            output, _ = stack.layer(node.name)(given, (), EVALUATION)
            if node is graph.nodes[-1]:
                summed = loss(output, labels(batch))
                forward_times.append(_now(device) - start)
                summed.backward()
            else:
                forward_times.append(_now(device) - start)
                output.backward(torch.ones_like(output))
            times.append(_now(device) - start)
        outputs[node.name] = output.detach()
        costs[node.name] = median(times[1:])
        forward_costs[node.name] = median(forward_times[1:])
    return costs, forward_costs


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()
