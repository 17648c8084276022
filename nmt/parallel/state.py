"""An executor's state as a flat dictionary of tensors, under the same names from every executor.

`parameter/<name>`, `optimizer/<field>/<name>` and `average/<name>` have canonical parameter names,
which do not depend on where a layer runs. The average is a decayed sum, to be divided by the scalar
`average_mass`; both are missing where there is no average.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping

from torch import Tensor

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
