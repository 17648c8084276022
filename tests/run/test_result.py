"""A run's result is its summary.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nmt.errors import CheckpointError
from nmt.run.result import SUMMARY, RunResult
from nmt.training.checkpoint import Progress
from tests.training.conftest import MakeConfig


def test_what_is_written_is_read(small: MakeConfig) -> None:
    config = small("training.best_by=bleu")
    config.folder.mkdir(parents=True)
    progress = Progress(step=6, target_tokens=120, seconds=3.0, best_score=12.5, best_step=4)
    progress.identity = {"digest": "d"}
    result = RunResult.of(config, progress)
    result.save()
    assert RunResult.load(config.folder) == result
    assert result.objective == 12.5
    assert (result.tokens_per_second, result.identity) == (40.0, "d")


def test_a_loss_is_reported_as_it_is(small: MakeConfig) -> None:
    """Within a run, more is better: the score is its negative."""
    result = RunResult.of(small("training.best_by=loss"), Progress(best_score=-1.25))
    assert result.objective == 1.25


@pytest.mark.parametrize("content", [None, "{", '{"name": 3}'])
def test_a_result_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / SUMMARY).write_text(content)
    with pytest.raises(CheckpointError, match="must hold a run's result, but cannot be read"):
        RunResult.load(tmp_path)


def test_its_fields_are_plain_values(small: MakeConfig) -> None:
    config = small()
    config.folder.mkdir(parents=True)
    RunResult.of(config, Progress()).save()
    values = json.loads((config.folder / SUMMARY).read_text("utf-8"))
    assert values["best_score"] is None
