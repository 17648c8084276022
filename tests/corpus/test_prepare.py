import random
from itertools import islice
from pathlib import Path

import pytest

from nmt.config import (
    BatchConfig,
    CorpusConfig,
    DataConfig,
    Direction,
    FilterConfig,
    VocabularyConfig,
)
from nmt.corpus.prepare import prepare
from nmt.errors import ConfigurationError, CorpusError

EN_DE = Direction(source="en", target="de")
SYLLABLES = "ein zwei drei vier on tw thr ee fou do hu nd ca t ka tze".split()  # noqa: SIM905


def write(folder: Path, name: str, count: int, weight: float = 1.0) -> CorpusConfig:
    rng = random.Random(name)
    for side in ("en", "de"):
        words = ("".join(rng.choices(SYLLABLES, k=3)) for _ in range(6 * count))
        lines = (" ".join(islice(words, 6)) + f" {i}\n" for i in range(count))
        (folder / f"{name}.{side}").write_text("".join(lines))
    return CorpusConfig(
        source=[str(folder / f"{name}.en")],
        target=[str(folder / f"{name}.de")],
        direction=EN_DE,
        weight=weight,
    )


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    return DataConfig(
        name="tiny",
        direction=EN_DE,
        train={"one": write(tmp_path, "one", 80, 2.0), "two": write(tmp_path, "two", 40, 2.0)},
        valid={"valid": write(tmp_path, "valid", 10), "more": write(tmp_path, "more", 5)},
        test={"test": write(tmp_path, "test", 10)},
        vocabulary=VocabularyConfig(
            size=300, kind="unigram", character_coverage=1.0, sample_lines=1000, model=None
        ),
        filter=FilterConfig(max_tokens=100, max_ratio=3.0, duplicates=True, copies=True),
        batch=BatchConfig(tokens=300, sentences=None, multiple=4, pool=1000),
        cache=str(tmp_path / "cache"),
    )


def test_everything_is_prepared(data: DataConfig) -> None:
    prepared = prepare(data, seed=1)
    assert len(prepared.vocabulary) == 300
    assert {name: len(store) for name, store in prepared.train.items()} == {"one": 80, "two": 40}
    assert {name: len(one) for name, one in prepared.valid.items()} == {"valid": 10, "more": 5}
    for name, one in prepared.valid.items():
        assert one.direction == EN_DE
        assert one.source == Path(data.valid[name].source[0]).read_text().splitlines()
        assert one.target == Path(data.valid[name].target[0]).read_text().splitlines()
        for texts, rows in ((one.source, one.source_ids), (one.target, one.target_ids)):
            assert [row.tolist() for row in rows] == prepared.vocabulary.encode_batch(texts)
    assert next(prepared.batches()).epoch > 0


def test_a_second_time_everything_is_found(data: DataConfig) -> None:
    def files() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in Path(data.cache).rglob("*")}

    first = prepare(data, seed=1)
    before = files()
    second = prepare(data, seed=2)
    assert files() == before
    assert second.vocabulary.fingerprint == first.vocabulary.fingerprint


def test_new_training_text_makes_a_new_vocabulary(data: DataConfig, tmp_path: Path) -> None:
    first = prepare(data, seed=1)
    write(tmp_path, "one", 81)
    second = prepare(data, seed=1)
    assert second.vocabulary.fingerprint != first.vocabulary.fingerprint
    assert len(second.train["one"]) == 81


@pytest.mark.parametrize("name", ["two.de", "valid.en", "more.de", "test.de"])
def test_every_file_is_checked_before_any_work(data: DataConfig, tmp_path: Path, name: str) -> None:
    (tmp_path / name).unlink()
    with pytest.raises(CorpusError, match=f"{name}` must be a file, but does not exist"):
        prepare(data, seed=1)
    cache = Path(data.cache)
    assert not (cache / "vocabularies").exists()
    assert not (cache / "stores").exists()


def test_a_vocabulary_can_be_given(data: DataConfig, tmp_path: Path) -> None:
    path = tmp_path / "mine.model"
    prepare(data, seed=1).vocabulary.save(path)
    given = data.vocabulary.model_copy(update={"model": str(path)})
    prepared = prepare(data.model_copy(update={"vocabulary": given}), seed=1)
    assert len(prepared.vocabulary) == 300
    wrong = data.model_copy(update={"vocabulary": given.model_copy(update={"size": 400})})
    with pytest.raises(
        ConfigurationError, match=r"`data.vocabulary.size` must be 300, .*mine.*, but is 400"
    ):
        prepare(wrong, seed=1)
