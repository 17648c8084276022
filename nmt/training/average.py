"""Weights of checkpoints, and their mean, which often is a better model than the last one alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from nmt.parallel.state import AVERAGE, AVERAGE_MASS, PARAMETER
from nmt.training.checkpoint import read_state


def weights_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a checkpoint's state that validation scores, by name: the moving average, or
    else the parameters."""
    mass = state.get(AVERAGE_MASS)
    if mass is None or not mass > 0:
        return {
            key.removeprefix(PARAMETER): value.float()
            for key, value in state.items()
            if key.startswith(PARAMETER)
        }
    return {
        key.removeprefix(AVERAGE): value.float() / mass
        for key, value in state.items()
        if key.startswith(AVERAGE)
    }


def mean_of(several: Iterable[Mapping[str, Tensor]], count: int) -> dict[str, Tensor]:
    """The mean of that many models' weights, by name. Has one of them in memory at a time."""
    mean: dict[str, Tensor] = {}
    for weights in several:
        for name, value in weights.items():
            part = value.double() / count
            mean[name] = mean[name] + part if name in mean else part
    return {name: value.float() for name, value in mean.items()}


def mean_of_checkpoints(folders: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of the checkpoints' weights, by name."""
    return mean_of((weights_of(read_state(folder)) for folder in folders), len(folders))
