"""One running batch for all requests of a server, and the process that decodes it."""

from nmt.batching.process import RemoteModel, load_models
from nmt.batching.requests import (
    ClosedError,
    DeadlineError,
    Limits,
    QueueFullError,
    RequestOptions,
    SearchSettings,
    Submission,
)
from nmt.batching.running import RunningBatch

__all__ = [
    "ClosedError",
    "DeadlineError",
    "Limits",
    "QueueFullError",
    "RemoteModel",
    "RequestOptions",
    "RunningBatch",
    "SearchSettings",
    "Submission",
    "load_models",
]
