"""One stage of a pipeline: consecutive layers, and the messages at its boundaries.

A message is two tensors: the outputs of earlier layers that later ones read, packed into a row of
floats, and a row of integers with the number of the micro-batch and the shapes of the outputs.
DeepSpeed's receive buffers need the same layout at every boundary, and a single float tensor means
a single backward pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from nmt.model.batch import Batch
from nmt.model.context import ForwardContext
from nmt.model.dropout import Randomness
from nmt.model.graph import LayerGraph

StageMessage = tuple[Tensor, Tensor]  # packed outputs, header


class Stage(nn.Module):
    """Consecutive layers of a graph, which read the message of the stage before them.

    Every process has the whole batch, so `micro_batches` is set before each step, and a message has
    only the number of one.
    """

    def __init__(
        self,
        graph: LayerGraph,
        names: Sequence[str],
        seed: int,
        dtype: torch.dtype,
        randomness: Randomness,
    ) -> None:
        super().__init__()
        first = graph.names.index(names[0])
        self.stack = graph.build(names, seed, dtype)
        self.micro_batches: Sequence[Batch] = ()
        self.loss_scale = 0.0  # see `ForwardContext`; set for each step
        self._received = graph.live_after(first)
        self._sent = graph.live_after(first + len(names))
        self._randomness = randomness

    def forward(self, message: Tensor | StageMessage) -> Tensor | StageMessage:
        """The number of a micro-batch (first stage) or the previous stage's message → the message
        for the next stage, or the logits (last stage)."""
        outputs: dict[str, Tensor] = {}
        if isinstance(message, Tensor):
            index = int(message)
        else:
            index, outputs = unpack(self._received, message)
        micro_batch = self.micro_batches[index]
        randomness, loss_scale = (
            (self._randomness, self.loss_scale) if self.training else (None, 0.0)
        )
        context = ForwardContext.of(micro_batch, randomness, loss_scale)
        logits = self.stack.compute(outputs, micro_batch, context)
        return pack(index, {name: outputs[name] for name in self._sent}) if self._sent else logits


def pack(index: int, outputs: Mapping[str, Tensor]) -> StageMessage:
    """Micro-batch number and outputs → (floats (N,), header (M,)). Differentiable."""
    tensors = list(outputs.values())
    header = [index]
    for tensor in tensors:
        header += [tensor.dim(), *tensor.shape]
    floats = torch.cat([tensor.reshape(-1) for tensor in tensors])
    return floats, torch.tensor(header, device=floats.device)


def unpack(names: Sequence[str], message: StageMessage) -> tuple[int, dict[str, Tensor]]:
    """The inverse of `pack`, for the outputs called `names`."""
    floats, header = message
    index, *numbers = header.tolist()
    shapes = []
    for _ in names:
        dimensions, *numbers = numbers
        shapes.append(numbers[:dimensions])
        numbers = numbers[dimensions:]
    parts = torch.split(floats, [prod(shape) for shape in shapes])
    return index, {
        name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)
    }


def parameters_on_several(
    graph: LayerGraph, stages: Sequence[Sequence[str]]
) -> dict[str, tuple[int, ...]]:
    """Tied parameters that several stages have → those stages, in order."""
    stage_of = {name: i for i, names in enumerate(stages) for name in names}
    holders: dict[str, set[int]] = defaultdict(set)
    for node in graph.nodes:
        for other in node.shares.values():
            owner = next(name for name in graph.names if other.startswith(f"{name}."))
            holders[other] |= {stage_of[node.name], stage_of[owner]}
    return {name: tuple(sorted(s)) for name, s in sorted(holders.items()) if len(s) > 1}
