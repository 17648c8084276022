"""Averages of weights: smoother than the last ones, and usually better translators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nmt.parallel.state import PARAMETER
from nmt.training.checkpoint import read_state

AVERAGE = "average/"


class RunningAverage:
    """Exponential mean of the weights, with the bias of its start corrected (Kingma & Ba 2015)."""

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._sums: dict[str, Tensor] = {}
        self._mass = torch.zeros((), dtype=torch.float64)

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Take in the weights as they are now."""
        if not self._sums:
            self._sums = {
                name: torch.zeros_like(value, device="cpu") for name, value in weights.items()
            }
        for name, value in weights.items():
            self._sums[name].lerp_(value.cpu(), 1 - self._decay)
        self._mass = self._mass * self._decay + (1 - self._decay)

    @property
    def started(self) -> bool:
        """Whether there was an update; also true where the weights are on another process."""
        return bool(self._mass > 0)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The mean; empty before the first update."""
        mass = float(self._mass)
        return {name: value / mass for name, value in self._sums.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        state = {AVERAGE + name: value for name, value in self._sums.items()}
        return {**state, "average_mass": self._mass} if state else {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """From a checkpoint."""
        self._sums = {
            name.removeprefix(AVERAGE): value.clone()
            for name, value in state.items()
            if name.startswith(AVERAGE)
        }
        self._mass = state.get("average_mass", torch.zeros((), dtype=torch.float64)).clone()


def mean_of_checkpoints(folders: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of the checkpoints' parameters, one checkpoint in memory at a time."""
    mean: dict[str, Tensor] = {}
    for folder in folders:
        for key, value in read_state(folder).items():
            if key.startswith(PARAMETER):
                name, part = key.removeprefix(PARAMETER), value.double() / len(folders)
                mean[name] = mean[name] + part if name in mean else part
    return {name: value.float() for name, value in mean.items()}
