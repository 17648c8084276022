"""From a command line to a search: what is searched, what is fixed, and where children run.

A setting with several values on the command line (`optimizer.learning_rate=0.001,0.003`, or
`interval(1e-4,1e-2)`) is searched among these, whatever the chosen space says; one with a single
value is fixed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from omegaconf import DictConfig, OmegaConf, open_dict

from nmt.command import plain_values
from nmt.config import (
    ChoiceConfig,
    DimensionConfig,
    MethodConfig,
    RangeConfig,
    SearchConfig,
    Settings,
    TrainConfig,
    read,
)
from nmt.errors import ConfigurationError
from nmt.logs import start_logging
from nmt.parallel.world import cores
from nmt.search.launcher import LauncherPool
from nmt.search.pool import Pool
from nmt.search.report import write_reports
from nmt.search.search import Search, Workers
from nmt.search.space import Space, quoted
from nmt.search.table import LiveTable, leaders, progress
from nmt.search.transfer import transfer

logger = logging.getLogger(__name__)

STEPS = 9  # values that stand for an interval
NOT_OF_CHILDREN = ("search", "name", "runs", "resume")


def start_search(
    method_settings: Mapping[str, Any],
    arguments: Sequence[str],
    config: DictConfig,
    loader: Any,
    launcher: Any,
) -> None:
    """Execute a search, or go on with it. `loader` and `launcher` are hydra's.

    Raises:
        NmtError: it cannot be executed.
    """
    start_logging()
    method = read(MethodConfig, dict(method_settings))
    line = _Line(arguments, loader)

    def compose(*overrides: Sequence[str]) -> dict[str, Any]:
        composed = loader.load_sweep_config(config, merged(*overrides))
        with open_dict(composed):
            del composed["hydra"]
        return plain_values(composed)

    values = compose(line.fixed)
    search = read(_Part, {"search": values["search"]}).search
    threads = [f"parallel.threads={search.threads or max(1, cores() // search.workers)}"]
    place = [f"name={quoted(values['name'])}", f"runs={quoted(values['runs'])}"]
    pool = Pool(search.workers) if _is_basic(config) else LauncherPool(launcher, search.workers)
    if method.method == "transfer":

        def whole(*overrides: Sequence[str]) -> TrainConfig:
            return read(TrainConfig, compose(threads, *overrides))

        transfer(search, place, line.of_children, line.sweeps, whole, pool)
        return
    common = (threads, search.fixed, search.child, line.of_children, place)

    def child(overrides: Sequence[str]) -> TrainConfig:
        return read(TrainConfig, compose(*common, overrides))

    base = child(_without_limit())
    space = Space(line.narrowed(search.space), base.optimizer.betas)
    _check_options(space, base, child)
    started = Search(
        search, method, space, base, child, merged(*common), _identity(search, method, line, base)
    )
    run_search(started, pool)


class _Part(Settings):
    """The search's part of the settings, so that mistakes are told with their whole path."""

    search: SearchConfig


def run_search(search: Search, pool: Workers) -> None:
    """Execute a search, show it, and write its reports, also where it is interrupted."""
    live = LiveTable(search.config.show_seconds)
    logger.info("%s", progress(search))
    try:
        with pool:
            search.run(pool, live)
    except KeyboardInterrupt:
        live.clear()
        logger.info("interrupted; run the same command again to go on")
        raise
    finally:
        live.clear()
        search.history.close()
        if search.records:
            page = write_reports(search)
            print(f"{progress(search)}\n\n{leaders(search, 10)}\n\n{page}", flush=True)


def _check_options(
    space: Space, base: TrainConfig, child: Callable[[Sequence[str]], TrainConfig]
) -> None:
    """Check that settings with single values exist and can have each of them.

    Raises:
        ConfigurationError: a value is never possible, whatever the other settings are.
    """
    first = {path: one.value([0] * len(one.decisions)) for path, one in space.dimensions.items()}
    with suppress(ConfigurationError):  # it may not be possible together
        child(space.overrides(first))  # what is no setting at all is an error of hydra's
    mistakes = []
    for path, one in space.dimensions.items():
        *groups, last = path.split(".")
        for option in range(len(one.decisions[0].options)) if len(one.decisions) == 1 else ():
            values: dict[str, Any] = base.model_dump(exclude={"search"})
            inner = values
            for group in groups:
                inner = inner[group]
            if not isinstance(inner.get(last), dict):
                inner[last] = one.value([option])
                try:
                    read(TrainConfig, values)
                except ConfigurationError as error:
                    mistakes += [line for line in error.mistakes if line.startswith(f"`{path}`")]
    if mistakes:
        raise ConfigurationError(mistakes)


def _without_limit() -> list[str]:
    """A length for the configuration that children have in common, which is never trained."""
    return ["training.max_steps=1"]


def _is_basic(config: DictConfig) -> bool:
    """Whether hydra would run jobs in this process, which warm workers do better."""
    launcher = OmegaConf.select(config, "hydra.launcher._target_")
    return str(launcher).endswith(".BasicLauncher")


def _identity(
    search: SearchConfig, method: MethodConfig, line: _Line, base: TrainConfig
) -> dict[str, Any]:
    """What must be the same for a search to go on."""
    dumped = search.model_dump(mode="json")
    same = {name: dumped[name] for name in ("fixed", "child", "pruning", "worst", "start")}
    narrowed = line.narrowed(search.space)
    space = {path: one.model_dump(mode="json") for path, one in narrowed.items()}
    settings = base.model_dump(
        mode="json", exclude={"name", "runs", "resume", "search", "parallel"}
    )
    del settings["data"]["cache"]
    return {
        "method": method.model_dump(mode="json"),
        "seed": base.seed,
        "space": space,
        "budget": {"by": search.budget.by, "child": search.budget.child},
        **same,
        "configuration": settings,
    }


class _Line:
    """The overrides of a command line."""

    def __init__(self, arguments: Sequence[str], loader: Any) -> None:
        parsed = OverridesParser.create(loader).parse_overrides(list(arguments))
        self._sweeps = [one for one in parsed if one.is_sweep_override()]
        for one in parsed:
            if _path(one).split(".")[0] == "search" and one in self._sweeps:
                raise ConfigurationError(
                    [f"`{_path(one)}` must have one value, since it is the search's own."]
                )
        self.fixed = [str(one.input_line) for one in parsed if not one.is_sweep_override()]

    @property
    def of_children(self) -> list[str]:
        """The fixed settings that children have, too."""
        return [
            one
            for one in self.fixed
            if _path_of(one).split(".")[0] not in NOT_OF_CHILDREN or one.startswith("~")
        ]

    @property
    def sweeps(self) -> list[list[str]]:
        """The values of each setting that has several, as overrides."""
        return [[f"{_path(one)}={quoted(value)}" for value in _values(one)] for one in self._sweeps]

    def narrowed(self, space: Mapping[str, DimensionConfig]) -> dict[str, DimensionConfig]:
        """A space with what the command line says of its dimensions, and with new ones."""
        fixed = {_path_of(one) for one in self.of_children}
        found = {path: one for path, one in space.items() if path not in fixed}
        for one in self._sweeps:
            found[_path(one)] = _dimension(one)
        return found


def _dimension(override: Override) -> DimensionConfig:
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        return RangeConfig(
            kind="range",
            low=float(sweep.start or 0),
            high=float(sweep.end or 0),
            steps=STEPS,
            log="log" in sweep.tags,
        )
    ordered = isinstance(sweep, RangeSweep)
    return ChoiceConfig(kind="choice", values=_values(override), ordered=ordered)


def _values(override: Override) -> list[Any]:
    sweep = override.value()
    if not isinstance(sweep, ChoiceSweep | RangeSweep):
        raise ConfigurationError(
            [f"`{_path(override)}` must have values one by one, as in `a,b,c`, but is a range."]
        )
    return [_plain(str(one)) for one in override.sweep_iterator(transformer=Transformer.encode)]


def _plain(text: str) -> Any:
    """A value that hydra has written as text, in its grammar."""
    return OverridesParser.create().parse_override(f"x={text}").value()


def _path(override: Override) -> str:
    return str(override.get_key_element()).lstrip("+~")


def _path_of(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]


def merged(*lists: Sequence[str]) -> list[str]:
    """Overrides, of which the last one of each setting counts."""
    found: dict[str, str] = {}
    for one in (one for overrides in lists for one in overrides):
        found.pop(_path_of(one), None)
        found[_path_of(one)] = one
    return list(found.values())
