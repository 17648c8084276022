"""Initial values of parameters. Each layer declares which of these its own parameters get.

Values depend on the seed and the parameter's canonical name only, so that a layer starts with the
same ones whichever process builds it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nmt.model.dropout import stable_seed

# A parameter's shape and a source of randomness → its initial values, in fp32.
Initializer = Callable[[torch.Size, torch.Generator], Tensor]

# GNMT starts all parameters uniformly in ±0.04 (paper, section 5.3), tuned for 1024 units;
# the bound below gives ±0.054 there and grows for narrower layers.
SCALE = 3**0.5


def uniform(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Uniform with a variance of 1 / K for a matrix with K columns: each output of a product starts
    with the variance of its inputs."""
    bound = SCALE / shape[-1] ** 0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def zeros(shape: torch.Size, generator: torch.Generator) -> Tensor:  # noqa: ARG001 - as others
    """0, for biases."""
    return torch.zeros(shape)


def ones(shape: torch.Size, generator: torch.Generator) -> Tensor:  # noqa: ARG001 - as others
    """1, for gains."""
    return torch.ones(shape)


def open_forget_gate(shape: torch.Size, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    """The bias (4H,) of an LSTM: 1 for the forget gate (Jozefowicz et al. 2015), so that gradients
    reach far back from the first step on, and 0 for the input gate, cell and output gate."""
    values = torch.zeros(shape)
    values.view(4, -1)[1] = 1
    return values


@torch.no_grad()
def initialise(parameter: nn.Parameter, initializer: Initializer, name: str, seed: int) -> None:
    """Set the initial values of the parameter with this canonical name, in place."""
    generator = torch.Generator().manual_seed(stable_seed(seed, name))
    parameter.copy_(initializer(parameter.shape, generator))
