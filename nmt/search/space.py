"""A search space: settings, and the decisions that give each of them a value.

Every method sees the same thing: a list of decisions with a few options each. A point is the number
of the option for each decision. What they mean is known to the dimensions alone: one decision for a
number, many for an update rule or a cell.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

from nmt.command_line import in_quotes
from nmt.config import (
    CellSpaceConfig,
    ChoiceConfig,
    DimensionConfig,
    RangeConfig,
    RuleSpaceConfig,
)
from nmt.errors import ConfigurationError
from nmt.search.cell_space import CellDimension
from nmt.search.decision import Decision
from nmt.search.rule_space import RuleDimension

Point = tuple[int, ...]
Values = dict[str, Any]  # path of a setting → its value


class Dimension(Protocol):
    """A setting that is searched."""

    @property
    def decisions(self) -> Sequence[Decision]:
        """The decisions that give it a value."""

    def value(self, choices: Sequence[int]) -> Any:
        """The value that the options stand for."""

    def choices(self, value: Any) -> tuple[int, ...]:
        """The options for a value.

        Raises:
            ConfigurationError: there are none.
        """

    def key(self, value: Any) -> Hashable:
        """The same for values that make no difference."""

    def problem(self, value: Any) -> str | None:
        """Why nothing should be trained with a value; None: nothing is known against it."""


class ChoiceDimension:
    """One of some values."""

    def __init__(self, path: str, values: Sequence[Any], ordered: bool) -> None:
        self._path, self._values = path, list(values)
        self.decisions = (Decision(path, tuple(map(as_text, values)), ordered),)

    def value(self, choices: Sequence[int]) -> Any:
        """See Dimension."""
        return self._values[choices[0]]

    def choices(self, value: Any) -> tuple[int, ...]:
        """See Dimension. Of numbers, the nearest is taken."""
        for number, one in enumerate(self._values):
            if one == value and isinstance(one, bool) == isinstance(value, bool):
                return (number,)
        if _is_number(value) and all(map(_is_number, self._values)):
            near = min(range(len(self._values)), key=lambda i: _distance(self._values[i], value))
            return (near,)
        raise ConfigurationError(
            [
                f"`{self._path}` must be one of {', '.join(map(as_text, self._values))}, but is "
                f"{as_text(value)} in a starting point instead."
            ]
        )

    def key(self, value: Any) -> Hashable:
        """See Dimension."""
        return as_text(value)

    def problem(self, value: Any) -> str | None:  # noqa: ARG002 - as every dimension
        """See Dimension."""
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _distance(one: float, other: float) -> float:
    """By ratio where both are above 0."""
    if one > 0 and other > 0:
        return abs(math.log(one / other))
    return abs(one - other)


def grid(config: RangeConfig) -> list[float]:
    """The values of a range, rounded to three digits; whole numbers between whole numbers."""
    parts = [step / (config.steps - 1) for step in range(config.steps)]
    if config.log:
        ratio = config.high / config.low
        found = [float(f"{config.low * ratio**part:.3g}") for part in parts]
    else:
        found = [float(f"{config.low + (config.high - config.low) * p:.3g}") for p in parts]
    return list(dict.fromkeys(found))


def dimension(path: str, config: DimensionConfig, betas: tuple[float, float]) -> Dimension:
    """A dimension as configured; `betas` are the decays of m and v in rules."""
    match config:
        case ChoiceConfig():
            return ChoiceDimension(path, config.values, config.ordered)
        case RangeConfig():
            return ChoiceDimension(path, grid(config), ordered=True)
        case RuleSpaceConfig():
            return RuleDimension(path, config, betas)
        case CellSpaceConfig():
            return CellDimension(path, config)


class Space:
    """All dimensions together."""

    def __init__(
        self, config: Mapping[str, DimensionConfig], betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        if not config:
            raise ConfigurationError(
                [
                    "`search.space` must have at least one setting to search, but is empty; choose "
                    "a file of the group `search`, or give a setting several values, as in "
                    "`optimizer.learning_rate=0.001,0.003`."
                ]
            )
        # Groups come first, since they set what single settings change.
        paths = sorted(config, key=lambda path: "." in path)
        self.dimensions = {path: dimension(path, config[path], betas) for path in paths}
        self.decisions = [one for d in self.dimensions.values() for one in d.decisions]

    @property
    def size(self) -> int:
        """The number of points."""
        return math.prod(len(one.options) for one in self.decisions)

    def values(self, point: Point) -> Values:
        """The settings of a point."""
        found, first = {}, 0
        for path, one in self.dimensions.items():
            count = len(one.decisions)
            found[path] = one.value(point[first : first + count])
            first += count
        return found

    def point(self, values: Mapping[str, Any]) -> Point:
        """The point with these settings, or the nearest numbers.

        Raises:
            ConfigurationError: there is none.
        """
        return tuple(
            choice for path, one in self.dimensions.items() for choice in one.choices(values[path])
        )

    def key(self, values: Mapping[str, Any]) -> Hashable:
        """The same for points that make no difference."""
        return tuple(one.key(values[path]) for path, one in self.dimensions.items())

    def problem(self, values: Mapping[str, Any]) -> str | None:
        """Why nothing should be trained with these settings; None: nothing is known against it."""
        for path, one in self.dimensions.items():
            if problem := one.problem(values[path]):
                return problem
        return None

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The settings as on a command line."""
        return [self.override(path, values) for path in self.dimensions]

    def override(self, path: str, values: Mapping[str, Any]) -> str:
        """One setting as on a command line."""
        return f"{path}={quoted(values[path])}"


def as_text(value: Any) -> str:
    """A value as in YAML."""
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def quoted(value: Any) -> str:
    """A value for hydra's grammar."""
    if isinstance(value, str) and not value.replace("_", "").isalnum():
        return in_quotes(value)
    return repr(value) if isinstance(value, float) else as_text(value)
