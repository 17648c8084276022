"""Writing a rule in a simpler way that is the same function."""

from __future__ import annotations

import math
from collections.abc import Callable

from nmt.rules.expression import Call, Expression, Mean, Number, depends_on

ZERO, ONE = Number(0.0), Number(1.0)
COMMUTATIVE = ("+", "*")


def simplify(expression: Expression) -> Expression:
    """An equal expression, shorter where that is easy to see: numbers are computed, neutral
    elements left out, and operands of sums and products put in one order.

    Rewriting keeps values where all are finite; `x - x` becomes 0 also where x would be infinite.
    """
    while True:
        simpler = _once(expression)
        if simpler == expression:
            return expression
        expression = simpler


def _once(expression: Expression) -> Expression:
    match expression:
        case Mean(value=value, decay=decay, corrected=corrected):
            inner = _once(value)
            constant = isinstance(inner, Number) and (corrected or inner == ZERO)
            return inner if constant or decay == 0 else Mean(inner, decay, corrected)
        case Call(name=name, arguments=arguments):
            inner_ones = tuple(map(_once, arguments))
            if all(isinstance(one, Number) for one in inner_ones):
                values = [one.value for one in inner_ones if isinstance(one, Number)]
                if (number := _computed(name, values)) is not None:
                    return number
            return _call(name, inner_ones)
        case _:
            return expression


def _call(name: str, arguments: tuple[Expression, ...]) -> Expression:
    """A call of simplified arguments."""
    if len(arguments) == 1:
        return _function(name, arguments[0])
    left, right = arguments
    if name in COMMUTATIVE and _order(right) < _order(left):
        left, right = right, left
    match name, left, right:
        case "+", Number(value=0.0), x:
            return x
        case "-", x, Number(value=0.0):
            return x
        case "-", Number(value=0.0), x:
            return Call("negative", (x,))
        case "-", x, Call(name="negative", arguments=(y,)):
            return Call("+", (x, y))
        case "+", x, Call(name="negative", arguments=(y,)):
            return Call("-", (x, y))
        case "-", x, y if x == y:
            return ZERO
        case "*", Number(value=0.0), _:
            return ZERO
        case ("*", Number(value=1.0), x) | ("/" | "**", x, Number(value=1.0)):
            return x
        case "*", Number(value=-1.0), x:
            return Call("negative", (x,))
        case "/", Number(value=0.0), _:
            return ZERO
        case "**", _, Number(value=0.0):
            return ONE
        case "**", x, Number(value=2.0):
            return Call("*", (x, x))
        case "*", Number(value=a), Call(name="*", arguments=(Number(value=b), x)):
            return Call("*", (Number(a * b), x))
        case "*", Call(name="negative", arguments=(x,)), Call(name="negative", arguments=(y,)):
            return Call("*", (x, y))
        case ("*" | "/", Call(name="negative", arguments=(x,)), y):
            return Call("negative", (Call(name, (x, y)),))
        case ("*" | "/", x, Call(name="negative", arguments=(y,))):
            return Call("negative", (Call(name, (x, y)),))
        case "clip", Call(name="sign"), Number(value=bound) if bound >= 1:
            return left
    return Call(name, (left, right))


def _function(name: str, x: Expression) -> Expression:
    """A function of a simplified value."""
    match name, x:
        case "negative", Call(name="negative", arguments=(y,)):
            return y
        case "square", _:
            return Call("*", (x, x))
        case "sign", Call(name="sign"):
            return x
        case "sign", Call(name="negative", arguments=(y,)):
            return Call("negative", (Call("sign", (y,)),))
        case "sign", Call(name="*", arguments=(Number(value=a), y)) if a > 0:
            return Call("sign", (y,))
        case "abs", Call(name="abs" | "exp" | "sqrt"):
            return x
        case ("abs" | "sqrt" | "log", Call(name="negative", arguments=(y,))):
            return Call(name, (y,))
        case ("sqrt" | "log", Call(name="abs", arguments=(y,))):
            return Call(name, (y,))
        case "sqrt", Call(name="*", arguments=(y, z)) if y == z:
            return Call("abs", (y,))
    return Call(name, (x,))


def _order(expression: Expression) -> tuple[int, str]:
    """Numbers first, then what does not depend on the gradient, then by spelling."""
    if isinstance(expression, Number):
        return 0, ""
    return 1 + depends_on(expression, "g"), str(expression)


def _computed(name: str, values: list[float]) -> Number | None:
    """A call of numbers as a number; None where it is not a finite one."""
    functions: dict[str, Callable[..., float]] = {
        "negative": lambda x: -x,
        "sign": lambda x: float((x > 0) - (x < 0)),
        "abs": abs,
        "exp": math.exp,
        "log": lambda x: math.log(abs(x)),
        "sqrt": lambda x: math.sqrt(abs(x)),
        "square": lambda x: x * x,
        "cos": math.cos,
        "clip": lambda x, bound: max(-bound, min(bound, x)),
        "+": lambda x, y: x + y,
        "-": lambda x, y: x - y,
        "*": lambda x, y: x * y,
        "/": lambda x, y: x / y,
        "**": lambda x, y: x**y,
    }
    try:
        value = functions[name](*values)
    except (ArithmeticError, ValueError):
        return None
    return Number(value) if isinstance(value, float) and math.isfinite(value) else None
