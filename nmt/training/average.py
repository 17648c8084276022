"""Averaging the last checkpoints, which often gives a better model than the last one alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from nmt.parallel.state import PARAMETER
from nmt.training.checkpoint import read_state


def mean_of_checkpoints(folders: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of the checkpoints' parameters, by name. Has one checkpoint in memory at a time."""
    mean: dict[str, Tensor] = {}
    for folder in folders:
        for key, value in read_state(folder).items():
            if key.startswith(PARAMETER):
                name, part = key.removeprefix(PARAMETER), value.double() / len(folders)
                mean[name] = mean[name] + part if name in mean else part
    return {name: value.float() for name, value in mean.items()}
