"""A recurrent controller that writes points, trained by REINFORCE (Zoph & Le 2017).

An LSTM goes over the decisions in their order. At each it is given the option that it has chosen
last, and has an output layer for the options of this one.

B points, H units.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nmt.config import MethodConfig
from nmt.reinforce import Reinforce
from nmt.search.decision import Decision
from nmt.search.space import Point

HEAT = 0.1  # added to the temperature of the choices for each known point in a row


class Controller:
    """See `nmt.search.methods.Method`."""

    def __init__(self, decisions: Sequence[Decision], config: MethodConfig, seed: int) -> None:
        self._config = config
        self._generator = torch.Generator().manual_seed(seed)
        hidden = config.hidden
        with torch.random.fork_rng(devices=[]):  # so that the global generator is left alone
            self._first = nn.Parameter(torch.zeros(hidden))
            self._cell = nn.LSTMCell(hidden, hidden)
            self._options = [nn.Embedding(len(one.options), hidden) for one in decisions]
            self._scores = [nn.Linear(hidden, len(one.options)) for one in decisions]
        modules = [self._cell, *self._options, *self._scores]
        parameters = [self._first, *(one for module in modules for one in module.parameters())]
        with torch.no_grad():
            for parameter in parameters:
                bound = hidden**-0.5 if parameter.dim() > 1 else 0.0
                parameter.uniform_(-bound, bound, generator=self._generator)
            for layer in self._scores:  # every option is as likely at the start
                layer.weight.mul_(0.01)
        self._learner = Reinforce(parameters, config.learning_rate)
        self._told: list[tuple[Point, float]] = []
        self._repeats = 0  # known points in a row

    @torch.no_grad()
    def ask(self) -> Point:
        """See Method. The more it has repeated itself, the more it leaves to chance."""
        point: list[int] = []
        temperature = 1 + HEAT * self._repeats
        h = c = torch.zeros(1, self._config.hidden)
        x = self._first[None]
        for options, scores in zip(self._options, self._scores, strict=True):
            h, c = self._cell(x, (h, c))
            probabilities = (scores(h) / temperature).softmax(1)
            chosen = torch.multinomial(probabilities, 1, generator=self._generator)[:, 0]
            point.append(int(chosen))
            x = options(chosen)
        return tuple(point)

    def repeat(self, point: Point, reward: float) -> None:  # noqa: ARG002 - as every method
        """See Method. Nothing is learnt: the same evidence again and again would leave the
        controller with one point."""
        self._repeats += 1

    def reject(self, point: Point, reward: float) -> None:
        """See Method: the controller learns to avoid it."""
        self.tell(point, reward)

    def tell(self, point: Point, reward: float) -> None:
        """See Method. There is an update for every `batch` points."""
        self._repeats = 0
        self._told.append((point, reward))
        if len(self._told) < self._config.batch:
            return
        points = torch.tensor([point for point, _ in self._told])
        rewards = torch.tensor([reward for _, reward in self._told])
        self._told.clear()
        log_p, entropies = self._terms(points)
        self._learner.update(0, log_p, entropies, rewards, self._config.entropy)

    def begin_with(self, points: Sequence[Point]) -> None:
        """Make each choice of the given points as probable as `warm` says, together; the others
        share the rest."""
        warm = self._config.warm
        if not points or not warm:
            return
        with torch.no_grad():
            for number, layer in enumerate(self._scores):
                size = layer.out_features
                target = torch.full((size,), (1 - warm) / size)
                for point in points:
                    target[point[number]] += warm / len(points)
                layer.bias.copy_(target.log())

    def _terms(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points (B, decisions) → their log probabilities and mean entropies, each (B,)."""
        count = len(points)
        h = c = torch.zeros(count, self._config.hidden)
        x = self._first.expand(count, -1)
        log_p, entropy = torch.zeros(count), torch.zeros(count)
        for number, layer in enumerate(self._scores):
            h, c = self._cell(x, (h, c))
            scores = layer(h).log_softmax(1)
            chosen = points[:, number]
            log_p = log_p + scores.gather(1, chosen[:, None])[:, 0]
            entropy = entropy - (scores.exp() * scores).sum(1)
            x = self._options[number](chosen)
        return log_p, entropy / len(self._scores)

    @torch.no_grad()
    def preferences(self) -> list[list[float]] | None:
        """See Method: the mean over points that the controller writes now."""
        generator = torch.Generator().manual_seed(0)
        count = 64
        h = c = torch.zeros(count, self._config.hidden)
        x = self._first.expand(count, -1)
        found = []
        for options, scores in zip(self._options, self._scores, strict=True):
            h, c = self._cell(x, (h, c))
            probabilities = scores(h).softmax(1)
            found.append(probabilities.mean(0).tolist())
            chosen = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
            x = options(chosen)
        return found
