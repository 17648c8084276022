"""Children through hydra's launchers, such as joblib's, or submitit's for a cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobStatus

from nmt.errors import error_of_ours
from nmt.search.child import Child
from nmt.search.pool import Ended


class LauncherPool:
    """Trains children in batches of as many as there are workers: a launcher takes several jobs at
    once, and returns when the last one has ended."""

    def __init__(self, launcher: Any, workers: int) -> None:
        self._launcher, self._workers = launcher, workers
        self._waiting: list[Child] = []
        self._launched = 0

    def __enter__(self) -> LauncherPool:
        return self

    def __exit__(self, *error: object) -> None:
        self._waiting.clear()

    @property
    def is_full(self) -> bool:
        """See Workers."""
        return len(self._waiting) >= self._workers

    @property
    def running(self) -> Sequence[int]:
        """See Workers."""
        return [child.number for child in self._waiting]

    def start(self, child: Child, limit: float) -> None:  # noqa: ARG002 - the launcher has its own
        """See Workers. The child waits until there are enough."""
        self._waiting.append(child)

    def wait(self, seconds: float) -> list[Ended]:  # noqa: ARG002 - launchers return at the end
        """See Workers."""
        children, self._waiting = self._waiting, []
        begun = time.monotonic()
        returned = self._launcher.launch(
            [list(child.overrides) for child in children], self._launched
        )
        self._launched += len(children)
        took = time.monotonic() - begun
        return [
            Ended(child.number, took, _failure(job))
            for child, job in zip(children, returned, strict=True)
        ]


def _failure(job: Any) -> str | None:
    """Why a job has failed; None if it has not."""
    if job.status == JobStatus.COMPLETED:
        return None
    try:
        job.return_value  # noqa: B018 - it raises what the job has raised
    except Exception as error:
        return str(error_of_ours(error) or error).partition("\n")[0]
    return "it failed"
