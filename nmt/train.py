"""`nmt-train`: train a model, on one device or as a pipeline of processes."""

from __future__ import annotations

from nmt.command import Sweep, run_command
from nmt.config import TrainConfig
from nmt.errors import ConfigurationError
from nmt.parallel.world import is_worker
from nmt.run.processes import end_worker
from nmt.run.result import RunResult
from nmt.run.run import start
from nmt.run.sweep import Outcome, job_values, table


def main() -> None:
    """The console script."""
    sweep = Sweep(
        job_values,
        lambda jobs: table([Outcome(*job) for job in jobs]),
        "${runs}/${name}",
        RunResult,
    )
    run_command("nmt-train", TrainConfig, train, "train", sweep)


def train(config: TrainConfig) -> RunResult:
    """Train as configured, and return the result, whose best score is the objective of a sweep."""
    if config.search is not None:
        raise ConfigurationError(
            [
                f"`search={config.search.name}` must be used with a method, but there is none; add "
                "`-m hydra/sweeper=` and one of random, evolution, reinforce, optuna, transfer."
            ]
        )
    result = start(config)
    if is_worker():
        end_worker()
    return result


if __name__ == "__main__":
    main()
