"""Optuna's tree-structured Parzen estimator, by its ask and tell. The only file that imports
optuna, which the extra `search` installs."""

from __future__ import annotations

from collections.abc import Sequence

from nmt.errors import ConfigurationError
from nmt.search.decision import Decision
from nmt.search.space import Point


class Tpe:
    """See `nmt.search.methods.Method`."""

    def __init__(self, decisions: Sequence[Decision], seed: int) -> None:
        try:
            import optuna
        except ImportError:
            raise ConfigurationError(
                [
                    "`hydra/sweeper=optuna` needs optuna, which is not installed; install "
                    "`pipeline-nmt[search]`."
                ]
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Those that are not told yet count as bad ones, so that workers do not all do the same.
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, multivariate=False)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._optuna = optuna
        self._open: dict[Point, list[optuna.Trial]] = {}
        self._names = [f"{number} {one.name}" for number, one in enumerate(decisions)]
        self._spaces = [
            optuna.distributions.IntDistribution(0, len(one.options) - 1)
            if one.ordered
            else optuna.distributions.CategoricalDistribution(range(len(one.options)))
            for one in decisions
        ]

    def ask(self) -> Point:
        """See Method."""
        trial = self._study.ask(dict(zip(self._names, self._spaces, strict=True)))
        point = tuple(int(trial.params[name]) for name in self._names)
        self._open.setdefault(point, []).append(trial)
        return point

    def tell(self, point: Point, reward: float) -> None:
        """See Method."""
        if trials := self._open.get(point):
            self._study.tell(trials.pop(), reward)
            return
        self._study.add_trial(
            self._optuna.trial.create_trial(
                params=dict(zip(self._names, point, strict=True)),
                distributions=dict(zip(self._names, self._spaces, strict=True)),
                value=reward,
            )
        )

    def repeat(self, point: Point, reward: float) -> None:
        """See Method: one more of its kind."""
        self.tell(point, reward)

    def reject(self, point: Point, reward: float) -> None:
        """See Method: it counts as a bad one."""
        self.tell(point, reward)

    def preferences(self) -> list[list[float]] | None:
        """See Method."""
        return None
