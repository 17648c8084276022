"""Searches without training: spaces, configurations, and workers that only pretend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import yaml

from nmt.config import MethodConfig, SearchConfig, TrainConfig, read
from nmt.config.paths import configuration_folder
from nmt.run.result import RunResult
from nmt.search.child import Child
from nmt.search.pool import Ended
from nmt.search.search import Search
from nmt.search.space import Space
from nmt.training.checkpoint import Progress
from tests.training.conftest import MakeConfig, digits, small, small_values

__all__ = ["digits", "small", "small_values"]


def load(path: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((configuration_folder() / path).read_text("utf-8"))
    values.pop("defaults", None)
    return values


def search_config(name: str = "settings", **changes: Any) -> SearchConfig:
    """conf/search/<name>.yaml with changes."""
    config = read(SearchConfig, {**load("search/base.yaml"), **load(f"search/{name}.yaml")})
    return config.changed(**changes)


def method_config(method: str, **changes: Any) -> MethodConfig:
    """conf/hydra/sweeper/<method>.yaml with changes."""
    values = load("hydra/sweeper/base.yaml") | load(f"hydra/sweeper/{method}.yaml")
    del values["_target_"]
    return read(MethodConfig, {**values, **changes})


class Pretend:
    """Workers that give each child a loss at once, without training it. Children whose number is in
    `failing` fail; the workers stop dead after `last` of them."""

    def __init__(
        self,
        loss: Callable[[Mapping[str, Any]], float],
        workers: int = 2,
        failing: Sequence[int] = (),
        last: int | None = None,
        tokens: int = 100,
    ) -> None:
        self.loss, self.workers, self.failing, self.last = loss, workers, failing, last
        self.tokens, self.started = tokens, list[int]()
        self._running: list[Child] = []

    def __enter__(self) -> Pretend:
        return self

    def __exit__(self, *error: object) -> None:
        self._running.clear()

    @property
    def is_full(self) -> bool:
        return len(self._running) >= self.workers

    @property
    def running(self) -> Sequence[int]:
        return [child.number for child in self._running]

    def start(self, child: Child, limit: float) -> None:
        assert limit > 0
        self.started.append(child.number)
        self._running.append(child)

    def wait(self, seconds: float) -> list[Ended]:
        assert seconds > 0
        if self.last is not None and len(self.started) > self.last:
            raise KeyboardInterrupt
        child = self._running.pop(0)
        if child.number in self.failing:
            return [Ended(child.number, 2.0, "it failed")]
        leave_result(child, self.loss(child.values), self.tokens)
        return [Ended(child.number, 2.0, None)]


def leave_result(child: Child, loss: float, tokens: int, ended_by: str = "max") -> None:
    """What a child leaves when it ends."""
    progress = Progress(
        step=5, target_tokens=tokens, best_score=-loss, best_step=5, seconds=2.0, ended_by=ended_by
    )
    RunResult.of(child.config, progress).save()


MakeSearch = Callable[..., Search]
SPACE = {
    "model.dropout": {"kind": "choice", "values": [0.0, 0.1, 0.2, 0.3], "ordered": True},
    "model.residual": {"kind": "choice", "values": ["gnmt", "full"]},
    "optimizer.learning_rate": {
        "kind": "range",
        "low": 0.001,
        "high": 0.1,
        "steps": 9,
        "log": True,
    },
}


def loss_of(values: Mapping[str, Any]) -> float:
    """Best at dropout 0.2, full and 0.01."""
    distance = abs(values["model.dropout"] - 0.2) * 10 + (values["model.residual"] == "gnmt")
    return float(2 + distance + abs(values["optimizer.learning_rate"] - 0.01) * 50)


@pytest.fixture
def make_search(small: MakeConfig) -> MakeSearch:
    """A search of `SPACE` in a folder of the test."""

    def make(
        method: str = "random",
        space: Mapping[str, Any] = SPACE,
        seed: int = 1,
        base: str | None = None,
        **changes: Any,
    ) -> Search:
        own = base or ("optimizer=rule" if "optimizer.rule" in space else "optimizer=adam")
        common = [own, "name=search", f"seed={seed}"]
        values = small(*common)
        changes = {"budget": {"by": "tokens", "child": 100.0, "children": 20}, **changes}
        config = search_config(space=dict(space), **changes)

        def compose(overrides: Sequence[str]) -> TrainConfig:
            given = [one.replace("'", "") for one in overrides]
            return small(*common, *given)

        settings = method_config(method)
        identity = {
            "method": settings.model_dump(mode="json"),
            "seed": seed,
            "budget": {"by": config.budget.by, "child": config.budget.child},
            "space": dict(space),
            "fixed": [],
        }
        return Search(
            config, settings, Space(config.space), values, compose, ["data=digits"], identity
        )

    return make


def nothing(*_: Any) -> None:
    """Show nothing."""
