"""States have the same names everywhere, and are read as they were written."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nmt.parallel.state import optimizer_fields, owned_part, parameter_of
from nmt.parallel.weights import Weights

FIELDS = {"step", "exp_avg", "exp_avg_sq"}


class Trained:
    """Two parameters after a step of Adam."""

    def __init__(self, gradient: float = 0.5) -> None:
        self.parameters = {
            "encoder.0.lstm.weight": nn.Parameter(torch.ones(2, 3)),
            "output.bias": nn.Parameter(torch.zeros(4)),
        }
        self.published = 0
        optimizer = torch.optim.AdamW(self.parameters.values(), lr=0.1)
        self.weights = Weights([self.parameters], optimizer, self.publish)
        self.optimizer = optimizer
        for parameter in self.parameters.values():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()

    def publish(self) -> None:
        self.published += 1

    def saved(self) -> dict[str, Tensor]:
        return {key: value.clone() for key, value in self.weights.state().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in b)


def test_a_key_says_which_parameter_it_belongs_to() -> None:
    assert parameter_of("parameter/output.bias") == "output.bias"
    assert parameter_of("average/output.bias") == "output.bias"
    assert parameter_of("optimizer/exp_avg/encoder.0/forward.weight") == "encoder.0/forward.weight"


def test_the_optimizers_fields_by_parameter() -> None:
    fields = optimizer_fields(Trained().weights.state())
    assert fields.keys() == Trained().parameters.keys()
    assert all(set(found) == FIELDS for found in fields.values())


def test_a_part_of_a_state_has_what_belongs_to_no_parameter() -> None:
    trained = Trained()
    trained.weights.update_average(0.9)
    part = owned_part(trained.weights.state(), {"output.bias"})
    assert set(part) == {
        "parameter/output.bias",
        "average/output.bias",
        "average_mass",
        *(f"optimizer/{field}/output.bias" for field in FIELDS),
    }


def test_what_is_loaded_is_what_was_saved() -> None:
    trained, other = Trained(), Trained(gradient=-1.0)
    trained.weights.update_average(0.9)
    state = trained.saved()
    other.weights.load(state)
    assert other.published == 1
    assert equal(other.saved(), state)
    assert other.weights.has_average
    for one in (trained, other):
        for parameter in one.parameters.values():
            parameter.grad = torch.ones_like(parameter)
        one.optimizer.step()
        one.weights.update_average(0.9)
    assert equal(other.saved(), trained.saved())
    assert not equal(trained.saved(), state)


def test_a_state_with_parameters_alone_starts_all_else_anew() -> None:
    trained = Trained()
    trained.weights.update_average(0.9)
    parameters = {k: v for k, v in trained.saved().items() if k.startswith("parameter/")}
    trained.weights.load(parameters)
    assert not trained.weights.has_average
    assert equal(trained.saved(), parameters)


def test_inside_the_average_the_parameters_are_others() -> None:
    trained = Trained()
    trained.weights.update_average(0.5)
    before = trained.saved()
    trained.optimizer.step()
    after = trained.saved()
    with trained.weights.using_average():
        torch.testing.assert_close(
            trained.weights.parameters()["output.bias"], before["parameter/output.bias"]
        )
    with trained.weights.using(
        {name: torch.ones_like(p) for name, p in trained.parameters.items()}
    ):
        assert torch.equal(trained.weights.parameters()["output.bias"], torch.ones(4))
    assert equal(trained.saved(), after)
    assert trained.published == 4
