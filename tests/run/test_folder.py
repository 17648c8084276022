"""A run's folder: what it keeps of earlier settings."""

import logging

import pytest
import yaml

from nmt.run.folder import CONFIG, writing_to
from nmt.training.checkpoint import Checkpoints, Progress
from tests.training.conftest import MakeConfig


def test_other_settings_are_logged_and_the_earlier_ones_kept(
    small: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    first = small()
    first.folder.mkdir(parents=True)
    with writing_to(first):
        Checkpoints(first.folder / "checkpoints", 3).write(Progress(step=5), {})
    caplog.set_level(logging.INFO)
    with writing_to(first):
        assert caplog.messages == []
    now = small("optimizer.learning_rate=0.5", "model.dropout=0.1", "resume=must")
    with writing_to(now):
        pass
    rate, dropout = first.optimizer.learning_rate, first.model.dropout
    assert caplog.messages == [
        f"resuming with another setting: `model.dropout` was {dropout}, is 0.1",
        f"resuming with another setting: `optimizer.learning_rate` was {rate}, is 0.5",
    ]
    kept = first.folder / "config-until-step-00000005.yaml"
    values = [yaml.safe_load(file.read_text("utf-8")) for file in (kept, first.folder / CONFIG)]
    assert [one["optimizer"]["learning_rate"] for one in values] == [rate, 0.5]


def test_a_run_that_starts_again_keeps_nothing(small: MakeConfig) -> None:
    for config in (small(), small("optimizer.learning_rate=0.5")):
        config.folder.mkdir(parents=True, exist_ok=True)
        with writing_to(config):
            pass
    assert [file.name for file in config.folder.iterdir() if file.suffix == ".yaml"] == [CONFIG]


def test_a_damaged_configuration_is_kept_too(
    small: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    config = small()
    Checkpoints(config.folder / "checkpoints", 3).write(Progress(step=5), {})
    (config.folder / CONFIG).write_bytes(b"\xff: [")
    caplog.set_level(logging.INFO)
    with writing_to(config):
        pass
    assert "was damaged" in caplog.text
    assert (config.folder / "config-until-step-00000005.yaml").exists()
