"""What a run must have in common with the checkpoint that it resumes from."""

from __future__ import annotations

from typing import Any

import pytest

from nmt.config import TrainConfig
from nmt.corpus.prepare import PreparedData, prepare
from nmt.errors import CheckpointError
from nmt.training.checkpoint import Checkpoints, Progress
from nmt.training.identity import check_resumable, run_identity
from tests.training.conftest import MakeConfig

# Changes that make it another run, but that a run may be resumed with.
STEERED = (
    "optimizer.learning_rate=0.5",
    "optimizer.clip_norm=0.5",
    "schedule.warmup_steps=5",
    "schedule.name=cosine",
    "model.dropout=0.5",
    "training.label_smoothing=0.2",
)
# Changes that make it another run.
OTHER = (
    "seed=2",
    "optimizer=sgd",
    "model.hidden_size=16",
    "data.batch.sentences=8",
    "data.filter.max_tokens=7",
    "precision.clip=1.0",
    "decode.beam_size=2",
    "training.best_by=bleu",
    "training.average.decay=0.5",
    "training.average.kind=none",
    "training.validate_sentences=4",
)
# Changes that do not.
SAME = (
    "name=other",
    "resume=must",
    "training.max_steps=99",
    "training.max_minutes=1",
    "training.patience=3",
    "training.log_every=7",
    "training.validate_every=3",
    "training.checkpoint_every=9",
    "training.keep_checkpoints=1",
    "parallel.threads=2",
    "parallel.micro_batches=2",
    "decode.batch_sentences=7",
)


@pytest.fixture
def data(small: MakeConfig) -> PreparedData:
    return prepare(small().data, 1)


@pytest.mark.parametrize("change", [*OTHER, *STEERED])
def test_another_run(small: MakeConfig, data: PreparedData, change: str) -> None:
    before, now = run_identity(small(), data), run_identity(small(change), data)
    assert before["digest"] != now["digest"]


@pytest.mark.parametrize("change", SAME)
def test_the_same_run(small: MakeConfig, data: PreparedData, change: str) -> None:
    assert run_identity(small(), data) == run_identity(small(change), data)


def test_contents_count_and_not_places(small: MakeConfig, data: PreparedData) -> None:
    config = small()
    identity = run_identity(config, data)
    assert not any("digits/" in str(value) for value in identity["settings"].values())
    assert {"data.vocabulary", "data.train.digits"} <= identity["contents"].keys()


def begun(config: TrainConfig, identity: dict[str, Any]) -> None:
    """A run with one checkpoint."""
    checkpoints = Checkpoints(config.folder / "checkpoints", 1)
    checkpoints.write(Progress(step=3, identity=identity), {})


def test_all_differences_are_named(small: MakeConfig, data: PreparedData) -> None:
    config = small("model.hidden_size=48", "seed=7")
    begun(config, run_identity(small(), data))
    with pytest.raises(CheckpointError) as caught:
        check_resumable(config, data)
    assert str(caught.value) == (
        f"The run in `{config.folder}` can only be resumed with the settings that it began with, "
        "but `seed` was 1, is 7; `model.hidden_size` was 8, is 48; restore them, or choose another "
        "`name` for a new run."
    )


@pytest.mark.parametrize("change", STEERED)
def test_a_run_may_be_steered(small: MakeConfig, data: PreparedData, change: str) -> None:
    config = small(change)
    progress = Progress(step=3, identity=run_identity(small(), data))
    progress.data = data.batches().state_dict()
    Checkpoints(config.folder / "checkpoints", 1).write(progress, {})
    check_resumable(config, data)


def test_other_contents_are_named(small: MakeConfig, data: PreparedData) -> None:
    config = small()
    identity = run_identity(config, data)
    begun(config, {**identity, "contents": {**identity["contents"], "data.train.digits": "0"}})
    with pytest.raises(CheckpointError, match=r"`data\.train\.digits` must have the same content"):
        check_resumable(config, data)


def test_a_checkpoint_of_an_earlier_version(small: MakeConfig, data: PreparedData) -> None:
    config = small()
    begun(config, {"seed": 1, "model": {}})
    with pytest.raises(CheckpointError, match="was written by an earlier one; finish the run"):
        check_resumable(config, data)


def test_validations_count_where_they_decide(small: MakeConfig, data: PreparedData) -> None:
    plateau = small("schedule.name=plateau")
    Checkpoints(plateau.folder / "checkpoints", 1).write(
        Progress(identity=run_identity(plateau, data), data=data.batches().state_dict()), {}
    )
    check_resumable(plateau, data)
    with pytest.raises(CheckpointError, match=r"`training\.validate_every` was 6, is 3"):
        check_resumable(small("schedule.name=plateau", "training.validate_every=3"), data)
    check_resumable(small("schedule.name=cosine", "training.validate_every=3"), data)
