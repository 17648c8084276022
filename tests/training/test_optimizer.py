import math
from typing import Any

import pytest
import torch
from torch import nn

from nmt.config import OptimizerConfig, ScheduleConfig
from nmt.training.optimizer import learning_rate_factor, optimizer_factory


def schedule(name: str, **changes: Any) -> ScheduleConfig:
    values = {"name": name, "warmup_steps": 10, "decay_start": 0.5, "final_factor": 0.1}
    values |= {"plateau_patience": 1, "plateau_factor": 0.5}
    return ScheduleConfig.model_validate({**values, **changes})


def optimizer(name: str, **changes: Any) -> OptimizerConfig:
    values = {
        "name": name,
        "learning_rate": 0.5,
        "betas": (0.9, 0.98),
        "epsilon": 1e-9,
        "weight_decay": 0.0,
        "clip_norm": None,
        "rule": None,
    }
    return OptimizerConfig.model_validate({**values, **changes})


@pytest.mark.parametrize("name", ["constant", "inverse_sqrt", "cosine", "plateau"])
def test_the_warm_up_is_a_line_to_the_peak(name: str) -> None:
    factors = [learning_rate_factor(schedule(name), step, 0.0) for step in range(10)]
    assert factors == pytest.approx([(step + 1) / 10 for step in range(10)])


@pytest.mark.parametrize("name", ["constant", "inverse_sqrt", "cosine"])
def test_without_warm_up_the_peak_comes_first(name: str) -> None:
    assert learning_rate_factor(schedule(name, warmup_steps=0), 0, 0.0) == 1


def test_constant_stays() -> None:
    assert learning_rate_factor(schedule("constant"), 10**6, 1.0) == 1


def test_inverse_square_root() -> None:
    factors = [learning_rate_factor(schedule("inverse_sqrt"), step, 0.0) for step in (9, 39, 999)]
    assert factors == pytest.approx([1, 1 / 2, 1 / 10])


def test_cosine_holds_then_falls_to_its_end() -> None:
    def factor(progress: float) -> float:
        return learning_rate_factor(schedule("cosine"), 100, progress)

    assert factor(0.0) == factor(0.3) == factor(0.5) == 1
    assert factor(0.75) == pytest.approx((1 + 0.1) / 2)
    assert factor(0.625) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert factor(1.0) == pytest.approx(0.1)
    assert factor(1.2) == pytest.approx(0.1), "a run may end a little late"
    falling = [factor(i / 20) for i in range(10, 21)]
    assert falling == sorted(falling, reverse=True)


def test_adam_has_its_settings() -> None:
    parameter = nn.Parameter(torch.ones(2))
    made = optimizer_factory(optimizer("adam", weight_decay=0.1))([parameter])
    assert isinstance(made, torch.optim.AdamW)
    (group,) = made.param_groups
    assert (group["lr"], group["betas"], group["eps"]) == (0.5, (0.9, 0.98), 1e-9)
    assert group["weight_decay"] == 0.1
    parameter.grad = torch.tensor([2.0, -3.0])
    made.step()
    # The first step is the rate, in the gradient's direction, beside the decay.
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.45, 1.45]))


@pytest.mark.parametrize("name", ["adagrad", "adafactor"])
def test_the_first_step_of_adagrad_and_adafactor(name: str) -> None:
    """The rate in the gradient's direction; Adafactor's times the values' size, here 1."""
    parameter = nn.Parameter(torch.ones(2))
    made = optimizer_factory(optimizer(name))([parameter])
    parameter.grad = torch.tensor([2.0, -3.0])
    made.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.5, 1.5]))


def test_sgd_follows_the_gradient() -> None:
    parameter = nn.Parameter(torch.ones(2))
    made = optimizer_factory(optimizer("sgd"))([parameter])
    parameter.grad = torch.tensor([2.0, -3.0])
    made.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.0, 2.5]))


def test_weight_decay_is_decoupled_from_sgd_s_gradient_alike() -> None:
    parameter = nn.Parameter(torch.ones(1))
    made = optimizer_factory(optimizer("sgd", weight_decay=0.1))([parameter])
    parameter.grad = torch.zeros(1)
    made.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([1 - 0.5 * 0.1]))


def test_adagrad_takes_parameters_that_come_later() -> None:
    """As DeepSpeed gives it some."""
    first, later = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    made = optimizer_factory(optimizer("adagrad"))([first])
    made.param_groups[0]["params"] = [later]
    made.state.clear()
    for _ in range(2):
        later.grad = torch.tensor([2.0, -3.0])
        made.step()
    expected = 0.5 * (1 + 1 / 2**0.5)
    torch.testing.assert_close(later.detach(), torch.tensor([1 - expected, 1 + expected]))
