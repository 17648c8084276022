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


def updates(rule: Expression, gradients: Array, weights: Array, done: Array | None = None) -> Array:
    """The rule's values for the gradients (T, N) of T steps, with weights (N,) that stay as they
    are, in the precision of the gradients: (T, N). `done` (T,) is the fraction of the run, by
    default from 0 to 1."""
    kind = gradients.dtype.type
    steps = len(gradients)
    done = np.linspace(0, 1, steps) if done is None else done
    order = list(parts(rule))
    kept: dict[tuple[Expression, float], Any] = {}
    found = np.empty_like(gradients)
    with np.errstate(all="ignore"):
        for step in range(steps):
            known: dict[str, Any] = {"g": gradients[step], "w": weights, "done": kind(done[step])}
            values: dict[Expression, Any] = {}
            fresh: set[tuple[Expression, float]] = set()
            for one in order:
                match one:
                    case Number(value=value):
                        values[one] = kind(value)
                    case Variable(name=name):
                        values[one] = known[name]
                    case Mean(value=value, decay=decay, corrected=corrected):
                        key = value, decay
                        if key not in fresh:
                            fresh.add(key)
                            before = kept.get(key, kind(0))
                            kept[key] = before + kind(1 - decay) * (values[value] - before)
                        correction = kind(1 - decay ** (step + 1)) if corrected else kind(1)
                        values[one] = kept[key] / correction
                    case Call(name=name, arguments=arguments):
                        values[one] = FUNCTIONS[name](*(values[x] for x in arguments))
            found[step] = values[rule]
    return found
