"""Update rules as decisions (Bello et al., “Neural Optimizer Search with Reinforcement Learning”,
ICML 2017).

A rule is made in steps. Each chooses two operands, a function for each and an operator, and its
result is an operand of the steps behind it. The last result is the rule.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import lru_cache

from nmt.config import RuleSpaceConfig
from nmt.errors import ConfigurationError, RuleError
from nmt.rules import Call, Expression, Mean, Variable, parse, read_rule, simplify
from nmt.rules.check import Findings, examine
from nmt.search.decision import Decision

X, Y = Variable("x"), Variable("y")
PER_STEP = 5  # decisions: two operands, two functions, an operator


class RuleDimension:
    """The setting `optimizer.rule`."""

    def __init__(self, path: str, config: RuleSpaceConfig, betas: tuple[float, float]) -> None:
        self._path, self._betas, self._steps = path, betas, config.steps
        self._operands = [self._read(one, ()) for one in config.operands]
        self._functions = [self._read(one, ("x",)) for one in config.functions]
        self._operators = [self._read(one, ("x", "y")) for one in config.operators]
        self.decisions = [
            one
            for step in range(config.steps)
            for one in self._decisions(
                f"{path}, step {step + 1}",
                (*config.operands, *(f"step {earlier + 1}" for earlier in range(step))),
                config,
            )
        ]

    @staticmethod
    def _decisions(
        name: str, operands: tuple[str, ...], config: RuleSpaceConfig
    ) -> Iterator[Decision]:
        functions, operators = tuple(config.functions), tuple(config.operators)
        yield Decision(f"{name}: first operand", operands)
        yield Decision(f"{name}: second operand", operands)
        yield Decision(f"{name}: function of the first", functions)
        yield Decision(f"{name}: function of the second", functions)
        yield Decision(f"{name}: operator", operators)

    def _read(self, text: str, placeholders: Sequence[str]) -> Expression:
        try:
            return parse(text, self._betas, placeholders)
        except RuleError as error:
            raise ConfigurationError(
                [f"In the space of `{self._path}`, a part cannot be read. {error}"]
            ) from None

    def value(self, choices: Sequence[int]) -> str:
        """See Dimension. Simplified."""
        results: list[Expression] = []
        for step in range(self._steps):
            first, second, f, h, operator = choices[step * PER_STEP : (step + 1) * PER_STEP]
            operands = [*self._operands, *results]
            x = filled(self._functions[f], {X: operands[first]})
            y = filled(self._functions[h], {X: operands[second]})
            results.append(filled(self._operators[operator], {X: x, Y: y}))
        return str(simplify(results[-1]))

    def choices(self, value: str) -> tuple[int, ...]:
        """See Dimension."""
        try:
            rule = read_rule(value, self._betas)
        except RuleError as error:
            raise ConfigurationError([f"`{self._path}` must be an update rule. {error}"]) from None
        for form in (rule, simplify(rule)):
            steps = next(self._steps_of(form, self._steps, 0), None)
            if steps is not None:
                return self._padded(steps)
        raise ConfigurationError(
            [
                f"`{self._path}` must be a rule of the space, but `{value}` in a starting point "
                f"cannot be written in {self._steps} steps with its parts; add what is missing to "
                f"the space's operands, functions or operators, or raise its `steps`."
            ]
        )

    def _padded(self, steps: list[tuple[int, ...]]) -> tuple[int, ...]:
        """As many steps as the space has: those in front are not used."""
        unused, count = self._steps - len(steps), len(self._operands)
        flat = [0] * PER_STEP * unused
        for first, second, *rest in steps:
            flat += [one + unused if one >= count else one for one in (first, second)]
            flat += rest
        return tuple(flat)

    def _steps_of(self, rule: Expression, left: int, done: int) -> Iterator[list[tuple[int, ...]]]:
        """Ways to make a rule in at most `left` steps, behind `done` others."""
        if left < 1:
            return
        for operator, template in enumerate(self._operators):
            for found in matches(template, rule):
                for before, first, f in self._operand(found[X], left - 1, done):
                    used = len(before)
                    if Y not in found:
                        yield [*before, (first, 0, f, 0, operator)]
                        continue
                    for more, second, h in self._operand(found[Y], left - 1 - used, done + used):
                        yield [*before, *more, (first, second, f, h, operator)]

    def _operand(
        self, value: Expression, left: int, done: int
    ) -> Iterator[tuple[list[tuple[int, ...]], int, int]]:
        """Ways to write a value as a function of an operand: the steps needed before, the operand
        and the function."""
        for f, template in enumerate(self._functions):
            for found in matches(template, value):
                inner = found.get(X)
                for number, operand in enumerate(self._operands):
                    if inner is None or inner == operand or simplify(operand) == inner:
                        yield [], number, f
                if (inner is not None and inner != value) or template == X:
                    for steps in self._steps_of(inner or value, left, done):
                        yield steps, len(self._operands) + done + len(steps) - 1, f

    def key(self, value: str) -> Hashable:
        """See Dimension: rules that are the same function have the same."""
        return self._findings(value).fingerprint

    def problem(self, value: str) -> str | None:
        """See Dimension."""
        found = self._findings(value).problem()
        return None if found is None else f"the rule is unsafe: {found}"

    def _findings(self, value: str) -> Findings:
        return _examined(value, self._betas)


@lru_cache(maxsize=100_000)
def _examined(value: str, betas: tuple[float, float]) -> Findings:
    return examine(read_rule(value, betas))


def filled(template: Expression, values: Mapping[Variable, Expression]) -> Expression:
    """A template with its placeholders replaced."""
    match template:
        case Variable():
            return values.get(template, template)
        case Mean(value=value, decay=decay, corrected=corrected):
            return Mean(filled(value, values), decay, corrected)
        case Call(name=name, arguments=arguments):
            return Call(name, tuple(filled(one, values) for one in arguments))
        case _:
            return template


def matches(template: Expression, value: Expression) -> Iterator[dict[Variable, Expression]]:
    """Ways to fill the placeholders of a template so that it becomes the value."""
    match template:
        case Variable(name="x" | "y"):
            yield {template: value}
        case Mean(value=inner, decay=decay, corrected=corrected) if isinstance(value, Mean):
            if (decay, corrected) == (value.decay, value.corrected):
                yield from matches(inner, value.value)
        case Call(name=name, arguments=arguments) if isinstance(value, Call) and value.name == name:
            orders = [value.arguments]
            if name in ("+", "*"):
                orders.append(value.arguments[::-1])
            for order in orders:
                yield from _all_match(arguments, order)
        case _ if template == value:
            yield {}


def _all_match(
    templates: Sequence[Expression], values: Sequence[Expression]
) -> Iterator[dict[Variable, Expression]]:
    if not templates:
        yield {}
        return
    for first in matches(templates[0], values[0]):
        for rest in _all_match(templates[1:], values[1:]):
            if all(rest.get(key, found) == found for key, found in first.items()):
                yield {**first, **rest}
