from pathlib import Path

import torch
from torch import Tensor

from nmt.training.average import mean_of_checkpoints
from nmt.training.checkpoint import Checkpoints, Progress


def weights(value: float) -> dict[str, Tensor]:
    return {"a": torch.full((2, 3), value), "b": torch.full((), -value)}


def test_the_mean_of_checkpoints(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step, value in enumerate([1.0, 2.0, 6.0]):
        state = {f"parameter/{name}": v for name, v in weights(value).items()}
        checkpoints.write(Progress(step=step), {**state, "optimizer/step/a": torch.ones(())})
    mean = mean_of_checkpoints(checkpoints.all())
    torch.testing.assert_close(mean, weights(3.0))
    torch.testing.assert_close(mean_of_checkpoints(checkpoints.all()[-1:]), weights(6.0))
