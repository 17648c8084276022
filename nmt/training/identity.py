"""The identity of a run: the settings and data that must not change when it is resumed.

A run is identified by its resolved configuration, without the settings that may change on resume,
and by the contents of its data. A run therefore never resumes from the checkpoint of another one,
such as that of an earlier command with the same `name`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
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
    "training.halving.*",
    "search",
    # what is written, and how often
    "training.log_every",
    "training.log_seconds",
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
    "data.train.*.columns",
    "data.valid.*.source",
    "data.valid.*.target",
    "data.valid.*.columns",
    "data.test.*",
)

# With the plateau schedule, validations decide how the learning rate falls.
DECIDE_AT_VALIDATIONS = ("training.validate_every", "training.validate_first")

# Settings that a run may be steered by on its way: they are part of its identity, but may differ
# from the checkpoint's. Each change is logged.
MAY_BE_STEERED = (
    "model.dropout",
    "model.embedding_dropout",
    "optimizer.learning_rate",
    "optimizer.clip_norm",
    "schedule.*",
    "training.label_smoothing",
)


def run_identity(config: TrainConfig, data: PreparedData) -> dict[str, Any]:
    """The identity of a run: `settings` by dotted path, `contents` of the data as digests, and the
    `digest` of both."""
    settings = {
        path: value
        for path, value in flat(config.model_dump(mode="json"))
        if not _matches(path, MAY_CHANGE)
        or (config.schedule.name == "plateau" and path in DECIDE_AT_VALIDATIONS)
    }
    identity: dict[str, Any] = {"settings": settings, "contents": data.contents()}
    text = json.dumps(identity, sort_keys=True).encode()
    return {"digest": hashlib.sha256(text).hexdigest()[:16], **identity}


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def flat(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of each setting."""
    if not isinstance(values, Mapping):
        yield path, values
        return
    for key, value in values.items():
        yield from flat(value, f"{path}.{key}" if path else str(key))


def check_resumable(config: TrainConfig, data: PreparedData) -> None:
    """Check that a run's last checkpoint was written by the same run. Writes nothing.

    Raises:
        CheckpointError: settings or the data differ; the message names each difference.
    """
    folder = find_checkpoint(config)
    if folder is None:
        return
    progress = read_progress(folder)
    before, now = progress.identity or {}, run_identity(config, data)
    if not all(isinstance(before.get(kind), dict) for kind in ("settings", "contents")):
        raise CheckpointError(
            f"`{folder}` must be a checkpoint of version 0.2 or later, but was written by an "
            "earlier one; finish the run with that version, or choose another `name`."
        )
    sides = before["settings"], now["settings"]
    steered: tuple[str, ...] = MAY_BE_STEERED
    if sides[0].get("schedule.name") != sides[1].get("schedule.name"):
        steered = (*steered, *DECIDE_AT_VALIDATIONS)  # which only one of the two has
    fixed = [
        {path: value for path, value in side.items() if not _matches(path, steered)}
        for side in sides
    ]
    if changes := differences(*fixed):
        raise CheckpointError(
            f"The run in `{config.folder}` can only be resumed with the settings that it began "
            f"with, but {'; '.join(changes)}; restore them, or choose another `name` for a new run."
        )
    if changed := _changed(before["contents"], now["contents"]):
        names = " and ".join(f"`{path}`" for path in changed)
        raise CheckpointError(
            f"{names} must have the same content as when the run in `{config.folder}` began, "
            "but has changed; restore the files, or choose another `name` for a new run."
        )
    try:
        data.batches().load_state_dict(progress.data or {})
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        raise CheckpointError(
            f"`{folder}` must have the run's position in its data, but what it has is none; delete "
            "it to resume from the checkpoint before."
        ) from None


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed from one set of values by path to another, in words."""
    return [
        f"`{path}` was {_shown(before, path)}, is {_shown(now, path)}"
        for path in _changed(before, now)
    ]


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The paths whose values differ."""
    return [path for path in {**before, **now} if before.get(path) != now.get(path)]


def _shown(values: Mapping[str, Any], path: str) -> str:
    return json.dumps(values[path], ensure_ascii=False) if path in values else "not set"
