"""An executor's state as a flat dictionary of tensors, under the same names from every executor.

`parameter/<name>` and `optimizer/<field>/<name>` have canonical parameter names, which do not
depend on where a layer runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

PARAMETER, OPTIMIZER = "parameter/", "optimizer/"


def parameter_of(key: str) -> str:
    """The canonical name of the parameter that a key of a state belongs to."""
    kind, _, rest = key.partition("/")
    return rest.partition("/")[2] if f"{kind}/" == OPTIMIZER else rest


def optimizer_fields(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The optimizer's part of a state: canonical parameter name → field → value."""
    fields: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in state.items():
        if key.startswith(OPTIMIZER):
            field, _, name = key.removeprefix(OPTIMIZER).partition("/")
            fields[name][field] = value
    return dict(fields)


def local_state(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Parameters by canonical name and their optimizer's state; views."""
    state = {PARAMETER + name: p.detach() for name, p in parameters.items()}
    for name, parameter in parameters.items():
        fields: dict[str, Any] = optimizer.state.get(parameter, {})
        for field, value in fields.items():
            state[f"{OPTIMIZER}{field}/{name}"] = torch.as_tensor(value)
    return state


@torch.no_grad()
def load_local_state(
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Tensor],
) -> None:
    """The inverse of `local_state`, for the parameters that this process has."""
    fields = optimizer_fields(state)
    for name, parameter in parameters.items():
        parameter.copy_(state[PARAMETER + name])
        optimizer.state.pop(parameter, None)
        if name in fields:
            optimizer.state[parameter] = {
                field: value.to(parameter.device, copy=True)
                for field, value in fields[name].items()
            }
