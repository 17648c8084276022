import logging
import os
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nmt.config import CorpusConfig, Direction, FilterConfig, VocabularyConfig
from nmt.corpus import store as store_module
from nmt.corpus.lines import read_parallel
from nmt.corpus.store import TokenStore, build_store
from nmt.corpus.vocabulary import Vocabulary
from nmt.errors import CorpusError

FILTERS = FilterConfig(max_tokens=40, max_ratio=5.0, duplicates=True, copies=True)
WORDS = "ein zwei drei vier fünf sechs one two three four five six Haus house".split()  # noqa: SIM905

EN_DE = Direction(source="en", target="de")


def write_corpus(folder: Path, pairs: list[tuple[str, str]], name: str = "c") -> CorpusConfig:
    for side, k in (("en", 0), ("de", 1)):
        (folder / f"{name}.{side}").write_text("".join(pair[k] + "\n" for pair in pairs))
    return CorpusConfig(
        direction=EN_DE, source=[str(folder / f"{name}.en")], target=[str(folder / f"{name}.de")]
    )


def sentences(count: int, seed: int = 0) -> list[tuple[str, str]]:
    rng = random.Random(seed)

    def sentence() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(5, 9)))

    return [(f"{sentence()} {i}", f"{sentence()} {i}.") for i in range(count)]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    config = VocabularyConfig(
        size=320, kind="bpe", character_coverage=1.0, sample_lines=1000, model=None
    )
    lines = [line for pair in sentences(300) for line in pair]
    return Vocabulary.train(lines, config, tmp_path_factory.mktemp("v") / "v.model")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


def test_a_store_holds_the_corpus(
    tmp_path: Path, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LINES_AT_ONCE", 7)
    pairs = sentences(100)
    store = build_store("c", write_corpus(tmp_path, pairs), vocabulary, FILTERS, tmp_path / "cache")
    assert len(store) == 100
    for i, (source, target) in enumerate(pairs):
        assert store.source(i).tolist() == vocabulary.encode(source)
        assert store.target(i).tolist() == vocabulary.encode(target)
        assert store.source_lengths[i] == len(store.source(i))
        assert store.target_lengths[i] == len(store.target(i))
    assert store.source(0).dtype == np.uint16
    assert store.statistics.read == store.statistics.kept == 100
    assert store.statistics.source_tokens == int(store.source_lengths.sum())
    assert store.statistics.target_tokens == int(store.target_lengths.sum())


def test_filters_count_what_they_leave_out(
    tmp_path: Path, vocabulary: Vocabulary, caplog: pytest.LogCaptureFixture
) -> None:
    good = sentences(3)
    bad = [
        ("", "leer"),
        ("one", "one"),
        good[1],
        good[1],
        ("Haus " * 50, "Haus"),
        ("one", "€" * 12),
    ]
    files = write_corpus(tmp_path, [*good, *bad])
    with caplog.at_level(logging.INFO):
        store = build_store("mine", files, vocabulary, FILTERS, tmp_path / "cache")
    dropped = {"empty": 1, "copies": 1, "duplicates": 2, "length": 1, "ratio": 1}
    assert store.statistics.dropped == dropped
    assert len(store) == 3
    assert [store.source(i).tolist() for i in range(3)] == [vocabulary.encode(s) for s, _ in good]
    assert "mine: left out 2 pairs that are duplicates" in caplog.messages
    assert "mine: left out 1 pairs that have an empty side" in caplog.messages
    assert any(message.startswith("mine: 3 of 9 pairs kept, ") for message in caplog.messages)


def test_filters_can_be_off(tmp_path: Path, vocabulary: Vocabulary) -> None:
    files = write_corpus(tmp_path, [("one", "one"), ("one", "one")])
    off = FILTERS.model_copy(update={"duplicates": False, "copies": False})
    assert len(build_store("c", files, vocabulary, off, tmp_path / "cache")) == 2


def test_nothing_left_is_an_error(tmp_path: Path, vocabulary: Vocabulary) -> None:
    files = write_corpus(tmp_path, [("one", "one"), ("", "zwei")])
    expected = (
        "The corpus `c` must have at least one pair after filtering, but has none of its 2 pairs "
        "left instead (1 have an empty side, 1 have identical sides); "
        "loosen `data.filter`."
    )
    with pytest.raises(CorpusError) as raised:
        build_store("c", files, vocabulary, FILTERS, tmp_path / "cache")
    assert str(raised.value) == expected
    assert list((tmp_path / "cache" / "stores").iterdir()) == []


def test_a_second_build_touches_nothing(tmp_path: Path, vocabulary: Vocabulary) -> None:
    files, cache = write_corpus(tmp_path, sentences(50)), tmp_path / "cache"
    first = build_store("c", files, vocabulary, FILTERS, cache)
    before = snapshot(cache)
    second = build_store("c", files, vocabulary, FILTERS, cache)
    assert snapshot(cache) == before
    assert second.folder == first.folder
    assert second.statistics == first.statistics
    assert sorted(path.name for path in first.folder.iterdir()) == [
        "meta.json",
        *(f"{side}.{what}" for side in ("source", "target") for what in _PARTS),
    ]


_PARTS = ("lengths", "offsets", "tokens")


def test_whatever_changes_makes_another_store(tmp_path: Path, vocabulary: Vocabulary) -> None:
    cache = tmp_path / "cache"
    files = write_corpus(tmp_path, sentences(50))
    longer = FILTERS.model_copy(update={"max_tokens": 41})
    other = VocabularyConfig(
        size=300, kind="bpe", character_coverage=1.0, sample_lines=9, model=None
    )
    other_vocabulary = Vocabulary.train(WORDS, other, tmp_path / "other.model")
    folders = {
        build_store("c", files, vocabulary, FILTERS, cache).folder,
        build_store("c", files, vocabulary, longer, cache).folder,
        build_store("c", files, other_vocabulary, FILTERS, cache).folder,
        build_store("c", write_corpus(tmp_path, sentences(51)), vocabulary, FILTERS, cache).folder,
    }
    assert len(folders) == 4


def test_an_interrupted_build_leaves_nothing(
    tmp_path: Path, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    files, cache = write_corpus(tmp_path, sentences(50)), tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_store("c", files, vocabulary, FILTERS, cache)
    assert list((cache / "stores").iterdir()) == []
    assert len(build_store("c", files, vocabulary, FILTERS, cache)) == 50


def test_two_builders_at_once_agree(
    tmp_path: Path, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, cache = write_corpus(tmp_path, sentences(50)), tmp_path / "cache"
    publish = store_module._publish
    rival: list[TokenStore] = []

    def slow(building: Path, folder: Path) -> None:  # the rival starts and ends before we publish
        monkeypatch.setattr(store_module, "_publish", publish)
        rival.append(build_store("c", files, vocabulary, FILTERS, cache))
        publish(building, folder)

    monkeypatch.setattr(store_module, "_publish", slow)
    ours = build_store("c", files, vocabulary, FILTERS, cache)
    assert ours.folder == rival[0].folder
    assert [path.name for path in (cache / "stores").iterdir()] == [ours.folder.name]


@pytest.mark.parametrize("name", ["source.tokens", "target.offsets", "meta.json"])
def test_a_damaged_store_is_named(tmp_path: Path, vocabulary: Vocabulary, name: str) -> None:
    files, cache = write_corpus(tmp_path, sentences(50)), tmp_path / "cache"
    folder = build_store("c", files, vocabulary, FILTERS, cache).folder
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        CorpusError, match=f"`{folder}` must be a complete token store, but is damaged.*delete"
    ):
        build_store("c", files, vocabulary, FILTERS, cache)


def test_memory_does_not_grow_with_the_corpus(
    tmp_path: Path, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LINES_AT_ONCE", 500)

    def peak(count: int) -> int:
        files = write_corpus(tmp_path, sentences(count, seed=count), str(count))
        tracemalloc.start()
        build_store("c", files, vocabulary, FILTERS, tmp_path / "cache")
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return memory

    peak(100)
    assert peak(12_000) < 1.5 * peak(3_000)


def test_multi30k(tmp_path: Path) -> None:
    assert "NMT_CORPORA" in os.environ, "data/README.md says how to get the corpora"
    corpora = Path(os.environ["NMT_CORPORA"])
    files = CorpusConfig(
        direction=EN_DE,
        source=[str(corpora / "multi30k/valid.en.gz")],
        target=[str(corpora / "multi30k/valid.de.gz")],
    )
    config = VocabularyConfig(
        size=2000, kind="unigram", character_coverage=0.9995, sample_lines=10_000, model=None
    )
    lines = [line for pair in read_parallel(files) for line in pair]
    vocabulary = Vocabulary.train(lines, config, tmp_path / "v.model")
    filters = FILTERS.model_copy(update={"max_tokens": 100})
    store = build_store("valid", files, vocabulary, filters, tmp_path / "cache")
    assert (store.statistics.read, len(store)) == (1014, 1014)
    assert 14 < store.statistics.source_tokens / 1014 < 22
    assert vocabulary.decode(store.source(0)) == lines[0]
    assert vocabulary.decode(store.target(0)) == lines[1]
