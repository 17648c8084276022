"""States have the same names everywhere, and are read as they were written."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nmt.parallel.state import (
    load_local_state,
    local_state,
    optimizer_fields,
    parameter_of,
)


def trained() -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    """Two parameters after a step of Adam."""
    parameters = {
        "encoder.0.lstm.weight": nn.Parameter(torch.ones(2, 3)),
        "output.bias": nn.Parameter(torch.zeros(4)),
    }
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.1)
    for parameter in parameters.values():
        parameter.grad = torch.full_like(parameter, 0.5)
    optimizer.step()
    return parameters, optimizer


def test_a_key_says_which_parameter_it_belongs_to() -> None:
    assert parameter_of("parameter/output.bias") == "output.bias"
    assert parameter_of("optimizer/exp_avg/encoder.0/forward.weight") == "encoder.0/forward.weight"


def test_the_optimizers_fields_by_parameter() -> None:
    parameters, optimizer = trained()
    fields = optimizer_fields(local_state(parameters, optimizer))
    assert fields.keys() == parameters.keys()
    assert all(set(found) == {"step", "exp_avg", "exp_avg_sq"} for found in fields.values())


def test_what_is_loaded_is_what_was_saved() -> None:
    parameters, optimizer = trained()
    state: dict[str, Tensor] = {
        key: value.clone() for key, value in local_state(parameters, optimizer).items()
    }
    others, another = trained()
    for parameter in others.values():
        parameter.grad = torch.ones_like(parameter)
    another.step()
    load_local_state(others, another, state)
    found = local_state(others, another)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_a_state_without_the_optimizers_starts_it_anew() -> None:
    parameters, optimizer = trained()
    load_local_state(
        parameters, optimizer, {f"parameter/{n}": p.detach() for n, p in parameters.items()}
    )
    assert not any(optimizer.state.get(p) for p in parameters.values())
