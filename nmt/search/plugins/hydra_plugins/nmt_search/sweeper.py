"""The sweeper behind `hydra/sweeper=random`, `evolution`, `reinforce`, `optuna` and `transfer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SearchSweeper(Sweeper):
    """Hands a sweep to `nmt.search`. hydra looks for sweepers in a package of its own, and imports
    all of them whenever it starts, so that this one imports nothing before it is used."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """See hydra's Sweeper."""
        from hydra.core.plugins import Plugins

        self._context, self._config = hydra_context, config
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search as the command line says; `arguments` are its overrides."""
        from nmt.search.start import start_search

        overrides: Sequence[str] = arguments
        start_search(
            self._settings, overrides, self._config, self._context.config_loader, self._launcher
        )
