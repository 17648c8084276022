"""Recurrent cells as text: how a unit's next state is computed from products of matrices with the
input and with the state (after Zoph & Le, “Neural Architecture Search with Reinforcement Learning”,
ICLR 2017).

    i = sigmoid(x0 + h0); f = sigmoid(x1 + h1); g = tanh(x2 + h2); o = sigmoid(x3 + h3);
    c = f * c + i * g; h = o * tanh(c)

`x0`, `x1`, … are products with the input and `h0`, `h1`, … with the state, each with its own matrix
and bias; `h` and `c` are the state and the memory before the step, and behind the statement that
sets them, those after it. `h` must be set; a cell that does not set `c` has no memory.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from nmt.errors import RuleError
from nmt.rules.expression import Call, Expression, Number, Variable, children, parts

FUNCTIONS = ("tanh", "sigmoid", "relu")
SIGNS: Mapping[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
PRODUCT = re.compile(r"([xh])(0|[1-9]\d?)")
STATE, MEMORY = Variable("h"), Variable("c")
LONGEST, DEEPEST, MOST = 2000, 60, 16  # characters, levels, products of a kind

KNOWN_CELLS = {
    "lstm": "i = sigmoid(x0 + h0); f = sigmoid(x1 + h1); g = tanh(x2 + h2); "
    "o = sigmoid(x3 + h3); c = f * c + i * g; h = o * tanh(c)",
    # In PyTorch's form: the reset gate is applied to the product, its bias included.
    "gru": "r = sigmoid(x0 + h0); z = sigmoid(x1 + h1); n = tanh(x2 + r * h2); h = n + z * (h - n)",
}


@dataclass(frozen=True)
class Cell:
    """A cell as expressions of products, state and memory before the step."""

    output: Expression  # the state after the step
    memory: Expression | None  # the memory after the step; None: there is none

    @property
    def inputs(self) -> tuple[int, ...]:
        """The numbers of the products with the input, in order."""
        return self._numbers("x")

    @property
    def states(self) -> tuple[int, ...]:
        """The numbers of the products with the state, in order."""
        return self._numbers("h")

    def _numbers(self, kind: str) -> tuple[int, ...]:
        names = (one.name for one in self.parts if isinstance(one, Variable))
        found = (PRODUCT.fullmatch(name) for name in names)
        return tuple(sorted(int(one[2]) for one in found if one and one[1] == kind))

    @property
    def parts(self) -> list[Expression]:
        """All parts, each behind what it is made of, without repetition."""
        both = (self.output,) if self.memory is None else (self.memory, self.output)
        return list(dict.fromkeys(part for one in both for part in parts(one)))

    def __str__(self) -> str:
        return _text(self)


@cache
def read_cell(text: str) -> Cell:
    """Read a cell, or one that is known by its name.

    Raises:
        RuleError: it is neither; the message says why.
    """
    text = KNOWN_CELLS.get(text, text).strip().rstrip(";")
    if len(text) > LONGEST:
        raise RuleError(f"A cell must have at most {LONGEST} characters, but has {len(text)}.")
    names: dict[str, Expression] = {"h": STATE, "c": MEMORY}
    set_names: set[str] = set()
    for statement in text.split(";"):
        name, value = _statement(statement.strip(), text)
        names[name] = _Reader(text, names).read(value, 0)
        set_names.add(name)
    if "h" not in set_names:
        raise RuleError(f"A cell must set h, as in `h = tanh(x0 + h0)`, but `{text}` does not.")
    cell = Cell(names["h"], names["c"] if "c" in set_names else None)
    used = {one.name for one in cell.parts if isinstance(one, Variable)}
    if not cell.inputs:
        raise RuleError(f"A cell must read its input (x0, x1, …), but `{text}` does not.")
    if "c" in used and cell.memory is None:
        raise RuleError(f"A cell that reads its memory c must set it, but `{text}` does not.")
    return cell


def _statement(text: str, whole: str) -> tuple[str, ast.expr]:
    """`name = expression` → both."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise RuleError(
            f"`{text}` must be `name = expression`, but cannot be read: {reason}, in `{whole}`."
        ) from None
    match body:
        case [ast.Assign(targets=[ast.Name(id=name)], value=value)]:
            if PRODUCT.fullmatch(name) or name in FUNCTIONS:
                raise RuleError(f"`{name}` is given and cannot be set, in `{whole}`.")
            return name, value
    raise RuleError(f"`{text}` must be `name = expression`, in `{whole}`.")


class _Reader:
    """Turns Python's syntax tree into an expression."""

    def __init__(self, text: str, names: Mapping[str, Expression]) -> None:
        self._text, self._names = text, names

    def read(self, node: ast.expr, depth: int) -> Expression:
        if depth > DEEPEST:
            raise RuleError(f"A cell must have at most {DEEPEST} levels, but has more.")
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self._number(float(value))
            case ast.Name(id=name):
                return self._variable(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.read(operand, depth + 1)
                return Number(-inner.value) if isinstance(inner, Number) else _negative(inner)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in SIGNS:
                sides = self.read(left, depth + 1), self.read(right, depth + 1)
                return Call(SIGNS[type(operator)], sides)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if (
                name in FUNCTIONS
            ):
                return Call(name, (self.read(argument, depth + 1),))
        shown = ast.unparse(node)
        raise RuleError(
            f"`{shown}` must be a number, a name, one of the functions {', '.join(FUNCTIONS)} or "
            f"of the operators + - *, but is something else, in `{self._text}`."
        )

    def _number(self, value: float) -> Number:
        if abs(value) > 100:
            raise RuleError(f"`{value:g}` must be within ±100, in `{self._text}`.")
        return Number(value)

    def _variable(self, name: str) -> Expression:
        if name in self._names:
            return self._names[name]
        found = PRODUCT.fullmatch(name)
        if found and int(found[2]) < MOST:
            return Variable(name)
        raise RuleError(
            f"`{name}` must be x0 to x{MOST - 1}, h0 to h{MOST - 1}, h, c or a name that is set "
            f"before, in `{self._text}`."
        )


def _negative(value: Expression) -> Expression:
    return Call("negative", (value,))


def _text(cell: Cell) -> str:
    """The statements of a cell; parts that are used more than once have names."""
    ordered = cell.parts
    uses = Counter(child for part in ordered for child in children(part))
    names: dict[Expression, Expression] = {}
    lines: list[str] = []
    for part in ordered:
        if part == cell.memory and part != cell.output:
            uses[part] += 2
        if isinstance(part, Call) and uses[part] > 1 and part != cell.output:
            name = f"n{len(lines)}"
            lines.append(f"{name} = {_named(part, names)}")
            names[part] = Variable(name)
    if cell.memory is not None and cell.memory != MEMORY:
        # The memory is set last but one: its name must not hide the earlier value.
        lines.append(f"out = {_named(cell.output, names)}")
        return "; ".join([*lines, f"c = {_named(cell.memory, names)}", "h = out"])
    if cell.memory is not None:
        lines.append("c = c")
    return "; ".join([*lines, f"h = {_named(cell.output, names)}"])


def _named(part: Expression, names: Mapping[Expression, Expression]) -> Expression:
    """A part whose own parts are replaced by their names."""
    if part in names:
        return names[part]
    if not isinstance(part, Call):
        return part
    return Call(part.name, tuple(_named(one, names) for one in part.arguments))


def evaluate(
    cell: Cell,
    variables: Mapping[str, Any],
    number: Callable[[float], Any],
    call: Callable[[str, list[Any]], Any],
) -> tuple[Any, Any]:
    """The next state and memory (None: there is none), whatever their numbers are: `variables` are
    products, state and memory by name; `call` applies a function or an operator."""
    values: dict[Expression, Any] = {}
    for part in cell.parts:
        match part:
            case Number(value=value):
                values[part] = number(value)
            case Variable(name=name):
                values[part] = variables[name]
            case Call(name=name, arguments=arguments):
                values[part] = call(name, [values[one] for one in arguments])
    return values[cell.output], None if cell.memory is None else values[cell.memory]
