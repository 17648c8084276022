"""Warm workers: children that end, fail, hang or are killed."""

from __future__ import annotations

import os
import signal
import time

import pytest

from nmt.run.job import JOB, TrainJob, now, save_job
from nmt.run.result import RunResult
from nmt.search.child import Child
from nmt.search.pool import LOG, Ended, Pool
from tests.training.conftest import MakeConfig

ENDLESS = "training.max_steps=1000000"


def child(small: MakeConfig, number: int, *overrides: str) -> Child:
    config = small(f"name=children/{number}", *overrides)
    config.folder.mkdir(parents=True)
    save_job(TrainJob(config=config, started=now()), config.folder / JOB)
    return Child(number, (0,), {}, (), config)


def next_ended(pool: Pool) -> Ended:
    while True:
        for ended in pool.wait(1.0):
            return ended


@pytest.mark.timeout(120)
def test_children_have_processes_of_their_own(small: MakeConfig) -> None:
    fine = child(small, 1, "training.max_steps=2")
    broken = child(small, 2, "optimizer=rule", "optimizer.rule=g * 1e30 * 1e15")
    hanging, killed = child(small, 3, ENDLESS), child(small, 4, ENDLESS)
    with Pool(2) as pool:
        assert not pool.is_full
        pool.start(fine, 100)
        pool.start(broken, 100)
        assert pool.is_full
        ended = {one.number: one for one in (next_ended(pool), next_ended(pool))}
        assert ended[1].error is None
        assert RunResult.load(fine.folder).steps == 2
        assert "must be finite" in str(ended[2].error)
        assert "\n" not in str(ended[2].error)
        assert "must be finite" in (broken.folder / LOG).read_text(encoding="utf-8")
        pool.start(hanging, 3.0)
        assert next_ended(pool) == Ended(3, pytest.approx(3, abs=2), "it took more than 3 seconds")
        pool.start(killed, 100)
        while not (killed.folder / "metrics.jsonl").exists():
            time.sleep(0.05)
        (process,) = [one.process for one in pool._running]
        os.kill(process.pid, signal.SIGKILL)
        assert next_ended(pool).error == "it was killed (out of memory?)"
        assert pool.running == []


@pytest.mark.timeout(120)
def test_nothing_runs_on_when_a_pool_is_left(small: MakeConfig) -> None:
    with Pool(1) as pool:
        pool.start(child(small, 1, ENDLESS), 100)
        (process,) = [one.process for one in pool._running]
        assert process.is_alive()
    assert not process.is_alive()
