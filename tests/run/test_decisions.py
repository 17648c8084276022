"""Decisions that are made once."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nmt.config import TrainConfig
from nmt.corpus.prepare import PreparedData
from nmt.run import decisions
from nmt.run.decisions import kept
from tests.training.conftest import MakeConfig


@pytest.fixture
def config(small: MakeConfig, tmp_path: Path) -> TrainConfig:
    return small(f"data.cache={tmp_path}")


def prepared(contents: dict[str, str]) -> PreparedData:
    """Data with these digests."""
    vocabulary = SimpleNamespace(fingerprint="1")
    return cast("PreparedData", SimpleNamespace(contents=lambda: contents, vocabulary=vocabulary))


DATA = prepared({"train": "1"})


def forbidden() -> dict[str, Any]:
    raise AssertionError("it has been decided")


def test_a_decision_is_made_once(config: TrainConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert kept(config, DATA, "plan", lambda: {"a": 1}) == {"a": 1}
        assert not caplog.messages
        assert kept(config, DATA, "plan", forbidden) == {"a": 1}
    assert caplog.messages[0].startswith("plan: as decided before on this machine (delete ")


@pytest.mark.parametrize(
    "change",
    ["seed=7", "model.hidden_size=16", "data.batch.sentences=8", "placement.evaluations=9"],
)
def test_it_is_for_one_configuration(
    config: TrainConfig, small: MakeConfig, tmp_path: Path, change: str
) -> None:
    kept(config, DATA, "plan", lambda: {"a": 1})
    other = small(f"data.cache={tmp_path}", change)
    assert kept(other, DATA, "plan", lambda: {"a": 2}) == {"a": 2}


@pytest.mark.parametrize("change", ["name=other", "resume=must", "training.max_steps=9"])
def test_what_costs_do_not_depend_on_does_not_matter(
    config: TrainConfig, small: MakeConfig, tmp_path: Path, change: str
) -> None:
    kept(config, DATA, "plan", lambda: {"a": 1})
    assert kept(small(f"data.cache={tmp_path}", change), DATA, "plan", forbidden) == {"a": 1}


def test_it_is_for_one_kind_corpus_and_machine(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(config, DATA, "plan", lambda: {"a": 1})
    assert kept(config, DATA, "tuning", lambda: {"a": 2}) == {"a": 2}
    assert kept(config, prepared({"train": "2"}), "plan", lambda: {"a": 3}) == {"a": 3}
    monkeypatch.setattr(decisions, "_processor", lambda: "another")
    assert kept(config, DATA, "plan", lambda: {"a": 4}) == {"a": 4}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_damaged_file_is_replaced(
    config: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    kept(config, DATA, "plan", lambda: {"a": 1})
    (file,) = (tmp_path / "decisions").iterdir()
    file.write_bytes(damage)
    assert kept(config, DATA, "plan", lambda: {"a": 2}) == {"a": 2}
    assert "is damaged, so costs are measured again" in caplog.text
    assert kept(config, DATA, "plan", forbidden) == {"a": 2}
