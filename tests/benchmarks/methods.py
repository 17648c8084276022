"""The methods of searches on a problem whose children take a tenth of a second, so that tens of
searches of each can be compared: update rules for a small network that predicts symbols.

python -m tests.benchmarks.methods [--seeds 6] [--children 100] [--methods random evolution …]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Hashable
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nmt.markdown import markdown_table
from nmt.rules.known import read_rule
from nmt.search.methods import make_method
from nmt.search.space import Space
from nmt.training.rule_optimizer import RuleOptimizer
from tests.benchmarks.search import METHODS, spread
from tests.search.conftest import method_config, search_config

SYMBOLS, EMBEDDING, HIDDEN = 60, 16, 32
STEPS, WARMUP, BATCH, VALIDATION = 80, 10, 64, 2000
WORST = math.log(SYMBOLS)
MOST = 6000  # proposals of one search


class Problem:
    """The next symbol of two, which are as unevenly frequent as words are."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)
        frequency = torch.linspace(2, -2, SYMBOLS)
        self._frequency = frequency.softmax(0)
        self._scores = torch.randn(SYMBOLS, SYMBOLS, generator=self._generator) * 2 + frequency
        self._batches = [self._sample(BATCH) for _ in range(STEPS)]
        self._valid = self._sample(VALIDATION)
        self._known: dict[tuple[str, float], float] = {}

    def _sample(self, count: int) -> tuple[Tensor, Tensor]:
        first, second = (
            torch.multinomial(self._frequency, count, True, generator=self._generator)
            for _ in range(2)
        )
        scores = self._scores[first] + 0.7 * self._scores[second].flip(1)
        target = torch.multinomial(scores.softmax(1), 1, generator=self._generator)[:, 0]
        return torch.stack([first, second], 1), target

    def loss(self, rule: str, rate: float) -> float:
        """The validation loss after training with a rule."""
        if (rule, rate) not in self._known:
            self._known[rule, rate] = self._trained(rule, rate)
        return self._known[rule, rate]

    def _trained(self, rule: str, rate: float) -> float:
        generator = torch.Generator().manual_seed(1)

        def drawn(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator) * scale)

        inner, outer = (2 * EMBEDDING) ** -0.5, HIDDEN**-0.5
        weights = [
            *(drawn(SYMBOLS, EMBEDDING, scale=0.1) for _ in range(2)),
            drawn(2 * EMBEDDING, HIDDEN, scale=inner), drawn(HIDDEN, scale=0.0),
            drawn(HIDDEN, SYMBOLS, scale=outer), drawn(SYMBOLS, scale=0.0),
        ]  # fmt: skip

        def loss(pair: tuple[Tensor, Tensor]) -> Tensor:
            symbols, target = pair
            embedded = [weights[i][symbols[:, i]] for i in range(2)]
            hidden = torch.tanh(torch.cat(embedded, 1) @ weights[2] + weights[3])
            return cross_entropy(hidden @ weights[4] + weights[5], target)

        optimizer = RuleOptimizer(weights, read_rule(rule), rate)
        for step, batch in enumerate(self._batches):
            for group in optimizer.param_groups:
                group |= {"lr": rate * min(1, (step + 1) / WARMUP), "done": step / STEPS}
            now = loss(batch)
            if not now.isfinite():
                return WORST
            optimizer.zero_grad()
            now.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
        with torch.no_grad():
            found = float(loss(self._valid))
        return min(found, WORST) if math.isfinite(found) else WORST


class Found(NamedTuple):
    """One search."""

    best: list[float]  # after each child
    refused: int
    known: int


def search(
    space: Space, problem: Problem, problems: dict[str, str | None], method: str, seed: int,
    children: int,
) -> Found:  # fmt: skip
    """A search as `nmt.search.search` makes it, with one worker."""
    proposer = make_method(space.decisions, method_config(method), seed)
    losses: dict[Hashable, float] = {}
    best: list[float] = []
    refused = known = 0
    for _ in range(MOST):
        if len(losses) == children:
            break
        point = proposer.ask()
        values = space.values(point)
        rule = values["optimizer.rule"]
        if rule not in problems:
            problems[rule] = space.problem(values)
        key = space.key(values)
        if problems[rule] is not None:
            refused += 1
            proposer.reject(point, -WORST)
        elif key in losses:
            known += 1
            proposer.repeat(point, -losses[key])
        else:
            losses[key] = problem.loss(rule, values["optimizer.learning_rate"])
            proposer.tell(point, -losses[key])
            best.append(min(losses.values()))
    return Found(best, refused, known)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--children", type=int, default=100)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, problem = Space(search_config("rules").space), Problem()
    problems: dict[str, str | None] = {}
    counts = [options.children // 4, options.children // 2, options.children]
    rows = []
    for method in options.methods:
        begun = time.monotonic()
        found = [
            search(space, problem, problems, method, seed, options.children)
            for seed in range(1, options.seeds + 1)
        ]
        losses = [[one.best[min(n, len(one.best)) - 1] for one in found] for n in counts]
        rows.append(
            [
                method,
                *map(spread, losses),
                f"{fmean(one.refused for one in found):.0f}",
                f"{fmean(one.known for one in found):.0f}",
                f"{(time.monotonic() - begun) / options.seeds:.0f}",
            ]
        )
        print(f"{method} has ended", flush=True)
    head = ["method", *(f"best of {n}" for n in counts), "refused", "known", "seconds"]
    print(markdown_table(head, rows))


if __name__ == "__main__":
    main()
