"""How points are proposed. All methods have the same two functions: `ask` proposes a point, and
`tell` gives the reward of one, in any order and also of points that others have proposed.

A method is a function of its seed and of what it was asked and told: a search that is resumed
repeats both.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from nmt.config import MethodConfig
from nmt.errors import ConfigurationError
from nmt.search.decision import Decision
from nmt.search.space import Point

PATIENCE = 3  # known points in a row, after which evolution changes more of a parent


class Method(Protocol):
    """Proposes points of a space."""

    def ask(self) -> Point:
        """The next point."""

    def tell(self, point: Point, reward: float) -> None:
        """A point's reward; more is better."""

    def repeat(self, point: Point, reward: float) -> None:
        """A proposed point is known, with this reward, and is not trained again."""

    def reject(self, point: Point, reward: float) -> None:
        """A proposed point cannot be trained (it is unsafe, or no configuration); the reward is
        the worst there is."""

    def preferences(self) -> list[list[float]] | None:
        """The probability of each option of each decision, as the method sees it now; None: it has
        no such thing."""


class RandomSearch:
    """Points at random."""

    def __init__(self, decisions: Sequence[Decision], seed: int) -> None:
        self._decisions, self._random = decisions, random.Random(seed)

    def ask(self) -> Point:
        """See Method."""
        return tuple(self._random.randrange(len(one.options)) for one in self._decisions)

    def tell(self, point: Point, reward: float) -> None:
        """See Method. Nothing is learnt."""

    def repeat(self, point: Point, reward: float) -> None:
        """See Method. Nothing is learnt."""

    def reject(self, point: Point, reward: float) -> None:
        """See Method. Nothing is learnt."""

    def preferences(self) -> list[list[float]] | None:
        """See Method."""
        return None


class Evolution:
    """Regularised evolution (Real et al., “Regularized Evolution for Image Classifier Architecture
    Search”, AAAI 2019): the best of a random sample has a child, and the oldest point dies."""

    def __init__(self, decisions: Sequence[Decision], config: MethodConfig, seed: int) -> None:
        self._decisions, self._config = decisions, config
        self._random = random.Random(seed)
        self._first = RandomSearch(decisions, seed + 1)
        self._alive: deque[tuple[Point, float]] = deque(maxlen=config.population)
        self._repeats = 0  # known points in a row

    def ask(self) -> Point:
        """See Method. The first points are random ones, unless some were told."""
        if len(self._alive) < min(self._config.population, self._config.tournament):
            return self._first.ask()
        if len(self._alive) < self._config.population and self._random.random() < 0.5:
            return self._first.ask()
        size = min(self._config.tournament, len(self._alive))
        sample = self._random.sample(list(self._alive), size)
        child, _ = max(sample, key=lambda one: one[1])
        for _ in range(1 + self._repeats // PATIENCE):
            child = self._mutated(child)
        return child

    def _mutated(self, parent: Point) -> Point:
        """A copy with some other choices; of an ordered decision, most often a neighbour."""
        child = list(parent)
        open_ones = [i for i, one in enumerate(self._decisions) if len(one.options) > 1]
        count = self._random.randint(1, min(self._config.mutations, max(1, len(open_ones))))
        for place in self._random.sample(open_ones, min(count, len(open_ones))):
            size = len(self._decisions[place].options)
            if self._decisions[place].ordered and self._random.random() < 0.8:
                steps = [one for one in (child[place] - 1, child[place] + 1) if 0 <= one < size]
                child[place] = self._random.choice(steps)
            else:
                others = [one for one in range(size) if one != child[place]]
                child[place] = self._random.choice(others)
        return tuple(child)

    def tell(self, point: Point, reward: float) -> None:
        """See Method."""
        self._repeats = 0
        self._alive.append((point, reward))

    def repeat(self, point: Point, reward: float) -> None:  # noqa: ARG002 - as every method
        """See Method. It is not born again: copies of a few points would soon be all that lives."""
        self._repeats += 1

    def reject(self, point: Point, reward: float) -> None:
        """See Method: it was never alive."""

    def preferences(self) -> list[list[float]] | None:
        """See Method: the share of each option among the points that are alive."""
        if not self._alive:
            return None
        return [
            [
                sum(point[place] == option for point, _ in self._alive) / len(self._alive)
                for option in range(len(one.options))
            ]
            for place, one in enumerate(self._decisions)
        ]


def make_method(decisions: Sequence[Decision], config: MethodConfig, seed: int) -> Method:
    """The configured method.

    Raises:
        ConfigurationError: it needs a package that is not installed.
    """
    match config.method:
        case "random":
            return RandomSearch(decisions, seed)
        case "evolution":
            return Evolution(decisions, config, seed)
        case "reinforce":
            from nmt.search.controller import Controller

            return Controller(decisions, config, seed)
        case "optuna":
            from nmt.search.tpe import Tpe

            return Tpe(decisions, seed)
        case _:
            raise ConfigurationError([f"`{config.method}` does not propose points."])
