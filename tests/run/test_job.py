"""What worker processes are started with, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nmt.errors import (
    CheckpointError,
    ConfigurationError,
    NmtError,
    PlanError,
    WorkerError,
    error_as_data,
    error_from_data,
)
from nmt.run import job as job_module
from nmt.run.job import (
    JOB,
    LayersJob,
    LinkJob,
    StepsJob,
    TrainJob,
    error_file,
    load_job,
    run_job,
    save_job,
)
from nmt.run.run import start
from tests.training.conftest import MakeConfig


def test_a_job_is_a_file(small: MakeConfig, tmp_path: Path) -> None:
    config = small()
    for job in (
        TrainJob(config=config, started=1.5),
        StepsJob(config=config, steps=3),
        LayersJob(config=config, granularities=[[2, 1], [4, 2]]),
        LinkJob(backend="gloo"),
    ):
        save_job(job, tmp_path / JOB)
        assert load_job(tmp_path / JOB) == job


def test_a_damaged_job(tmp_path: Path) -> None:
    (tmp_path / JOB).write_text('{"job": {"task": "dance"}}')
    with pytest.raises(ConfigurationError, match=r"`job\.task` must be one of 'train', 'steps'"):
        load_job(tmp_path / JOB)


@pytest.mark.parametrize(
    "error", [PlanError("One sentence."), ConfigurationError(["One.", "Two."])]
)
def test_errors_travel(error: NmtError) -> None:
    found = error_from_data(json.loads(json.dumps(error_as_data(error))))
    assert type(found) is type(error)
    assert str(found) == str(error)


def test_what_a_worker_raises_is_raised_here(small: MakeConfig) -> None:
    """The workers find that the run cannot be resumed, since its checkpoint is damaged."""
    pipeline = ("parallel=wavefront", "parallel.stages=2", "parallel.device=cpu")
    changes = ("training.max_steps=6", "training.checkpoint_every=6", *pipeline)
    config = small(*changes)
    result = start(config)
    assert (result.steps, result.folder) == (6, str(config.folder))
    job = load_job(config.folder / JOB)
    assert isinstance(job, TrainJob)
    assert job.config == config
    (state,) = config.folder.glob("checkpoints/*/state.safetensors")
    save_file({"parameter/odd": torch.ones(1)}, state)
    (state.parent / "SHA256SUMS").unlink()
    with pytest.raises(CheckpointError, match="must have a tensor `parameter/source_embedding"):
        start(small(*changes, "training.max_steps=12"))
    assert not error_file(config.folder / JOB).exists()


def test_a_worker_that_says_nothing(
    small: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise WorkerError("All 2 workers must finish, but worker 1 was killed by SIGKILL.")

    monkeypatch.setattr(job_module, "run_workers", fail)
    with pytest.raises(WorkerError, match="was killed by SIGKILL"):
        run_job(TrainJob(config=small(), started=0.0), tmp_path / JOB, 2, 1)
