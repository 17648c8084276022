"""A search: a method proposes points, children train them, and their losses are its rewards."""

from __future__ import annotations

import logging
import math
import re
import shutil
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from nmt.command_line import in_quotes
from nmt.config import MethodConfig, SearchConfig, TrainConfig
from nmt.corpus.prepare import prepare
from nmt.errors import ConfigurationError, NmtError
from nmt.run.job import JOB, TrainJob, now, save_job
from nmt.search.child import Child, Record, result_of
from nmt.search.controller import Controller
from nmt.search.history import History, read_identity
from nmt.search.methods import make_method
from nmt.search.pool import Ended
from nmt.search.space import Point, Space, Values

logger = logging.getLogger(__name__)

TRIES = 300  # proposals in a row that are known or refused, after which a search ends
IMPOSSIBLE = 10  # points that are no configuration, before any is one, which end it with an error
FORGOTTEN = ("checkpoints", "best", "best.old", "tensorboard")  # of children that have ended

Compose = Callable[[Sequence[str]], TrainConfig]


class Workers(AbstractContextManager["Workers"], Protocol):
    """What trains children: see `nmt.search.pool.Pool`."""

    @property
    def is_full(self) -> bool:
        """Whether no more children can start."""

    @property
    def running(self) -> Sequence[int]:
        """The children that are trained now."""

    def start(self, child: Child, limit: float) -> None:
        """Train a child."""

    def wait(self, seconds: float) -> list[Ended]:
        """The children that end within so many seconds."""


class Search:
    """One search in its folder."""

    def __init__(
        self,
        config: SearchConfig,
        method: MethodConfig,
        space: Space,
        base: TrainConfig,
        compose: Compose,
        common: Sequence[str],
        identity: dict[str, Any],
    ) -> None:
        """`base` is the configuration of a child at no point in particular; `compose` makes that
        of one from its own overrides, and `common` are those of all children."""
        self.config, self.method_config, self.space = config, method, space
        self.folder = base.folder
        self.base, self._compose, self._common = base, compose, common
        self.worst = config.worst or math.log(base.data.vocabulary.size)
        self._check_compared()
        self.starts = self._starting_points()  # checked before anything is written
        self.history = History(self.folder, identity)
        self._method = make_method(space.decisions, method, base.seed)
        if isinstance(self._method, Controller):
            self._method.begin_with(self.starts)
        self.records: dict[int, Record] = {}
        self.repeats, self.refused = 0, dict[str, int]()
        self._impossible = 0  # points that are no configuration
        self.method_seconds = 0.0
        self._clock, self._begun = 0.0, time.monotonic()  # seconds of earlier sessions
        self._children: dict[int, dict[str, Any]] = {}  # events of those that have begun
        self._keys: dict[Hashable, int] = {}  # of children → their number
        self._unfinished: list[int] = []
        self._replay()

    def _check_compared(self) -> None:
        """Searches on one page must have one unit of budget."""
        for folder in map(Path, self.config.compare):
            by = read_identity(folder)["budget"]["by"]
            if by != self.config.budget.by:
                raise ConfigurationError(
                    [
                        f"`search.compare` must name searches whose budget is in "
                        f"{self.config.budget.by}, but that of `{folder}` is in {by}."
                    ]
                )

    def _starting_points(self) -> list[Point]:
        defaults = {path: _value_at(self.base, path) for path in self.space.dimensions}
        found: list[Point] = []
        keys: set[Hashable] = set()
        for start in self.config.start:
            point = self._point({**defaults, **start})
            key = self.space.key(self.space.values(point))
            if key not in keys:
                keys.add(key)
                found.append(point)
        return found

    def _point(self, values: Values) -> Point:
        known = dict(values)
        for path, one in self.space.dimensions.items():
            if path not in known or known[path] is None:
                known[path] = one.value([0] * len(one.decisions))
        return self.space.point(known)

    def _replay(self) -> None:
        """Bring the method to where the events end."""
        for event in self.history.events:
            match event["event"]:
                case "child":
                    self._children[event["number"]] = event
                    self._keys[self.space.key(event["values"])] = event["number"]
                    if event["asked"]:
                        self._method.ask()
                case "refused":
                    self._method.ask()
                    self._count_refusal(event["why"])
                    self._method.reject(tuple(event["point"]), -self.worst)
                case "repeat":
                    self._method.ask()
                    self._count_repeat(tuple(event["point"]), event["of"])
                case "end":
                    record = as_record(event)
                    self._take(record)
                    self.method_seconds, self._clock = event["method_seconds"], record.clock
        self._unfinished = [n for n in self._children if n not in self.records]

    @property
    def spent(self) -> float:
        """What the children and the method have cost, in units of the budget."""
        seconds = sum(one.seconds for one in self.records.values())
        if self.config.budget.by == "seconds":
            return seconds + self.method_seconds
        tokens = sum(one.tokens for one in self.records.values())
        speed = tokens / seconds if seconds else 0.0
        return tokens + self.method_seconds * speed

    @property
    def clock(self) -> float:
        """Seconds that the search has run, in all sessions."""
        return self._clock + time.monotonic() - self._begun

    @property
    def best(self) -> Record | None:
        """The best child of those that were not pruned."""
        whole = [one for one in self.records.values() if one.is_whole]
        return max(whole, key=lambda one: one.reward(self.worst), default=None)

    @property
    def preferences(self) -> list[list[float]] | None:
        """See Method."""
        return self._method.preferences()

    def run(self, workers: Workers, show: Callable[[Search, Workers], None]) -> None:
        """Train children until the budget is spent. `show` is called twice a second."""
        is_open = True
        while True:
            while is_open and not workers.is_full:
                child = self._next(len(workers.running))
                if child is None:
                    is_open = False
                elif (done := result_of(child.folder)) is not None:
                    self._finish(child.number, Ended(child.number, done.seconds, None))
                else:
                    self._begin(child)
                    workers.start(child, self._limit)
            if not workers.running:
                break
            for ended in workers.wait(0.5):
                self._finish(ended.number, ended)
                is_open = True
            show(self, workers)
        if not self.records:
            raise NmtError(
                "A search must train at least one child, but every point that was proposed was "
                f"refused ({'; '.join(self.refused)}); give it another space or a starting point."
            )

    @property
    def _limit(self) -> float:
        """Seconds after which a child hangs."""
        budget = self.config.budget
        return 3 * budget.child + 120 if budget.by == "seconds" else math.inf

    def _next(self, running: int) -> Child | None:
        """The next child; None: the budget is spent, or nothing new is proposed."""
        if self._unfinished:
            event = self._children[self._unfinished.pop(0)]
            return self._child(event["number"], tuple(event["point"]), event["values"])
        if not self._has_budget(running):
            return None
        for _ in range(TRIES):
            begun = time.monotonic()
            asked = len(self._children) >= len(self.starts)
            point = self._method.ask() if asked else self.starts[len(self._children)]
            values = self.space.values(point)
            child = self._considered(point, values, asked)
            self.method_seconds += time.monotonic() - begun
            if child is not None:
                return child
        logger.info("the search ends: %d proposals in a row were known or refused", TRIES)
        return None

    def _has_budget(self, running: int) -> bool:
        budget = self.config.budget
        if budget.children is not None and len(self._children) >= budget.children:
            return False
        if budget.total is None:
            return True
        return self.spent + (running + 1) * budget.child <= budget.total

    def _considered(self, point: Point, values: Values, asked: bool) -> Child | None:
        """A child for a point; None: it need not or cannot be trained, which the method is told."""
        why = self.space.problem(values) if asked else None
        key = self.space.key(values)
        if why is None and key in self._keys:
            of = self._keys[key]
            self.history.add("repeat", point=point, of=of)
            self._count_repeat(point, of)
            return None
        number = len(self._children) + 1
        child = None
        if why is None:
            try:
                child = self._child(number, point, values)
            except ConfigurationError as error:
                self._impossible += 1
                if not asked or (not self._children and self._impossible >= IMPOSSIBLE):
                    raise
                why = error.mistakes[0]
        if child is None:
            assert why is not None, "there is a reason"
            self.history.add("refused", point=point, why=why)
            self._count_refusal(why)
            self._method.reject(point, -self.worst)
            return None
        self._keys[key] = number
        event = {"number": number, "point": point, "values": values, "asked": asked}
        self.history.add("child", **event)
        self._children[number] = event
        return child

    def _count_repeat(self, point: Point, of: int) -> None:
        self.repeats += 1
        if of in self.records:  # one that is trained now is told when it ends
            self._method.repeat(point, self.records[of].reward(self.worst))

    def _count_refusal(self, why: str) -> None:
        kind = re.split(", in `|, but is", why)[0]
        self.refused[kind] = self.refused.get(kind, 0) + 1

    def _child(self, number: int, point: Point, values: Values) -> Child:
        budget, pruning = self.config.budget, self.config.pruning
        name = f"{self.base.name}/{number:04d}"
        limits = {"max_steps": "null", "max_epochs": "null", "max_tokens": "null"}
        limits |= {"max_minutes": "null"}
        if budget.by == "seconds":
            limits["max_minutes"] = repr(budget.child / 60)
        else:
            limits["max_tokens"] = str(int(budget.child))
        rungs = ",".join(f"{part * budget.child:.6g}" for part in pruning.rungs)
        overrides = (
            *self.space.overrides(values),
            f"name={in_quotes(name)}",
            "resume=auto",
            *(f"training.{key}={value}" for key, value in limits.items()),
            "training.log_every=1" if budget.by == "seconds" else "training.log_every=20",
            "training.validate_every=1000000000",
            "training.checkpoint_every=1000000000",
            f"training.halving.folder={in_quotes(str(self.folder)) if rungs else 'null'}",
            f"training.halving.by={budget.by}",
            f"training.halving.rungs=[{rungs}]",
            f"training.halving.keep={pruning.keep}",
        )
        config = self._compose(overrides)
        return Child(number, point, values, (*self._common, *overrides), config)

    def config_of(self, record: Record) -> TrainConfig:
        """The configuration of a child."""
        return self._child(record.number, record.point, record.values).config

    def _begin(self, child: Child) -> None:
        """Prepare a child's folder, without what an unfinished one has left."""
        shutil.rmtree(child.folder, ignore_errors=True)
        child.folder.mkdir(parents=True)
        prepare(child.config.data, child.config.seed)  # once for all: later ones find it
        save_job(TrainJob(config=child.config, started=now()), child.folder / JOB)

    def _finish(self, number: int, ended: Ended) -> None:
        """Count a child that has ended, note it, and tell the method."""
        event = self._children[number]
        folder = self.folder / f"{number:04d}"
        result = None if ended.error else result_of(folder)
        record = Record(
            number=number,
            point=tuple(event["point"]),
            values=event["values"],
            loss=None if result is None else result.best_score,
            seconds=ended.seconds,
            tokens=0 if result is None else result.target_tokens,
            steps=0 if result is None else result.steps,
            ended_by="" if result is None else result.ended_by,
            at=0.0,
            clock=self.clock,
            error=ended.error or (None if result else "it left no result"),
            start=not event["asked"],
        )
        self.records[number] = record  # so that it is part of what has been spent
        record = replace(record, at=self.spent)
        begun = time.monotonic()
        self._take(record)
        self.history.add("end", method_seconds=self.method_seconds, **asdict(record))
        self.method_seconds += time.monotonic() - begun
        for name in FORGOTTEN:
            shutil.rmtree(folder / name, ignore_errors=True)
        if record.error:
            logger.warning("child %d failed: %s", number, record.error)

    def _take(self, record: Record) -> None:
        self.records[record.number] = record
        self._method.tell(record.point, record.reward(self.worst))


def as_record(event: dict[str, Any]) -> Record:
    """A child that has ended, from its event."""
    values = {key: value for key, value in event.items() if key not in ("event", "method_seconds")}
    return Record(**{**values, "point": tuple(values["point"])})


def _value_at(config: TrainConfig, path: str) -> Any:
    """The value of a setting; None for a group, whose file is not known."""
    value: Any = config
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return None if hasattr(value, "model_fields") else value
