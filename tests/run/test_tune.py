"""Choosing a way to run a training by measuring."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from nmt.config import TrainConfig, WavefrontConfig, read
from nmt.corpus.prepare import PreparedData
from nmt.placement.plan import Plan, single_device
from nmt.run import tune
from nmt.run.measure import Measurement
from nmt.run.tune import tuned
from tests.training.conftest import MakeConfig

CACHE = "data.cache=cache"
Speeds = dict[tuple[str, int, int], float]


def key(config: TrainConfig) -> tuple[str, int, int]:
    parallel = config.parallel
    return parallel.executor, parallel.micro_batches, parallel.chunks


def tunes(config: TrainConfig) -> bool:
    return isinstance(config.parallel, WavefrontConfig) and config.parallel.tune


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> tuple[list[tuple[str, int, int]], Speeds]:
    """What is measured, and what is found."""
    calls: list[tuple[str, int, int]] = []
    speeds: Speeds = {}

    def measuring(config: TrainConfig, steps: int) -> Measurement:
        assert not tunes(config)
        read(TrainConfig, config.model_dump())  # as the measuring processes do
        calls.append(key(config))
        return Measurement([1.0] * steps, [int(speeds.get(key(config), 1))] * steps, [], "")

    monkeypatch.setattr(tune, "measure_steps", measuring)
    return calls, speeds


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PreparedData:
    """All that tuning reads of the data; its cache is in the test's folder."""
    monkeypatch.chdir(tmp_path)
    vocabulary = SimpleNamespace(fingerprint="1")
    return cast("PreparedData", SimpleNamespace(contents=dict, vocabulary=vocabulary))


def test_micro_batches_then_chunks_then_one_process(
    small: MakeConfig, data: PreparedData, asked: tuple[list[tuple[str, int, int]], Speeds]
) -> None:
    calls, speeds = asked
    speeds |= {("wavefront", 4, 1): 50, ("wavefront", 4, 4): 60, ("local", 1, 1): 55}
    chosen = tuned(small("parallel=auto", CACHE), data)
    assert calls == [
        *(("wavefront", m, 1) for m in (2, 4, 8)),
        *(("wavefront", 4, c) for c in (2, 4)),
        ("local", 1, 1),
    ]
    assert key(chosen) == ("wavefront", 4, 4)
    assert not tunes(chosen)


@pytest.mark.usefixtures("asked")
def test_any_planner_can_be_tuned(small: MakeConfig, data: PreparedData) -> None:
    assert tuned(
        small("parallel=auto", "placement.planner=folded", CACHE), data
    ).placement.planner in (
        "folded",
        "expert",  # one process, where nothing is placed
    )


def test_one_process_where_it_is_faster(
    small: MakeConfig, data: PreparedData, asked: tuple[list[tuple[str, int, int]], Speeds]
) -> None:
    asked[1][("local", 1, 1)] = 9
    assert key(tuned(small("parallel=auto", CACHE), data)) == ("local", 1, 1)


def test_a_run_like_an_earlier_one_is_not_measured_again(
    small: MakeConfig, data: PreparedData, asked: tuple[list[tuple[str, int, int]], Speeds]
) -> None:
    calls, speeds = asked
    speeds[("wavefront", 4, 1)] = 50
    first = key(tuned(small("parallel=auto", CACHE), data))
    calls.clear()
    speeds |= {("wavefront", 4, 1): 1, ("wavefront", 2, 1): 99}  # what would be measured now
    assert key(tuned(small("parallel=auto", CACHE, "name=another"), data)) == first
    assert calls == []
    tuned(small("parallel=auto", CACHE, "seed=7"), data)
    assert calls  # another run


def test_a_run_goes_on_as_it_began(
    small: MakeConfig, data: PreparedData, asked: tuple[list[tuple[str, int, int]], Speeds]
) -> None:
    config = small("parallel=auto")
    (config.folder / "checkpoints").mkdir(parents=True)
    plan = single_device("g", ["a"], "cpu")
    plan.save(config.folder / "plan.json")
    assert key(tuned(config, data)) == ("local", 1, 1)
    cut = Plan(
        graph="g",
        devices=["cpu", "cpu"],
        placement={"a": 0, "b": 1},
        micro_batches=8,
        chunks=2,
        schedule="wavefront",
    )
    cut.save(config.folder / "plan.json")
    assert key(tuned(config, data)) == ("wavefront", 8, 2)
    assert asked[0] == []
