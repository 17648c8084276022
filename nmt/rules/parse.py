"""Reading update rules from text."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence

from nmt.errors import RuleError
from nmt.rules.expression import FUNCTIONS, PI, VARIABLES, Call, Expression, Mean, Number, Variable

OPERATOR_SIGNS: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
}
# Short names: functions of g with the usual decays, and of the fraction of the run that is done.
BETAS = (0.9, 0.999)
LONGEST, DEEPEST = 2000, 60  # characters, levels


def parse(
    text: str, betas: tuple[float, float] = BETAS, placeholders: Sequence[str] = ()
) -> Expression:
    """Read a rule such as `g * exp(sign(g) * sign(m))`.

    `m` is short for `mean(g, beta1)`, `v` for `mean(g * g, beta2)`; `linear` and `cosine` fall from
    1 to 0 over the run. `placeholders` are more variables, for parts of rules.

    Raises:
        RuleError: the text is not a rule; the message says where.
    """
    if len(text) > LONGEST:
        raise RuleError(f"A rule must have at most {LONGEST} characters, but has {len(text)}.")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise RuleError(
            f"`{text}` must be an expression, such as `g * exp(sign(g) * sign(m))`, but cannot be "
            f"read: {reason}."
        ) from None
    g = Variable("g")
    done = Variable("done")
    names: dict[str, Expression] = {
        **{name: Variable(name) for name in (*VARIABLES, *placeholders)},
        "m": Mean(g, betas[0], corrected=True),
        "v": Mean(Call("*", (g, g)), betas[1], corrected=True),
        "linear": Call("-", (Number(1.0), done)),
        "cosine": Call(
            "*",
            (
                Number(0.5),
                Call("+", (Number(1.0), Call("cos", (Call("*", (Number(PI), done)),)))),
            ),
        ),
    }
    return _Reader(text, names).read(tree.body, 0)


class _Reader:
    """Turns Python's syntax tree into an expression."""

    def __init__(self, text: str, names: Mapping[str, Expression]) -> None:
        self._text, self._names = text, names

    def read(self, node: ast.expr, depth: int) -> Expression:
        if depth > DEEPEST:
            raise RuleError(f"A rule must have at most {DEEPEST} levels, but has more.")
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self._number(node, value)
            case ast.Name(id=name):
                if name in self._names:
                    return self._names[name]
                raise self._unknown(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.read(operand, depth + 1)
                if isinstance(inner, Number):
                    return Number(-inner.value)
                return Call("negative", (inner,))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.read(operand, depth + 1)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATOR_SIGNS:
                sides = self.read(left, depth + 1), self.read(right, depth + 1)
                return Call(OPERATOR_SIGNS[type(operator)], sides)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments, depth)
        shown = ast.get_source_segment(self._text.strip(), node) or self._text
        raise RuleError(
            f"`{shown}` must be a number, a name, a function or one of the operators + - * / **, "
            f"but is something else, in `{self._text}`."
        )

    def _call(self, name: str, arguments: list[ast.expr], depth: int) -> Expression:
        if name in ("mean", "ema"):
            if len(arguments) != 2:
                raise RuleError(
                    f"`{name}` must have a value and a decay, as in `{name}(g, 0.9)`, but has "
                    f"{len(arguments)} arguments, in `{self._text}`."
                )
            value, decay = (self.read(one, depth + 1) for one in arguments)
            if not isinstance(decay, Number) or not 0 <= decay.value < 1:
                raise RuleError(
                    f"The decay of `{name}` must be a number from 0 to below 1, but is `{decay}`, "
                    f"in `{self._text}`."
                )
            return Mean(value, decay.value, corrected=name == "mean")
        if name == "clip":
            if len(arguments) != 2:
                raise RuleError(
                    "`clip` must have a value and a bound, as in `clip(g, 0.01)`, but has "
                    f"{len(arguments)} arguments, in `{self._text}`."
                )
            value, bound = (self.read(one, depth + 1) for one in arguments)
            if not isinstance(bound, Number) or bound.value <= 0:
                raise RuleError(
                    f"The bound of `clip` must be a number above 0, but is `{bound}`, in "
                    f"`{self._text}`."
                )
            return Call("clip", (value, bound))
        if name not in FUNCTIONS:
            raise self._unknown(name)
        if len(arguments) != 1:
            raise RuleError(
                f"`{name}` must have one argument, but has {len(arguments)}, in `{self._text}`."
            )
        return Call(name, (self.read(arguments[0], depth + 1),))

    def _number(self, node: ast.expr, value: float) -> Number:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            shown = ast.get_source_segment(self._text.strip(), node)
            raise RuleError(f"`{shown}` must be a finite number, in `{self._text}`.")
        return Number(number)

    def _unknown(self, name: str) -> RuleError:
        functions = ", ".join((*FUNCTIONS, "clip", "mean", "ema"))
        return RuleError(
            f"`{name}` must be one of {', '.join(self._names)}, or of the functions {functions}, "
            f"but is neither, in `{self._text}`."
        )
