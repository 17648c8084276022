"""An executor's state as a flat dictionary of tensors, under the same names from every executor.

`parameter/<name>`, `optimizer/<field>/<name>` and `average/<name>` have canonical parameter names,
which do not depend on where a layer runs. The average is a decayed sum, to be divided by the scalar
`average_mass`; both are missing where there is no average.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping

import torch
from torch import Tensor

from nmt.errors import CheckpointError

PARAMETER, OPTIMIZER, AVERAGE = "parameter/", "optimizer/", "average/"
AVERAGE_MASS = "average_mass"


def parameter_of(key: str) -> str:
    """The canonical name of the parameter that a key of a state belongs to."""
    kind, _, rest = key.partition("/")
    return rest.partition("/")[2] if f"{kind}/" == OPTIMIZER else rest


def owned_part(state: Mapping[str, Tensor], names: Container[str]) -> dict[str, Tensor]:
    """What a state has of the parameters called `names`, and what belongs to none."""
    return {
        key: value
        for key, value in state.items()
        if key == AVERAGE_MASS or parameter_of(key) in names
    }


def optimizer_fields(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The optimizer's part of a state: canonical parameter name → field → value."""
    fields: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in state.items():
        if key.startswith(OPTIMIZER):
            field, _, name = key.removeprefix(OPTIMIZER).partition("/")
            fields[name][field] = value
    return dict(fields)


def check_state(state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], origin: str) -> None:
    """Check that a state, read from `origin`, is one of a model with parameters of these shapes.

    Raises:
        CheckpointError: a tensor is missing, or is not one of this model's; the message names it.
    """
    for name in shapes:
        if PARAMETER + name not in state:
            raise CheckpointError(
                f"`{origin}` must have a tensor `{PARAMETER}{name}`, but has none; it belongs to "
                "another model, or is damaged."
            )
    for key, value in state.items():
        problem = _problem(key, value, shapes)
        if problem is not None:
            raise CheckpointError(
                f"`{key}` in `{origin}` {problem}; it belongs to another model, or is damaged."
            )


def _problem(key: str, value: Tensor, shapes: Mapping[str, torch.Size]) -> str | None:
    """What is wrong with a tensor of a state."""
    if not value.is_floating_point():
        return f"must be of floating-point numbers, but is {value.dtype} instead"
    if not bool(torch.isfinite(value).all()):
        return "must be finite, but is not"
    if key == AVERAGE_MASS:
        return None if value.dim() == 0 else "must be one number, but is not"
    kind = key.partition("/")[0] + "/"
    shape = shapes.get(parameter_of(key))
    if shape is None or kind not in (PARAMETER, OPTIMIZER, AVERAGE):
        return "must be a tensor of the model, but is not"
    # An optimizer may keep one number, or less than a number for each of a parameter's.
    fits = value.shape == shape or (kind == OPTIMIZER and value.numel() <= shape.numel())
    return None if fits else f"must have the shape {tuple(shape)}, but has {tuple(value.shape)}"
