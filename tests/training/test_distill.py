from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from nmt.command import compose_values
from nmt.config import TrainConfig, read
from nmt.corpus.lines import read_lines
from nmt.decoding import Translator
from nmt.errors import ConfigurationError
from nmt.training.distill import distilled

LINES = ["A man is sleeping.", "Two dogs play.", "The woman reads a book."]


def config_of(folder: Path, teacher: Path, **changes: str) -> TrainConfig:
    values = compose_values("train", f"distill={teacher}", f"data.cache={folder / 'cache'}")
    files = {"source": [str(folder / "s.gz")], "target": [str(folder / "t")]}
    values["data"] |= {"train": {"mine": {**files, "weight": 2.0}}, **changes}
    if not (folder / "s.gz").exists():  # its digest has the time in it
        with gzip.open(folder / "s.gz", "wt", encoding="utf-8") as out:
            out.write("".join(f"{line}\n" for line in LINES))
    return read(TrainConfig, values)


@pytest.mark.usefixtures("one_thread")
def test_a_teacher_s_translations_take_the_place_of_targets(
    tmp_path: Path, tiny_model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = distilled(config_of(tmp_path, tiny_model_folder))
    files = config.data.train["mine"]
    assert (files.source, files.weight) == ([str(tmp_path / "s.gz")], 2.0)
    expected = [one.text for one in Translator.load(tiny_model_folder).translate(LINES)]
    assert list(read_lines(files.target[0])) == expected
    assert config.data.valid == config_of(tmp_path, tiny_model_folder).data.valid
    again = distilled(config_of(tmp_path, tiny_model_folder), wait=True)
    assert again == config
    assert "using cached translations" in caplog.text
    assert sorted(path.suffix for path in (tmp_path / "cache" / "distilled").iterdir()) == [".gz"]


def test_without_a_teacher_nothing_changes(tmp_path: Path, tiny_model_folder: Path) -> None:
    config = config_of(tmp_path, tiny_model_folder).changed(distill=None)
    assert distilled(config) is config


def test_a_teacher_of_other_languages(tmp_path: Path, tiny_model_folder: Path) -> None:
    config = config_of(tmp_path, tiny_model_folder, direction="en-fr")
    with pytest.raises(
        ConfigurationError, match="must be a model that translates en→fr, the direction of a corpus"
    ):
        distilled(config)
