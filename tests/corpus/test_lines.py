import gzip
import os
import re
from pathlib import Path

import pytest

from nmt.config import CorpusConfig, Direction, read
from nmt.corpus.lines import Survey, check, read_lines, read_parallel, write_atomically
from nmt.errors import ConfigurationError, CorpusError

EN_DE = Direction(source="en", target="de")


def write(path: Path, content: str | bytes) -> str:
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def pair(folder: Path, source: str | bytes, target: str | bytes) -> CorpusConfig:
    return CorpusConfig(
        direction=EN_DE,
        source=[write(folder / "a.en", source)],
        target=[write(folder / "a.de", target)],
    )


@pytest.mark.parametrize("name", ["text", "text.gz"])
def test_lines_end_at_line_feeds_only(tmp_path: Path, name: str) -> None:
    content = "\ufeffone\u2028still one\r\n\ntwo\x0c\x85\r still\nlast, no end"
    lines = list(read_lines(write(tmp_path / name, content)))
    assert lines == ["one\u2028still one", "", "two\x0c\x85\r still", "last, no end"]


def test_a_byte_order_mark_is_text_anywhere_else(tmp_path: Path) -> None:
    assert list(read_lines(write(tmp_path / "a", "x\n\ufeffy\n"))) == ["x", "\ufeffy"]


def test_invalid_utf8_names_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.en", b"good\nb\xe9d\n")
    expected = (
        f"`{path}` must be UTF-8, but line 2 is not valid UTF-8: it has byte 0xe9 at position 2 "
        "instead; convert the file"
    )
    with pytest.raises(CorpusError, match=re.escape(expected)):
        list(read_lines(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.en"
    with pytest.raises(CorpusError, match=f"`{path}` must be a file, but does not exist; "):
        list(read_lines(path))


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=f"`{tmp_path}` must be a file .* gives “Is a directory”"):
        list(read_lines(tmp_path))


def test_a_truncated_gzip_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    packed = gzip.compress(os.urandom(100_000).hex().encode())
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(CorpusError, match=r"must be a complete gzip file, but is damaged after"):
        list(read_lines(path))


def test_plain_text_called_gz_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_text("plain")
    with pytest.raises(CorpusError, match=r"damaged after line 0 .*; download it again"):
        list(read_lines(tmp_path / "a.gz"))


def test_pairs_of_several_files_follow_each_other(tmp_path: Path) -> None:
    files = CorpusConfig(
        direction=EN_DE,
        source=[write(tmp_path / "1.en", "a\nb\n"), write(tmp_path / "2.en.gz", "c\n")],
        target=[write(tmp_path / "1.de.gz", "A\nB\n"), write(tmp_path / "2.de", "C")],
    )
    assert list(read_parallel(files)) == [("a", "A"), ("b", "B"), ("c", "C")]
    assert check(files).pairs == 3


@pytest.mark.parametrize(("source", "target"), [(5, 6), (6, 5), (0, 3), (9, 1)])
def test_misaligned_files_name_both_counts(tmp_path: Path, source: int, target: int) -> None:
    files = pair(tmp_path, "x\n" * source, "y\n" * target)
    a, b = files.source[0], files.target[0]
    expected = (
        f"`{b}` must have as many lines as `{a}`, but `{a}` has {source} lines and `{b}` has "
        f"{target} instead; line i of one must be the translation of line i of the other."
    )
    with pytest.raises(CorpusError) as raised:
        check(files)
    assert str(raised.value) == expected


def test_an_empty_corpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="must have at least one line, but is empty instead"):
        check(pair(tmp_path, "", ""))


def test_a_missing_language_is_an_error(tmp_path: Path) -> None:
    files = CorpusConfig(
        direction=EN_DE, source=[write(tmp_path / "a.en", "x")], target=[str(tmp_path / "a.de")]
    )
    with pytest.raises(CorpusError, match=r"a\.de` must be a file, but does not exist"):
        check(files)


def test_the_digest_is_of_the_text_and_not_of_its_packing(tmp_path: Path) -> None:
    plain = check(pair(tmp_path, "a\nb\n", "A\nB\n"))
    packed = CorpusConfig(
        direction=EN_DE,
        source=[write(tmp_path / "z.en.gz", "a\r\nb")],
        target=[write(tmp_path / "z.de", "A\nB")],
    )
    assert check(packed) == plain
    assert check(pair(tmp_path, "a\nb\n", "A\nb\n")) != plain
    assert check(pair(tmp_path, "A\nB\n", "a\nb\n")) != plain


def test_a_check_is_remembered_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, cache = pair(tmp_path, "a\n", "b\n"), tmp_path / "cache"
    first = check(files, cache)
    with monkeypatch.context() as patch:
        patch.setattr("nmt.corpus.lines._survey", lambda _: Survey(-1, "read again"))
        assert check(files, cache) == first
    (tmp_path / "a.de").write_text("b\nc\n")
    with pytest.raises(CorpusError, match="as many lines"):
        check(files, cache)
    (tmp_path / "a.de").unlink()
    with pytest.raises(CorpusError, match="does not exist"):
        check(files, cache)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_atomically(tmp_path / "taken", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_relative_path_says_from_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match=re.escape(f"does not exist in `{tmp_path}`; correct")):
        list(read_lines("nowhere.en"))


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.tsv.gz"])
def test_columns_of_a_tsv(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name, "7\tone\teins\tcc\r\n8\t\t zwei\n")
    corpus = read(
        CorpusConfig,
        {"source": file, "columns": [2, 3], "direction": {"source": "en", "target": "de"}},
    )
    assert list(read_parallel(corpus)) == [("one", "eins"), ("", " zwei")]
    assert list(read_parallel(corpus.changed(columns=[3, 2]))) == [("eins", "one"), (" zwei", "")]
    other = write(tmp_path / "a.fr", "un\ndeux\n")
    both = corpus.changed(target=[other], columns=[3, None])
    assert list(read_parallel(both)) == [("eins", "un"), (" zwei", "deux")]
    with pytest.raises(CorpusError, match=r"at least 4 columns .* line 2 has 3 instead"):
        list(read_parallel(corpus.changed(columns=[2, 4])))


def test_a_check_depends_on_the_columns(tmp_path: Path) -> None:
    corpus = CorpusConfig(
        direction=EN_DE, source=[write(tmp_path / "a.tsv", "a\tb\tc\n")], columns=[1, 2]
    )
    surveys = [check(corpus.changed(columns=c), tmp_path) for c in ([1, 2], [1, 3], [1, 2])]
    assert surveys[0] == surveys[2] != surveys[1]


def test_the_same_file_on_both_sides(tmp_path: Path) -> None:
    file = write(tmp_path / "a.en", "one\n")
    link = tmp_path / "link.de"
    link.symlink_to(file)
    for target in (file, str(link)):
        corpus = CorpusConfig(direction=EN_DE, source=[file], target=[target])
        with pytest.raises(CorpusError, match="must be the source alone, but is the target as"):
            list(read_parallel(corpus))
    copy = write(tmp_path / "copy.de", "one\n")
    assert list(read_parallel(CorpusConfig(direction=EN_DE, source=[file], target=[copy])))
    with pytest.raises(CorpusError, match="choose `columns`"):
        list(read_parallel(CorpusConfig(direction=EN_DE, source=[file], columns=[1, 1])))


def test_a_target_that_is_left_out() -> None:
    with pytest.raises(ConfigurationError, match="`target` must be set, but is missing; set `col"):
        read(CorpusConfig, {"source": ["a.tsv"], "direction": "en-de"})
