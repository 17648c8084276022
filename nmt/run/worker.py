"""The entry point of worker processes: `python -m nmt.run.worker <run.json>`."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from nmt.errors import ConnectionLostError, NmtError, error_as_data, error_of_ours
from nmt.logs import start_logging
from nmt.memory import keep_memory
from nmt.parallel import group
from nmt.parallel.probe import measure_link
from nmt.parallel.world import is_first_to_say, world
from nmt.run.job import (
    Job,
    LayersJob,
    LinkJob,
    StepsJob,
    TrainJob,
    error_file,
    load_job,
    result_file,
)
from nmt.run.measure import layers_in_group, steps_in_group
from nmt.run.processes import end_worker
from nmt.run.run import train_here, using_cpu

FAILED = 2


def main() -> None:
    """Execute the job of `run.json` as one process of its group."""
    file = Path(sys.argv[1])
    start_logging()
    keep_memory()
    try:
        execute(load_job(file), file)
    except ConnectionLostError as error:
        # Most often it follows from the failure of another worker, which is reported by itself.
        if is_first_to_say("connection lost"):
            sys.stderr.write(f"{error}\n")
        sys.exit(FAILED)
    except Exception as error:
        known = error_of_ours(error)
        if known is None:
            raise
        _leave_error(known, file)
        sys.exit(FAILED)
    end_worker()


def execute(job: Job, file: Path) -> None:
    """Execute a job. The result of a measurement is written to a file beside the job's.

    Raises:
        NmtError: the job cannot be executed.
    """
    if isinstance(job, TrainJob):
        _quieten()
        train_here(job.config, job.started)
        return
    logging.disable(logging.INFO)
    result = _measure(job)
    if world().rank == 0:
        result_file(file).write_text(json.dumps(result), encoding="utf-8")
    group.leave()


def _measure(job: StepsJob | LayersJob | LinkJob) -> Any:
    if isinstance(job, LinkJob):
        return measure_link(job.backend)
    with using_cpu(job.config.parallel.threads):
        if isinstance(job, StepsJob):
            return steps_in_group(job.config, job.steps)._asdict()
        granularities = [(micro_batches, chunks) for micro_batches, chunks in job.granularities]
        return layers_in_group(job.config, granularities).model_dump(mode="json")


def _quieten() -> None:
    """Drop repeated log lines: the first worker reports for all of them, and the parent has already
    reported on the data."""
    if world().rank > 0:
        logging.getLogger().setLevel(logging.WARNING)
    else:
        logging.getLogger("nmt.corpus").setLevel(logging.WARNING)


def _leave_error(error: NmtError, file: Path) -> None:
    """Write the error for the parent, which raises it again. Only the first one is kept, since the
    others follow from it."""
    with suppress(FileExistsError), error_file(file).open("x", encoding="utf-8") as out:
        json.dump(error_as_data(error), out)


if __name__ == "__main__":
    main()
