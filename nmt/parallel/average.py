"""The running average of weights, kept beside them by the process that updates them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class RunningAverage:
    """Exponential mean of tensors, with the bias of its start corrected (Kingma & Ba 2015).

    The sum of each tensor has its device and precision, so that an update moves nothing between
    devices or processes.
    """

    def __init__(self) -> None:
        self._sums: dict[Tensor, Tensor] = {}
        self.mass = 0.0  # the sum of the weights of all updates

    @property
    def started(self) -> bool:
        """Whether there has been an update."""
        return self.mass > 0

    @torch.no_grad()
    def update(self, tensors: Iterable[Tensor], decay: float) -> None:
        """Take in the tensors, always the same ones, as they are now."""
        for tensor in tensors:
            total = self._sums.get(tensor)
            if total is None:
                total = self._sums[tensor] = torch.zeros_like(tensor, requires_grad=False)
            total.lerp_(tensor, 1 - decay)
        self.mass = self.mass * decay + (1 - decay)

    def sum_of(self, tensor: Tensor) -> Tensor:
        """The decayed sum of a tensor's values: its mean times `mass`."""
        return self._sums[tensor]

    def mean_of(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor's values."""
        return self._sums[tensor] / self.mass

    def load(self, sums: Mapping[Tensor, Tensor], mass: float) -> None:
        """Resume from the sum of each tensor, or from nothing."""
        self._sums = {tensor: value.to(tensor.device, copy=True) for tensor, value in sums.items()}
        self.mass = mass


@contextmanager
def replaced(
    values: Iterable[tuple[Tensor, Tensor]], publish: Callable[[], None]
) -> Iterator[None]:
    """Pairs of a tensor and what it is to be inside, in place; `publish` is called after each
    change."""
    kept = []
    with torch.no_grad():
        for tensor, value in values:
            kept.append((tensor, tensor.detach().clone()))
            tensor.copy_(value)
    publish()
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in kept:
                tensor.copy_(value)
        publish()
