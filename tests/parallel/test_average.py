"""Running averages equal the weighted means that they stand for, and leave the weights alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nmt.parallel.average import RunningAverage, replaced


def weights(*values: float) -> list[Tensor]:
    return [torch.full((2, 3), value) for value in values]


def test_constant_weights_stay_constant() -> None:
    average, tensors = RunningAverage(), weights(3.0, -1.0)
    for _ in range(20):
        average.update(tensors, 0.9)
        for tensor in tensors:
            torch.testing.assert_close(average.mean_of(tensor), tensor)


def test_there_is_none_before_the_first_update() -> None:
    average = RunningAverage()
    assert not average.started
    average.update(weights(1.0), 0.9)
    assert average.started
    average.load({}, 0.0)
    assert not average.started


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_equals_the_weighted_mean(decay: float) -> None:
    values = [1.0, 5.0, -2.0, 4.0]
    average, (tensor,) = RunningAverage(), weights(0.0)
    for value in values:
        tensor.fill_(value)
        average.update([tensor], decay)
    shares = [decay ** (len(values) - 1 - i) for i in range(len(values))]
    mean = sum(s * v for s, v in zip(shares, values, strict=True)) / sum(shares)
    torch.testing.assert_close(average.mean_of(tensor), torch.full((2, 3), mean))


def test_what_is_loaded_is_copied() -> None:
    average, (tensor,) = RunningAverage(), weights(2.0)
    total = torch.full((2, 3), 0.5)
    average.load({tensor: total}, 0.25)
    average.update([tensor], 0.5)
    assert torch.equal(total, torch.full((2, 3), 0.5))
    torch.testing.assert_close(average.mean_of(tensor), torch.full((2, 3), 1.25 / 0.625))


def test_replaced_values_come_back_after_an_error() -> None:
    published: list[float] = []
    (tensor,), (other,) = weights(1.0), weights(2.0)

    def publish() -> None:
        published.append(float(tensor[0, 0]))

    def fail() -> None:
        with replaced([(tensor, other)], publish):
            assert torch.equal(tensor, other)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(tensor, torch.ones(2, 3))
    assert published == [2.0, 1.0]
