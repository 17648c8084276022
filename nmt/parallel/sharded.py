"""Parameters and state under DeepSpeed's sharded optimizers (ZeRO stage 1, and bf16).

They keep the fp32 parameters and the optimizer's state of a stage in flat tensors, each copy a part
of them, and give every parameter methods to read and write its share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nmt.parallel.local import OPTIMIZER, PARAMETER


class ShardedStore:
    """The fp32 values of one stage. Reading is collective: all copies do it together."""

    def __init__(
        self, wrapper: Any, optimizer: torch.optim.Optimizer, parameters: Mapping[str, Any]
    ) -> None:
        self._wrapper, self._optimizer, self._parameters = wrapper, optimizer, parameters
        (only_group,) = optimizer.param_groups
        (self._flat,) = only_group["params"]

    def parameters(self) -> dict[str, Tensor]:
        """All whole parameters."""
        return {name: p.get_full_hp_param() for name, p in self._parameters.items()}

    @torch.no_grad()
    def set_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Set the fp32 values, and the ones that the layers compute with."""
        for name, parameter in self._parameters.items():
            value = values[name].to(parameter.device)
            parameter.set_full_hp_param(value)
            parameter.copy_(value)

    def state(self) -> dict[str, Tensor]:
        """Parameters and the optimizer's state, by canonical name."""
        state = {PARAMETER + name: value for name, value in self.parameters().items()}
        for field, value in self._optimizer.state.get(self._flat, {}).items():
            for name, parameter in self._parameters.items():
                whole = parameter.get_full_hp_param(field) if value.dim() else value
                state[f"{OPTIMIZER}{field}/{name}"] = whole
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self.set_parameters({name: state[PARAMETER + name] for name in self._parameters})
        some_name = next(iter(self._parameters))
        fields = {
            key.removeprefix(OPTIMIZER).removesuffix(f"/{some_name}"): value
            for key, value in state.items()
            if key.startswith(OPTIMIZER) and key.endswith(f"/{some_name}")
        }
        self._optimizer.state.pop(self._flat, None)
        if not fields:
            return
        self._optimizer.state[self._flat] = {
            field: torch.zeros_like(self._flat)
            if value.dim()
            else value.to(self._flat.device, copy=True)
            for field, value in fields.items()
        }
        # Point the parameters to their shares of the new state.
        self._wrapper._hp_optimizer_states_linked = False
        self._wrapper._lazy_init_hp_params_optimizer_state()
        for field in (field for field, value in fields.items() if value.dim()):
            for name, parameter in self._parameters.items():
                value = state[f"{OPTIMIZER}{field}/{name}"].to(parameter.device)
                parameter.set_full_hp_param(value, field)
