"""The parameters of one stage with their gradients and their optimizer's state, under DeepSpeed.

Either plain, as in a single process, or under DeepSpeed's sharded optimizers (ZeRO stage 1, and
bf16). Those keep fp32 parameters and the optimizer's state in flat tensors, each copy a part of
them, and give every parameter methods to read and write its share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nmt.parallel import group
from nmt.parallel.state import (
    OPTIMIZER,
    PARAMETER,
    load_local_state,
    local_state,
    optimizer_fields,
)

Parameters = Mapping[str, Any]  # parameters with what DeepSpeed adds to them, by canonical name


class PlainStore:
    """Ordinary parameters. DeepSpeed does not clip them: it would take the norm of the first stage
    alone (`clip_grad_norm_` in deepspeed/runtime/utils.py counts model parallel rank 0)."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Parameters,
        clip_norm: float | None,
        stages: dist.ProcessGroup,
    ) -> None:
        self._optimizer, self._parameters = optimizer, parameters
        self._clip_norm, self._stages = clip_norm, stages

    def clip(self) -> float:
        """Clip by the norm of the whole model, tied parameters counted once → the norm."""
        parameters = list(self._parameters.values())
        own = [p.grad for p in parameters if not p.ds_pipe_replicated]
        norm = float(torch.nn.utils.get_total_norm(own)) if own else 0.0
        norm = float(group.total(norm**2, parameters[0].device, self._stages) ** 0.5)
        if self._clip_norm is not None:
            as_tensor = parameters[0].new_tensor(norm)
            torch.nn.utils.clip_grads_with_norm_(parameters, self._clip_norm, as_tensor)
        return norm

    def gradients(self) -> dict[str, Tensor]:
        """Copies of the gradients."""
        return {name: p.grad.clone() for name, p in self._parameters.items()}

    def parameters(self) -> dict[str, Tensor]:
        """All parameters; views."""
        return {name: p.detach() for name, p in self._parameters.items()}

    def state(self) -> dict[str, Tensor]:
        """Parameters and the optimizer's state, by canonical name; views."""
        return local_state(self._parameters, self._optimizer)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        load_local_state(self._parameters, self._optimizer, state)


class ShardedStore:
    """Shared among the copies, and clipped by DeepSpeed. Reading is collective: all copies of the
    stage do it together."""

    def __init__(
        self, wrapper: Any, optimizer: torch.optim.Optimizer, parameters: Parameters
    ) -> None:
        self._wrapper, self._optimizer, self._parameters = wrapper, optimizer, parameters
        (only_group,) = optimizer.param_groups
        (self._flat,) = only_group["params"]

    def gradients(self) -> dict[str, Tensor]:
        """Whole gradients, before clipping."""
        return {name: p.get_full_hp_grad() for name, p in self._parameters.items()}

    def parameters(self) -> dict[str, Tensor]:
        """Whole parameters in fp32."""
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
        by_name = optimizer_fields(state)
        fields = by_name.get(next(iter(self._parameters)), {})
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
                value = by_name[name][field].to(parameter.device)
                parameter.set_full_hp_param(value, field)
