"""What worker processes are started with: `run.json`, a task and its resolved configuration.

Workers never see a command line: whoever starts them (a command, a sweep, a scheduler on several
machines) writes a job, and `python -m nmt.run.worker <run.json>` executes it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from nmt.config import Settings, TrainConfig, read
from nmt.errors import WorkerError, error_from_data
from nmt.files import replacing
from nmt.run.processes import run_workers

JOB = "run.json"


class TrainJob(Settings):
    """Train a model in the configuration's folder."""

    task: Literal["train"] = "train"
    config: TrainConfig
    started: float = Field(description="When the command began, on `time.monotonic`'s clock.")


class StepsJob(Settings):
    """Time some training steps with new weights. The result is a `tune.Measurement`."""

    task: Literal["steps"] = "steps"
    config: TrainConfig
    steps: int


class LayersJob(Settings):
    """Measure what each layer costs. The result is a `placement.cost.Profile`."""

    task: Literal["layers"] = "layers"
    config: TrainConfig
    granularities: list[list[int]] = Field(description="Pairs of micro-batches and chunks.")


class LinkJob(Settings):
    """Measure the link between two processes. The result maps bytes to seconds, one way."""

    task: Literal["link"] = "link"
    backend: Literal["gloo", "nccl"]


Job = TrainJob | StepsJob | LayersJob | LinkJob


class _File(Settings):
    """The content of run.json."""

    job: Annotated[Job, Field(discriminator="task")]


def save_job(job: Job, file: Path) -> None:
    """Write run.json."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as unfinished:
        unfinished.write_text(_File(job=job).model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_job(file: Path) -> Job:
    """Read run.json.

    Raises:
        ConfigurationError: it does not describe a job.
    """
    return read(_File, json.loads(file.read_text(encoding="utf-8"))).job


def result_file(job_file: Path) -> Path:
    """Where the first worker leaves the result of a measurement."""
    return job_file.with_name(f"{job_file.name}.result")


def error_file(job_file: Path) -> Path:
    """Where the first worker that fails leaves its error."""
    return job_file.with_name(f"{job_file.name}.error")


def run_job(job: Job, file: Path, processes: int, threads: int | None) -> None:
    """Execute a job in worker processes: write it to `file`, start them and wait.

    Raises:
        NmtError: what a worker raised.
        WorkerError: a worker ended without saying why.
    """
    error_file(file).unlink(missing_ok=True)
    save_job(job, file)
    try:
        run_workers([sys.executable, "-m", "nmt.run.worker", str(file)], processes, threads)
    except WorkerError:
        with suppress(OSError, ValueError):
            data = json.loads(error_file(file).read_text(encoding="utf-8"))
            raise error_from_data(data) from None
        raise
    finally:
        error_file(file).unlink(missing_ok=True)


def measure_in_workers(job: StepsJob | LayersJob | LinkJob, processes: int) -> Any:
    """Execute a measurement in worker processes, in a temporary folder → its result."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / JOB
        threads: int | None = 1
        if not isinstance(job, LinkJob):
            threads = job.config.parallel.threads
            config = job.config.model_copy(update={"runs": folder, "name": "measured"})
            job = job.model_copy(update={"config": config})
        run_job(job, file, processes, threads)
        return json.loads(result_file(file).read_text(encoding="utf-8"))


def now() -> float:
    """The clock of `TrainJob.started`, which all processes of a machine share."""
    return time.monotonic()
