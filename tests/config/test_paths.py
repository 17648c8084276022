"""Paths of settings, and what they take."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.config import PlaceConfig, ServeConfig, TrainConfig, read
from nmt.config.paths import (
    annotations_at,
    configuration_folder,
    sample_folder,
    setting_paths,
    similar_path,
    takes_several,
    takes_text,
)
from nmt.config.settings import Name, Settings
from nmt.errors import ConfigurationError


def text_at(path: str) -> bool:
    return any(map(takes_text, annotations_at(TrainConfig, path.split("."))))


def test_settings_that_take_text() -> None:
    for path in ("name", "runs", "data.name", "data.train.mine.source", "data.vocabulary.model"):
        assert text_at(path), path
    assert text_at("placement.file"), "in one member of a union at least"
    for path in ("seed", "model", "training.max_steps", "data.direction", "nothing", "data.train"):
        assert not text_at(path), path
    assert annotations_at(TrainConfig, ["data", "train"])
    assert annotations_at(TrainConfig, ["data", "train", "mine"]) == []
    assert annotations_at(TrainConfig, ["name", "more"]) == []
    assert annotations_at(TrainConfig, []) == []


def test_settings_that_take_lists() -> None:
    assert any(map(takes_several, annotations_at(ServeConfig, ["models"])))
    assert any(map(takes_several, annotations_at(TrainConfig, ["data", "train", "x", "columns"])))
    assert not any(map(takes_several, annotations_at(TrainConfig, ["name"])))


def test_every_path_leads_to_a_setting() -> None:
    for kind in (TrainConfig, PlaceConfig, ServeConfig):
        paths = list(setting_paths(kind))
        assert len(paths) > 20
        assert all(annotations_at(kind, path.split(".")) for path in paths)


@pytest.mark.parametrize(
    ("path", "similar"),
    [
        ("training.max_step", "training.max_steps"),
        ("max_steps", "training.max_steps"),
        ("modle", "model"),
        ("learning_rate", "optimizer.learning_rate"),
        ("zebra", None),
    ],
)
def test_a_setting_that_is_spelt_alike(path: str, similar: str | None) -> None:
    assert similar_path(TrainConfig, path) == similar


class Named(Settings):
    """Has a name."""

    name: Name


@pytest.mark.parametrize("name", ["mine", "tries/mine", "a b", "é", "..a", "a=1,b=[2]"])
def test_names(name: str) -> None:
    assert read(Named, {"name": name}).name == name


@pytest.mark.parametrize("name", [".", "..", "../x", "a/../b", "/a", "a/", "a//b", "a\nb", "\0"])
def test_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(ConfigurationError, match="`name` must be a name, such as `mine`"):
        read(Named, {"name": name})


def test_what_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (configuration_folder() / "train.yaml").is_file()
    assert (sample_folder() / "train.en").is_file()
    monkeypatch.setattr("nmt.config.paths.PACKAGE", tmp_path / "nmt")
    with pytest.raises(ConfigurationError, match="`data/sample` must be in or beside"):
        sample_folder()
    (tmp_path / "nmt" / "sample").mkdir(parents=True)
    assert sample_folder() == tmp_path / "nmt" / "sample", "as in a wheel"
