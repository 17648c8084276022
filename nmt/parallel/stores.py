"""The weights of one stage under DeepSpeed: plain, as in a single process, or sharded.

DeepSpeed's sharded optimizers (ZeRO stage 1, and bf16) keep fp32 parameters and the optimizer's
state in flat tensors, a shard on each replica, and give every parameter methods to read and write
its part of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nmt.parallel import group
from nmt.parallel.average import RunningAverage, replaced
from nmt.parallel.state import (
    AVERAGE,
    AVERAGE_MASS,
    OPTIMIZER,
    PARAMETER,
    optimizer_fields,
)
from nmt.parallel.weights import Weights

Parameters = Mapping[str, Any]  # parameters with what DeepSpeed adds to them, by canonical name


class PlainStore(Weights):
    """Ordinary parameters. DeepSpeed does not clip them: it would take the norm of the first stage
    alone (`clip_grad_norm_` in deepspeed/runtime/utils.py counts model parallel rank 0)."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Parameters,
        clip_norm: float | None,
        stages: dist.ProcessGroup,
    ) -> None:
        super().__init__([parameters], optimizer)
        self._parameters, self._clip_norm, self._stages = parameters, clip_norm, stages

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


class ShardedStore:
    """Parameters that are sharded among the replicas, and clipped by DeepSpeed. Reading is
    collective: all replicas of the stage must do it together."""

    def __init__(
        self, wrapper: Any, optimizer: torch.optim.Optimizer, parameters: Parameters
    ) -> None:
        self._wrapper, self._optimizer, self._parameters = wrapper, optimizer, parameters
        (only_group,) = optimizer.param_groups
        (self._flat,) = only_group["params"]  # this replica's shard of the fp32 parameters
        self._average = RunningAverage()

    def gradients(self) -> dict[str, Tensor]:
        """Whole gradients, before clipping."""
        return {name: p.get_full_hp_grad() for name, p in self._parameters.items()}

    def parameters(self) -> dict[str, Tensor]:
        """Whole parameters in fp32."""
        return {name: p.get_full_hp_param() for name, p in self._parameters.items()}

    @torch.no_grad()
    def set_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Set the fp32 parameters, and those that the layers compute with."""
        for name, parameter in self._parameters.items():
            value = values[name].to(parameter.device)
            parameter.set_full_hp_param(value)
            parameter.copy_(value)

    @torch.no_grad()
    def _publish(self) -> None:
        """Copy the fp32 parameters into those that the layers compute with."""
        for parameter in self._parameters.values():
            parameter.copy_(parameter.get_full_hp_param())

    @property
    def has_average(self) -> bool:
        """Whether the average has been updated."""
        return self._average.started

    def update_average(self, decay: float) -> None:
        """Take the parameters into the average as they are now."""
        self._average.update([self._flat], decay)

    def using_average(self) -> AbstractContextManager[None]:
        """Inside, the average takes the place of the parameters."""
        mean = self._average.mean_of(self._flat)
        return replaced([(self._flat, mean)], self._publish)

    @contextmanager
    def using(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside, values by canonical name take the place of the parameters."""
        kept = self._flat.detach().clone()
        self.set_parameters(values)
        try:
            yield
        finally:
            with torch.no_grad():
                self._flat.copy_(kept)
            self._publish()

    def _load_average(self, state: Mapping[str, Tensor]) -> None:
        mass, sums = float(state.get(AVERAGE_MASS, 0.0)), {}
        if mass:
            with self.using({name: state[AVERAGE + name] for name in self._parameters}):
                sums[self._flat] = self._flat.detach().clone()
        self._average.load(sums, mass)

    def state(self) -> dict[str, Tensor]:
        """Everything that a later run needs, see `nmt.parallel.state`."""
        state = {PARAMETER + name: value for name, value in self.parameters().items()}
        for field, value in self._optimizer.state.get(self._flat, {}).items():
            for name, parameter in self._parameters.items():
                whole = parameter.get_full_hp_param(field) if value.dim() else value.clone()
                state[f"{OPTIMIZER}{field}/{name}"] = whole
        if self.has_average:
            with replaced([(self._flat, self._average.sum_of(self._flat))], lambda: None):
                state |= {AVERAGE + name: value for name, value in self.parameters().items()}
            state[AVERAGE_MASS] = torch.tensor(self._average.mass, dtype=torch.float64)
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Resume from the state of a whole model."""
        self.set_parameters({name: state[PARAMETER + name] for name in self._parameters})
        self._load_average(state)
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
        # Link the parameters to their parts of the new state.
        self._wrapper._hp_optimizer_states_linked = False
        self._wrapper._lazy_init_hp_params_optimizer_state()
        for field in (field for field, value in fields.items() if value.dim()):
            for name, parameter in self._parameters.items():
                value = by_name[name][field].to(parameter.device)
                parameter.set_full_hp_param(value, field)
