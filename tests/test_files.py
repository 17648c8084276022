from pathlib import Path

import pytest

from nmt.files import replacing


def test_whoever_looks_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with replacing(file) as unfinished:
        unfinished.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_mistake_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def write() -> None:
        with replacing(file) as unfinished:
            unfinished.write_text("ne")
            raise ValueError("disk is full")

    with pytest.raises(ValueError, match="disk is full"):
        write()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
