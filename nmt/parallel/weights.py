"""The parameters that one process updates, with what belongs to them: the state of their optimizer
and their running average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nmt.parallel.average import RunningAverage, replaced
from nmt.parallel.state import (
    AVERAGE,
    AVERAGE_MASS,
    OPTIMIZER,
    PARAMETER,
    optimizer_fields,
)


class AnyWeights(Protocol):
    """The weights of one process, plain or sharded."""

    @property
    def has_average(self) -> bool:
        """Whether the average has been updated."""

    def update_average(self, decay: float) -> None:
        """Take the parameters into the average as they are now."""

    def using_average(self) -> AbstractContextManager[None]:
        """Inside, the average takes the place of the parameters."""

    def using(self, values: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Inside, values by canonical name take the place of the parameters."""

    def parameters(self) -> dict[str, Tensor]:
        """All parameters in fp32 by canonical name."""

    def state(self) -> dict[str, Tensor]:
        """Everything that a later run needs, see `nmt.parallel.state`."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Resume from the state of a whole model."""


class WeightsMixin:
    """What every executor does with its process's weights alone."""

    _weights: AnyWeights

    @property
    def has_average(self) -> bool:
        """Whether the average has been updated."""
        return self._weights.has_average

    def update_average(self, decay: float) -> None:
        """Take the parameters into the running average as they are now, each process its own."""
        self._weights.update_average(decay)

    def using_average(self) -> AbstractContextManager[None]:
        """Inside, the average takes the place of the parameters."""
        return self._weights.using_average()

    def using(self, values: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Inside, values by canonical name take the place of the parameters."""
        return self._weights.using(values)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state; every process is given all of it."""
        self._weights.load(state)


class Weights:
    """Parameters, the state of their optimizer, and their running average."""

    def __init__(
        self,
        parameters: Sequence[Mapping[str, nn.Parameter]],
        optimizer: torch.optim.Optimizer,
        publish: Callable[[], None] = lambda: None,
    ) -> None:
        """`parameters` are those of each device, by canonical name; the same name on several
        devices stands for tied parameters, which are equal. `publish` hands changed values on to
        the layers, where these compute with rounded ones."""
        self._devices, self._optimizer, self._publish = list(parameters), optimizer, publish
        self._average = RunningAverage()

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        for parameters in self._devices:
            yield from parameters.items()

    @property
    def has_average(self) -> bool:
        """Whether the average has been updated."""
        return self._average.started

    def update_average(self, decay: float) -> None:
        """Take the parameters into the average as they are now."""
        self._average.update((parameter for _, parameter in self._named()), decay)

    def using_average(self) -> AbstractContextManager[None]:
        """Inside, the average takes the place of the parameters."""
        means = ((parameter, self._average.mean_of(parameter)) for _, parameter in self._named())
        return replaced(means, self._publish)

    def using(self, values: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Inside, values by canonical name take the place of the parameters."""
        return replaced(((p, values[name]) for name, p in self._named()), self._publish)

    def parameters(self) -> dict[str, Tensor]:
        """All parameters by canonical name; views."""
        return {name: parameter.detach() for name, parameter in self._named()}

    def state(self) -> dict[str, Tensor]:
        """All of it, see `nmt.parallel.state`; views."""
        state = {PARAMETER + name: value for name, value in self.parameters().items()}
        for name, parameter in self._named():
            fields: dict[str, Any] = self._optimizer.state.get(parameter, {})
            for field, value in fields.items():
                state[f"{OPTIMIZER}{field}/{name}"] = torch.as_tensor(value)
            if self.has_average:
                state[AVERAGE + name] = self._average.sum_of(parameter)
        if self.has_average:
            state[AVERAGE_MASS] = torch.tensor(self._average.mass, dtype=torch.float64)
        return state

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Resume from the state of a whole model."""
        fields = optimizer_fields(state)
        for name, parameter in self._named():
            parameter.copy_(state[PARAMETER + name])
            self._optimizer.state.pop(parameter, None)
            if name in fields:
                self._optimizer.state[parameter] = {
                    field: value.to(parameter.device, copy=True)
                    for field, value in fields[name].items()
                }
        mass, sums = float(state.get(AVERAGE_MASS, 0.0)), dict[Tensor, Tensor]()
        if mass:
            sums = {parameter: state[AVERAGE + name] for name, parameter in self._named()}
        self._average.load(sums, mass)
        self._publish()
