"""A layer of a graph: what it is given, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nmt.model.context import ForwardContext
from nmt.model.initializers import Initializer

State = tuple[Tensor, ...]
NO_LOSSES: Mapping[str, Tensor] = MappingProxyType({})


class LayerOutput(NamedTuple):
    """What a layer returns.

    `losses` are auxiliary losses by name, such as the load balance of experts. Each is a scalar in
    at least fp32, already weighted, and a sum over the positions (or sentences) that the layer was
    given, as the main loss is a sum over target tokens. Executors divide both by the target tokens
    of the global batch, so that gradients do not depend on how the batch is split into
    micro-batches and chunks. `StepResult.loss` is the main loss alone.
    """

    value: Tensor
    state: State = ()  # after the last time step; empty for layers without one
    losses: Mapping[str, Tensor] = NO_LOSSES


class Layer(nn.Module):
    """A layer of a graph. Holds parameters only: what belongs to a batch comes as arguments."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(
        self, inputs: Sequence[Tensor], state: State, context: ForwardContext
    ) -> LayerOutput:
        """Inputs in the node's order, and the recurrent state to start from (empty: zeros)."""
        raise NotImplementedError

    def initial_values(self) -> Mapping[str, Initializer]:
        """Of every parameter, by its name within the layer."""
        return {}


def run_layer(
    layer: Layer, inputs: Sequence[Tensor], state: State, context: ForwardContext
) -> tuple[Tensor, State]:
    """The layer's value and state. In training, the gradients of its auxiliary losses join that of
    its value in the backward pass, so that no loss has to travel to where the main one is."""
    value, state, losses = layer(inputs, state, context)
    if losses and context.loss_scale:
        value = _AttachLosses.apply(context.loss_scale, value, *losses.values())  # type: ignore[no-untyped-call]
    return value, state


class _AttachLosses(torch.autograd.Function):
    """The identity of a value; backward, `scale` goes to each of the losses that came with it."""

    @staticmethod
    def forward(ctx: Any, scale: float, value: Tensor, *losses: Tensor) -> Tensor:
        ctx.scale, ctx.like = scale, [loss.detach() for loss in losses]
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *gradients, *(torch.full_like(loss, ctx.scale) for loss in ctx.like))
