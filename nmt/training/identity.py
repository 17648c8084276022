"""The identity of a run: the settings and data that must not change when it is resumed.

A run is identified by its resolved configuration, without the settings that may change on resume,
and by the contents of its data. A run therefore never resumes from the checkpoint of another one,
such as that of an earlier command with the same `name`.
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

# Patterns of the settings that may change on resume. All others are part of the run's identity.
MAY_CHANGE = (
    # where the run is, and whether it resumes
    "name",
    "runs",
    "resume",
    # how long it trains; a learning rate schedule that ends with the run is stretched
    "training.max_*",
    "training.patience",
    # what is written, and how often
    "training.log_every",
    "training.validate_every",
    "training.validate_first",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    # where it runs: all executors compute the same, except for the order of sums
    "parallel.*",
    "placement.*",
    "precision.emulate",
    "decode.batch_sentences",
    # paths of files, whose contents are compared instead
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
    """The identity of a run: `settings` by dotted path, `contents` of the data as digests, and the
    `digest` of both."""
    settings = {
        path: value
        for path, value in _flat(config.model_dump(mode="json"))
        if not any(fnmatchcase(path, pattern) for pattern in MAY_CHANGE)
    }
    identity: dict[str, Any] = {"settings": settings, "contents": data.contents()}
    text = json.dumps(identity, sort_keys=True).encode()
    return {"digest": hashlib.sha256(text).hexdigest()[:16], **identity}


def _flat(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of each setting."""
    if not isinstance(values, Mapping):
        yield path, values
        return
    for key, value in values.items():
        yield from _flat(value, f"{path}.{key}" if path else str(key))


def check_resumable(config: TrainConfig, data: PreparedData) -> None:
    """Check that a run's last checkpoint was written by the same run. Writes nothing.

    Raises:
        CheckpointError: a setting or the data differs; the message names the first difference.
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
            "has changed; restore the files, or choose another `name` for a new run."
        )
    return (
        f"`{path}` must be {old!r} to resume the run in `{config.folder}`, but is {new!r} instead; "
        "choose another `name` for a new run."
    )
