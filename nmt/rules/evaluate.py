"""Computing rules with NumPy, to compare and check them before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt.rules.expression import Call, Expression, Mean, Number, Variable, parts

Array = NDArray[Any]

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "negative": np.negative,
    "sign": np.sign,
    "abs": np.abs,
    "exp": np.exp,
    "log": lambda x: np.log(np.abs(x)),
    "sqrt": lambda x: np.sqrt(np.abs(x)),
    "square": np.square,
    "cos": np.cos,
    "clip": lambda x, bound: np.clip(x, -bound, bound),
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
}


def computed(
    rule: Expression,
    variables: Mapping[str, Any],
    number: Callable[[float], Any],
    update: Callable[[Mean, Any], None],
    mean: Callable[[Mean], Any],
    call: Callable[[Call, list[Any]], Any],
) -> Any:
    """The value of a rule at one step, whatever its numbers are: `update` takes a value into a
    running mean, once for all means of it that differ in their correction alone; `mean` gives it;
    `call` applies a function to the values of its arguments."""
    values: dict[Expression, Any] = {}
    updated: set[tuple[Expression, float]] = set()
    for one in parts(rule):
        match one:
            case Number(value=constant):
                values[one] = number(constant)
            case Variable(name=name):
                values[one] = variables[name]
            case Mean(value=value, decay=decay):
                if (value, decay) not in updated:
                    updated.add((value, decay))
                    update(one, values[value])
                values[one] = mean(one)
            case Call(arguments=arguments):
                values[one] = call(one, [values[x] for x in arguments])
    return values[rule]


def updates(rule: Expression, gradients: Array, weights: Array, done: Array | None = None) -> Array:
    """The rule's values for the gradients (T, N) of T steps, with weights (N,) that stay as they
    are, in the precision of the gradients: (T, N). `done` (T,) is the fraction of the run, by
    default from 0 to 1."""
    kind = gradients.dtype.type
    steps = len(gradients)
    done = np.linspace(0, 1, steps) if done is None else done
    kept: dict[tuple[Expression, float], Any] = {}
    found = np.empty_like(gradients)

    def update(one: Mean, value: Any) -> None:
        before = kept.get((one.value, one.decay), kind(0))
        kept[one.value, one.decay] = before + kind(1 - one.decay) * (value - before)

    with np.errstate(all="ignore"):
        for step in range(steps):

            def mean(one: Mean, steps: int = step + 1) -> Any:
                correction = kind(1 - one.decay**steps) if one.corrected else kind(1)
                return kept[one.value, one.decay] / correction

            found[step] = computed(
                rule,
                {"g": gradients[step], "w": weights, "done": kind(done[step])},
                kind,
                update,
                mean,
                lambda one, arguments: FUNCTIONS[one.name](*arguments),
            )
    return found
