"""What can be known of a cell before anything is trained by it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from nmt.errors import RuleError
from nmt.rules.cells import MEMORY, PRODUCT, STATE, Cell, evaluate, read_cell
from nmt.rules.evaluate import FUNCTIONS, Array
from nmt.rules.expression import Call, Expression, Number, Variable

UNITS, ROWS, STEPS = 24, 8, 60
LARGEST = 1e3  # a state beyond this will overflow soon
DIGITS = 6  # to which two cells must agree to be the same
COMMUTATIVE = ("+", "*")

CELL_FUNCTIONS: Mapping[str, Any] = {
    **FUNCTIONS,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
}


@lru_cache(maxsize=100_000)
def problem_of(text: str) -> str | None:
    """Why nothing should be trained with a cell; None: nothing is known against it."""
    try:
        cell = read_cell(text)
    except RuleError as error:
        return str(error)
    if not cell.states and not any(one in (STATE, MEMORY) for one in cell.parts):
        return "the cell is unsafe: it remembers nothing"
    if _largest(cell) > LARGEST:
        return "the cell is unsafe: its state grows without bound"
    return None


@lru_cache(maxsize=100_000)
def fingerprint(text: str) -> str:
    """The same for cells that are the same function, up to the order of their matrices."""
    try:
        cell = renumbered(read_cell(text))
    except RuleError:
        return text
    rng = np.random.default_rng(20170424)
    names = [f"{kind}{number}" for kind in "xh" for number in range(16)] + ["h", "c"]
    values = {name: rng.normal(0, 1, 64) for name in names}
    found = _step(cell, values)
    shape = f"{len(cell.inputs)} {len(cell.states)} {cell.memory is not None} "
    digest = hashlib.sha256(shape.encode())
    for one in found:
        if one is not None:
            rounded = np.round(np.broadcast_to(np.asarray(one, float), 64), DIGITS) + 0.0
            digest.update(np.ascontiguousarray(rounded).tobytes())
    return digest.hexdigest()[:16]


def bound_of(cell: Cell) -> float | None:
    """1 if states stay within ±1, as far as random values can show; None: they do not."""
    rng = np.random.default_rng(1)
    values: dict[str, Array] = {
        name: rng.normal(0, 1, 20_000) * np.exp(rng.normal(0, 1.5, 20_000))
        for name in _variables(cell)
    }
    values["h"] = rng.uniform(-1, 1, 20_000)
    values["h"][::4] = np.sign(values["h"][::4])
    return 1.0 if np.abs(_step(cell, values)[0]).max() <= 1 + 1e-9 else None


def _largest(cell: Cell) -> float:
    """The largest state or memory after many steps of random inputs and weights."""
    rng = np.random.default_rng(3)
    weights = {n: rng.normal(0, UNITS**-0.5, (UNITS, UNITS)) for n in cell.states}
    h = np.zeros((ROWS, UNITS))
    c = np.zeros((ROWS, UNITS))
    for _ in range(STEPS):
        variables = {f"x{n}": rng.normal(0, 1, (ROWS, UNITS)) for n in cell.inputs}
        variables |= {f"h{n}": h @ weight for n, weight in weights.items()}
        h, memory = _step(cell, {**variables, "h": h, "c": c})
        c = c if memory is None else memory
        size = max(float(np.abs(h).max()), float(np.abs(c).max()))
        if not size <= LARGEST:
            return np.inf
    return size


def _step(cell: Cell, variables: Mapping[str, Any]) -> tuple[Any, Any]:
    def call(name: str, arguments: list[Any]) -> Any:
        return CELL_FUNCTIONS[name](*arguments)

    with np.errstate(all="ignore"):
        return evaluate(cell, variables, float, call)


def _variables(cell: Cell) -> list[str]:
    return [one.name for one in cell.parts if isinstance(one, Variable)]


def renumbered(cell: Cell) -> Cell:
    """The same cell with operands in one order and products numbered in the order of their use."""
    numbers: dict[str, dict[str, int]] = {"x": {}, "h": {}}

    def renamed(one: Expression) -> Expression:
        match one:
            case Variable(name=name) if found := PRODUCT.fullmatch(name):
                # Both products of a pair have one number, where they are first used together.
                kind = numbers[found[1]]
                return Variable(f"{found[1]}{kind.setdefault(name, len(kind))}")
            case Call(name=name, arguments=arguments):
                return Call(name, tuple(map(renamed, arguments)))
            case _:
                return one

    output = _ordered(cell.output)
    memory = None if cell.memory is None else renamed(_ordered(cell.memory))
    return Cell(renamed(output), memory)


@lru_cache(maxsize=100_000)
def _shape(one: Expression) -> str:
    """An expression without the numbers of products."""
    return PRODUCT.sub(r"\1", str(one))


@lru_cache(maxsize=100_000)
def _ordered(one: Expression) -> Expression:
    """An expression with the operands of sums and products in one order."""
    if not isinstance(one, Call):
        return one
    arguments = tuple(map(_ordered, one.arguments))
    if one.name in COMMUTATIVE:
        arguments = tuple(sorted(arguments, key=_shape))
    if all(isinstance(x, Number) for x in arguments):
        return one
    return Call(one.name, arguments)
