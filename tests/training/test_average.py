from pathlib import Path

import pytest
import torch
from torch import Tensor

from nmt.training.average import RunningAverage, mean_of_checkpoints
from nmt.training.checkpoint import Checkpoints, Progress


def weights(value: float) -> dict[str, Tensor]:
    return {"a": torch.full((2, 3), value), "b": torch.full((), -value)}


def test_constant_weights_stay_constant() -> None:
    average = RunningAverage(0.9)
    for _ in range(20):
        average.update(weights(3.0))
        torch.testing.assert_close(average.weights, weights(3.0))


def test_no_average_before_the_first_update() -> None:
    average = RunningAverage(0.9)
    assert average.weights == {}
    assert average.state_dict() == {}
    average.load_state_dict({"parameter/a": torch.zeros(1)})
    assert average.weights == {}


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_equals_the_weighted_mean(decay: float) -> None:
    values = [1.0, 5.0, -2.0, 4.0]
    average = RunningAverage(decay)
    for value in values:
        average.update(weights(value))
    shares = [decay ** (len(values) - 1 - i) for i in range(len(values))]
    mean = sum(s * v for s, v in zip(shares, values, strict=True)) / sum(shares)
    torch.testing.assert_close(average.weights, weights(mean))


def test_what_is_averaged_may_change_afterwards() -> None:
    average, live = RunningAverage(0.5), weights(1.0)
    average.update(live)
    live["a"].zero_()
    torch.testing.assert_close(average.weights, weights(1.0))


def test_state_both_ways() -> None:
    through, broken = RunningAverage(0.7), RunningAverage(0.7)
    for value in (1.0, 2.0):
        through.update(weights(value))
        broken.update(weights(value))
    state = {name: value.clone() for name, value in broken.state_dict().items()}
    resumed = RunningAverage(0.7)
    resumed.load_state_dict({**state, "parameter/a": torch.zeros(1)})
    for average in (through, resumed):
        average.update(weights(7.0))
    assert through.weights.keys() == resumed.weights.keys() == {"a", "b"}
    assert all(torch.equal(through.weights[name], resumed.weights[name]) for name in "ab")
    assert torch.equal(state["average/a"], broken.state_dict()["average/a"]), "it has a copy"


def test_the_mean_of_checkpoints(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step, value in enumerate([1.0, 2.0, 6.0]):
        state = {f"parameter/{name}": v for name, v in weights(value).items()}
        checkpoints.write(Progress(step=step), {**state, "optimizer/step/a": torch.ones(())})
    mean = mean_of_checkpoints(checkpoints.all())
    torch.testing.assert_close(mean, weights(3.0))
    torch.testing.assert_close(mean_of_checkpoints(checkpoints.all()[-1:]), weights(6.0))
