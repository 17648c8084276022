"""The nodes of an update rule.

A rule is the direction of a step, which is multiplied by the learning rate and subtracted from the
weight. It is made of the gradient `g`, the weight `w`, numbers, running means, the fraction `done`
of the run, functions of one value and operators of two (Bello et al., “Neural Optimizer Search with
Reinforcement Learning”, ICML 2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

# Functions of one value. `log` and `sqrt` take the magnitude, so that they are defined everywhere.
FUNCTIONS = ("sign", "abs", "exp", "log", "sqrt", "square", "cos")
# Operators of two values, by their sign, with their precedence; `**` is a power.
OPERATORS = {"+": 1, "-": 1, "*": 2, "/": 2, "**": 4}
NEGATIVE, ATOM = 3, 9  # the precedence of a leading minus, and of what needs no parentheses
VARIABLES = {
    "g": "the gradient",
    "w": "the weight",
    "done": "the fraction of the run that is done, from 0 to 1",
}
PI = 3.141592653589793


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float

    def __str__(self) -> str:
        return f"{self.value:.12g}"


@dataclass(frozen=True)
class Variable:
    """One of VARIABLES."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Mean:
    """An exponential running mean of a value, from 0, with the bias of its start corrected, or not:
    `mean(x, decay)` and `ema(x, decay)`."""

    value: Expression
    decay: float
    corrected: bool

    def __str__(self) -> str:
        return f"{'mean' if self.corrected else 'ema'}({self.value}, {self.decay:.12g})"


@dataclass(frozen=True)
class Call:
    """A function or an operator, by its name or sign; `negative` is a leading minus."""

    name: str
    arguments: tuple[Expression, ...]

    def __str__(self) -> str:
        if self.name == "negative":
            return f"-{_inside(self.arguments[0], NEGATIVE)}"
        if self.name not in OPERATORS:
            return f"{self.name}({', '.join(map(str, self.arguments))})"
        rank = OPERATORS[self.name]
        left, right = self.arguments
        # Operators are read from the left, but a power from the right.
        power = self.name == "**"
        first = _inside(left, rank + power)
        second = _inside(right, NEGATIVE if power else rank + 1)
        return f"{first} {self.name} {second}"


Expression: TypeAlias = Number | Variable | Mean | Call


def _inside(expression: Expression, rank: int) -> str:
    """An operand, in parentheses where it binds less than `rank`."""
    match expression:
        case Number(value=value):
            own = NEGATIVE if value < 0 else ATOM
        case Call(name="negative"):
            own = NEGATIVE
        case Call(name=name):
            own = OPERATORS.get(name, ATOM)
        case _:
            own = ATOM
    return f"({expression})" if own < rank else str(expression)


def children(expression: Expression) -> tuple[Expression, ...]:
    """What an expression is made of, one level down."""
    match expression:
        case Mean():
            return (expression.value,)
        case Call():
            return expression.arguments
        case _:
            return ()


def parts(expression: Expression) -> Iterator[Expression]:
    """All parts of an expression in an order in which each comes behind what it is made of, without
    repetition; the expression itself is the last."""
    seen: set[Expression] = set()

    def visit(one: Expression) -> Iterator[Expression]:
        if one in seen:
            return
        for child in children(one):
            yield from visit(child)
        seen.add(one)
        yield one

    yield from visit(expression)


def means(expression: Expression) -> list[Mean]:
    """The running means that a rule keeps for each weight. Means that differ only in the correction
    of their bias are kept once: the first of them is listed."""
    kept: dict[tuple[Expression, float], Mean] = {}
    for one in parts(expression):
        if isinstance(one, Mean):
            kept.setdefault((one.value, one.decay), one)
    return list(kept.values())


def depends_on(expression: Expression, name: str) -> bool:
    """Whether a variable is part of an expression."""
    return any(isinstance(one, Variable) and one.name == name for one in parts(expression))
