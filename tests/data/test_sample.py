"""The sample corpus: what its files promise."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from data.grammar.corpus import LANGUAGES, Corpus, generate, main, write
from data.grammar.nouns import of_kinds

FOLDER = Path(__file__).parents[2] / "data" / "sample"
SIZES = {"train": 6000, "valid": 300, "test": 300}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return {
        split: {
            language: (FOLDER / f"{split}.{language}").read_text(encoding="utf-8").splitlines()
            for language in LANGUAGES
        }
        for split in SIZES
    }


# The files


def test_generator_writes_the_committed_files(tmp_path: Path) -> None:
    write(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in FOLDER.iterdir() if path.name != "README.md")
    for name in names:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_sizes(corpus: Corpus) -> None:
    for split, size in SIZES.items():
        assert {len(lines) for lines in corpus[split].values()} == {size}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000


def test_no_sentence_occurs_twice(corpus: Corpus) -> None:
    for language in LANGUAGES:
        lines = [line for split in SIZES for line in corpus[split][language]]
        assert len(set(lines)) == len(lines)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_training_shows_every_word_several_times(corpus: Corpus, split: str) -> None:
    for language in LANGUAGES:
        seen = Counter(re.findall(r"\w+", "\n".join(corpus["train"][language])))
        for line in corpus[split][language]:
            assert min(seen[word] for word in re.findall(r"\w+", line)) >= 4, line


def test_lines_are_clean_text(corpus: Corpus) -> None:
    for split in SIZES:
        for language in LANGUAGES:
            assert b"\r" not in (FOLDER / f"{split}.{language}").read_bytes()
            for line in corpus[split][language]:
                assert unicodedata.is_normalized("NFC", line), line
                assert line.isprintable(), line
                assert line == " ".join(line.split()), line
                assert line[0].isupper(), line
                assert line[-1] in ".?!", line
                assert 3 <= len(line.split()) <= 16, line


def test_all_three_languages_are_negative_or_none(corpus: Corpus) -> None:
    negation = {
        "en": r"\b(not|cannot|never)\b",
        "de": r"\b(nicht|nie|kein\w*)\b",
        "fr": r"\b(pas|jamais)\b",
    }
    for split in SIZES:
        for lines in zip(*(corpus[split][language] for language in LANGUAGES), strict=True):
            found = [
                re.search(negation[language], line) is not None
                for language, line in zip(LANGUAGES, lines, strict=True)
            ]
            assert len(set(found)) == 1, lines


def test_french_elides_and_contracts(corpus: Corpus) -> None:
    hiatus = re.compile(
        r"\b(le|la|je|me|se|ne|de|que) (?!hamster|hibou|huit)[aeiouyàâéèêîôœh]", re.IGNORECASE
    )
    article = re.compile(r"\b(à|de) les? ")
    for split in SIZES:
        for line in corpus[split]["fr"]:
            assert not hiatus.search(line), line
            assert not article.search(line), line


# The generator


def test_same_seed_same_corpus() -> None:
    small = generate(seed=7, train=2000, valid=5, test=5)
    assert small == generate(seed=7, train=2000, valid=5, test=5)
    assert small != generate(seed=8, train=2000, valid=5, test=5)
    assert [len(small[split]["fr"]) for split in ("train", "valid", "test")] == [2000, 5, 5]


def test_command_without_a_folder_says_how_to_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == "usage: python -m data.grammar FOLDER\n"


def test_tables_name_only_nouns_that_exist() -> None:
    assert [noun.name for noun in of_kinds("royal -queen dog")] == ["king", "princess", "dog"]
    with pytest.raises(AssertionError, match="no noun and no kind of noun is called unicorn"):
        of_kinds("dog unicorn")
