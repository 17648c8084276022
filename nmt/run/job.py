"""Jobs: a job is a task and its resolved configuration, and worker processes read it from
`run.json`.

Workers do not parse a command line: their starter (a command, a sweep, a scheduler of several
machines) writes the job, and `python -m nmt.run.worker <run.json>` executes it.
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
from nmt.errors import NmtError, StoppedError, WorkerError, error_from_data
from nmt.files import replacing
from nmt.run.processes import WorkersStoppedError, deliver, run_workers

JOB = "run.json"


class TrainJob(Settings):
    """Train a model in the configuration's folder."""

    task: Literal["train"] = "train"
    config: TrainConfig
    started: float = Field(description="When the command began, on `time.monotonic`'s clock.")


class StepsJob(Settings):
    """Time some training steps with new weights. The result is a `measure.Measurement`."""

    task: Literal["steps"] = "steps"
    config: TrainConfig
    steps: int


class LayersJob(Settings):
    """Measure the cost of each layer. The result is a `placement.cost.Profile`."""

    task: Literal["layers"] = "layers"
    config: TrainConfig
    granularities: list[list[int]] = Field(description="Pairs of micro-batches and chunks.")


class LinkJob(Settings):
    """Measure the link between two processes. The result maps the size of a message in bytes to the
    seconds that it takes one way."""

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
        ConfigurationError: the file does not describe a job.
    """
    return read(_File, json.loads(file.read_text(encoding="utf-8"))).job


def result_file(job_file: Path) -> Path:
    """The file in which the first worker leaves the result of a measurement."""
    return job_file.with_name(f"{job_file.name}.result")


def error_file(job_file: Path) -> Path:
    """The file in which the first worker that fails leaves its error."""
    return job_file.with_name(f"{job_file.name}.error")


def run_job(job: Job, file: Path, processes: int, threads: int | None) -> None:
    """Write a job to `file`, execute it in worker processes, and wait for them.

    Raises:
        NmtError: the error that a worker raised.
        WorkerError: a worker failed without leaving an error.
        StoppedError: a signal stopped the run, and what it had done is saved.
    """
    error_file(file).unlink(missing_ok=True)
    save_job(job, file)
    try:
        run_workers([sys.executable, "-m", "nmt.run.worker", str(file)], processes, threads)
    except WorkersStoppedError as stopped:
        error = _left_error(file)
        if isinstance(error, StoppedError):
            raise StoppedError(str(error), stopped.number) from None
        deliver(stopped.number)  # there was nothing to save yet
    except WorkerError:
        if (error := _left_error(file)) is not None:
            raise error from None
        raise
    finally:
        error_file(file).unlink(missing_ok=True)


def _left_error(file: Path) -> NmtError | None:
    """The error that the first worker to fail has left; None if there is none."""
    with suppress(OSError, ValueError):
        return error_from_data(json.loads(error_file(file).read_text(encoding="utf-8")))
    return None


def measure_in_workers(job: StepsJob | LayersJob | LinkJob, processes: int) -> Any:
    """Execute a measurement in worker processes and a temporary folder, and return its result."""
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
    """The time on the clock of `TrainJob.started`, which all processes of a machine share."""
    return time.monotonic()
