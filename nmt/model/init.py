"""All initial values of all layers, in one place.

Values depend on the seed and the parameter's canonical name only, so that a layer starts with the
same ones whichever process builds it.
"""

from __future__ import annotations

import torch
from torch import nn

from nmt.model.dropout import stable_seed

# GNMT starts all parameters uniformly in ±0.04 (paper, section 5.3), tuned for 1024 units;
# the bound below gives ±0.054 there and grows for narrower layers.
SCALE = 3**0.5


@torch.no_grad()
def initialise(name: str, parameter: nn.Parameter, seed: int) -> None:
    """Set the initial values of the parameter with this canonical name, in place."""
    generator = torch.Generator().manual_seed(stable_seed(seed, name))
    if "bias" in name:
        parameter.zero_()
        if "bias_ih" in name:
            # Gates in PyTorch's order (input, forget, cell, output). Forget gates start open
            # (Jozefowicz et al. 2015), so that gradients reach far back from the first step on.
            units = len(parameter) // 4
            parameter[units : 2 * units] = 1
        return
    bound = SCALE / parameter.shape[-1] ** 0.5
    values = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
    parameter.copy_(values)
