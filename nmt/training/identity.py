"""What a run must have in common with the checkpoint that it resumes from.

A run is identified by its resolved configuration, less the settings that may change on resume, and
by the contents of its data. So a sweep's second job, or a second command under the same name, can
never take the checkpoint of another run for its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from nmt.config import TrainConfig
from nmt.corpus.prepare import PreparedData
from nmt.errors import CheckpointError
from nmt.training.checkpoint import find_checkpoint, read_progress

# Patterns of settings that may differ between a run and its resumption. Everything else is part of
# what the run is.
MAY_CHANGE = (
    # where it is, and whether it resumes
    "name",
    "runs",
    "resume",
    # how long it trains; a schedule that ends with the run is stretched
    "training.max_*",
    "training.patience",
    # what is written, and how often
    "training.log_every",
    "training.validate_every",
    "training.validate_first",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    # where it runs: every executor computes the same, up to the order of sums
    "parallel.*",
    "placement.*",
    "precision.emulate",
    "decode.batch_sentences",
    # where files are: their contents are compared
    "distill",
    "data.name",
    "data.cache",
    "data.vocabulary.model",
    "data.train.*.source",
    "data.train.*.target",
    "data.valid.*.source",
    "data.valid.*.target",
    "data.test.*",
)


def run_identity(config: TrainConfig, data: PreparedData) -> dict[str, Any]:
    """What must not change: `settings` by dotted path, `contents` of the data as digests, and the
    `digest` of both."""
    settings = {
        path: value
        for path, value in _flat(config.model_dump(mode="json"))
        if not any(fnmatchcase(path, pattern) for pattern in MAY_CHANGE)
    }
    found: dict[str, Any] = {"settings": settings, "contents": data.contents()}
    text = json.dumps(found, sort_keys=True).encode()
    return {"digest": hashlib.sha256(text).hexdigest()[:16], **found}


def _flat(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted path."""
    if not isinstance(values, Mapping):
        yield path, values
        return
    for key, value in values.items():
        yield from _flat(value, f"{path}.{key}" if path else str(key))


def check_resumable(config: TrainConfig, data: PreparedData) -> None:
    """Check that a run is what its last checkpoint was written by. Changes nothing.

    Raises:
        CheckpointError: naming the first thing that differs.
    """
    folder = find_checkpoint(config)
    if folder is None:
        return
    progress = read_progress(folder)
    before, now = progress.identity or {}, run_identity(config, data)
    if "settings" not in before or "contents" not in before:
        raise CheckpointError(
            f"`{folder}` must be a checkpoint of version 0.2 or later, but was written by an "
            "earlier one; finish the run with that version, or choose another `name`."
        )
    for kind in ("settings", "contents"):
        for path in {**before[kind], **now[kind]}:
            old, new = before[kind].get(path), now[kind].get(path)
            if old != new:
                raise CheckpointError(_difference(config, kind, path, old, new))
    data.batches().load_state_dict(progress.data or {})


def _difference(config: TrainConfig, kind: str, path: str, old: Any, new: Any) -> str:
    if kind == "contents":
        return (
            f"`{path}` must have the same content as when the run in `{config.folder}` began, but "
            "has another; restore the files, or choose another `name` for a new run."
        )
    return (
        f"`{path}` must be {old!r} to resume the run in `{config.folder}`, but is {new!r} instead; "
        "choose another `name` for a new run."
    )
