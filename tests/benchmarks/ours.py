"""Running nmt for measurements, with the same set-up as in its commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from hydra import compose, initialize_config_dir

from nmt.command import plain_values
from nmt.config import TrainConfig, read
from nmt.config.paths import configuration_folder
from nmt.corpus.batching import PairBatch
from nmt.corpus.lines import read_parallel
from nmt.corpus.prepare import PreparedData, prepare
from nmt.memory import keep_memory
from nmt.model.batch import Batch
from nmt.model.build import build_graph
from nmt.parallel.executor import Executor, StepResult
from nmt.run.executors import make_executor
from nmt.training.optimizer import learning_rate_factor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Settings that are fixed here, so that results stay comparable when the defaults in conf/ change.
# Marian's settings are the same.
CONDITIONS = (
    "data=multi30k",
    "data.vocabulary.size=8000",
    "model.tie=none",
    "model.dropout=0.2",
    "parallel.device=cpu",
)


def in_new_process(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call a function in a new process, which has no threads, memory or caches of earlier
    measurements."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def training_config(overrides: Sequence[str], folder: Path) -> TrainConfig:
    """conf/train.yaml for Multi30k with 8,000 pieces, and `overrides`. Runs are written to
    `folder`."""
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        values = compose("train", [*CONDITIONS, f"runs={folder}", *overrides])
    return read(TrainConfig, plain_values(values))


def batches_of(sentences: int) -> list[str]:
    """Overrides for batches of a fixed number of sentences of similar length."""
    return ["data.batch.tokens=null", f"data.batch.sentences={sentences}"]


def prepared(config: TrainConfig) -> PreparedData:
    """Set up the process as nmt-train does, and prepare the data."""
    keep_memory()
    if config.parallel.threads:
        torch.set_num_threads(config.parallel.threads)
    return prepare(config.data, config.seed)


def test2016(count: int) -> tuple[list[str], list[str]]:
    """Sources and references of the first lines of test2016."""
    sources, references = lines_of(training_config([], Path("runs")), "test2016")
    return sources[:count], references[:count]


def lines_of(config: TrainConfig, test: str) -> tuple[list[str], list[str]]:
    """Sources and references of a test set."""
    pairs = list(read_parallel(config.data.test[test]))
    return [source for source, _ in pairs], [reference for _, reference in pairs]


class Steps:
    """Iterates over training steps on the batches of a run."""

    def __init__(self, config: TrainConfig, data: PreparedData, device: str = "cpu") -> None:
        graph = build_graph(config.model, len(data.vocabulary))
        self.executor: Executor = make_executor(config, graph, data, device)
        self._config, self._batches = config, data.batches()

    def __iter__(self) -> Iterator[tuple[PairBatch, StepResult]]:
        """The sentence pairs and the result of each step."""
        for step, pairs in enumerate(self._batches):
            factor = learning_rate_factor(self._config.schedule, step, 0.0)
            result = self.executor.train_step(
                Batch.from_rows(pairs.source, pairs.target),
                step,
                self._config.optimizer.learning_rate * factor,
            )
            yield pairs, result
