import random
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config import VocabularyConfig
from nmt.corpus.vocabulary import BOS, EOS, PAD, SPECIAL, UNK, Vocabulary
from nmt.errors import CorpusError

SYLLABLES = "man wo dog ho use see gi ve run sma ll big red der die das hu nd".split()  # noqa: SIM905


def text(lines: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)

    def word() -> str:
        return "".join(rng.choices(SYLLABLES, k=rng.randint(1, 3)))

    return [" ".join(word() for _ in range(8)) + f" {i}." for i in range(lines)]


def config(size: int = 320, sample_lines: int = 1000) -> VocabularyConfig:
    return VocabularyConfig(
        size=size, kind="unigram", character_coverage=1.0, sample_lines=sample_lines, model=None
    )


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return Vocabulary.train(text(300), config(), tmp_path_factory.mktemp("v") / "v.model")


def test_the_special_pieces_have_their_ids(vocabulary: Vocabulary) -> None:
    assert (PAD, UNK, BOS, EOS) == SPECIAL == (0, 1, 2, 3)
    assert vocabulary.pieces([PAD, UNK, BOS, EOS]) == ["<pad>", "<unk>", "<s>", "</s>"]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_size_is_what_was_asked_for(tmp_path: Path, kind: str) -> None:
    asked = config().model_copy(update={"kind": kind})
    assert len(Vocabulary.train(text(300), asked, tmp_path / "v.model")) == 320


@pytest.mark.parametrize(
    "line",
    ["the man sees 12 dogs.", "👩‍👩‍👧 🙂!", "ᚠᛇᚻ and 𐌰𐌱", "żółć – 漢字 かな", "", "a < b > c <s>"],
)
def test_any_text_survives(vocabulary: Vocabulary, line: str) -> None:
    assert vocabulary.decode(vocabulary.encode(line)) == line


# The normalisation leaves these alone: letters of many scripts, digits, emoji.
ALPHABET = "abcXYZ019.,!?äßéñçłøабвאבجم漢語かナ한글กขᚠᛇ🙂🚀𐌰"


@given(st.lists(st.text(ALPHABET, min_size=1), max_size=8))
@settings(deadline=None)
def test_round_trip(vocabulary: Vocabulary, words: list[str]) -> None:
    ids = vocabulary.encode(" ".join(words))
    assert vocabulary.decode(ids) == " ".join(words)
    assert UNK not in ids
    assert vocabulary.encode_batch([" ".join(words)]) == [ids]
    assert len(vocabulary.pieces(ids)) == len(ids)


@given(st.text())
@settings(deadline=None)
def test_any_ids_decode_to_one_line(vocabulary: Vocabulary, line: str) -> None:
    assert set(vocabulary.decode(vocabulary.encode(line))).isdisjoint("\r\n")


def test_decoding_skips_special_pieces_and_line_ends(vocabulary: Vocabulary) -> None:
    man, dog = vocabulary.encode("man"), vocabulary.encode("dog")
    newline = next(i for i in range(len(vocabulary)) if vocabulary.pieces([i]) == ["<0x0A>"])
    ids = np.array([BOS, *man, newline, *dog, UNK, EOS, PAD, PAD], dtype=np.int64)
    assert vocabulary.decode(ids).split() == ["man", "dog"]
    assert "\n" not in vocabulary.decode(ids)
    assert vocabulary.decode([]) == ""
    assert vocabulary.encode_batch([]) == []


def test_the_same_lines_give_the_same_bytes(tmp_path: Path) -> None:
    lines = text(2000)
    first, second = (
        Vocabulary.train(iter(lines), config(sample_lines=500), tmp_path / name) for name in "ab"
    )
    assert first.fingerprint == second.fingerprint
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    other = Vocabulary.train(text(2000, seed=1), config(sample_lines=500), tmp_path / "c")
    assert other.fingerprint != first.fingerprint


def test_the_sample_is_drawn_from_all_lines(tmp_path: Path) -> None:
    lines = ["abab bbaa"] * 500 + ["cdcd ddcc"] * 500
    vocabulary = Vocabulary.train(
        lines,
        config(300, sample_lines=40).model_copy(update={"kind": "bpe", "size": 270}),
        tmp_path / "v",
    )
    assert not any(piece.startswith("<0x") for piece in vocabulary.pieces(vocabulary.encode("acd")))


def test_saving_and_loading(vocabulary: Vocabulary, tmp_path: Path) -> None:
    vocabulary.save(tmp_path / "folder" / "copy.model")
    loaded = Vocabulary.load(tmp_path / "folder" / "copy.model")
    assert loaded.fingerprint == vocabulary.fingerprint
    assert loaded.encode("the man") == vocabulary.encode("the man")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["copy.model"]


def test_training_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Vocabulary.train(text(300), config(), tmp_path / "v.model")
    assert capfd.readouterr() == ("", "")


def test_too_large_a_size_says_the_largest(tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as raised:
        Vocabulary.train(text(20), config(9000), tmp_path / "v.model")
    message = str(raised.value)
    start = "`data.vocabulary.size` must be at most "
    assert message.startswith(start)
    assert message.endswith("but is 9000 instead; lower it, or add more text.")
    largest = int(message.removeprefix(start).split()[0])
    assert len(Vocabulary.train(text(20), config(largest), tmp_path / "v.model")) == largest


def test_too_small_a_size_says_the_smallest(tmp_path: Path) -> None:
    many = ["".join(chr(i) for i in range(0x4E00, 0x4E80))]
    with pytest.raises(
        CorpusError, match=r"size` must be at least 38\d .*but is 300 instead; raise it"
    ):
        Vocabulary.train(many, config(300), tmp_path / "v.model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lines", [[], ["", "  "]])
def test_no_text_is_an_error(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(CorpusError, match="at least one line of text, but there is none"):
        Vocabulary.train(lines, config(), tmp_path / "v.model")


def test_text_that_sentencepiece_refuses_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"must be able to train on the training text, but reports “.*”"
    ):
        Vocabulary.train(["x" * 100_000], config(), tmp_path / "v.model")


@pytest.mark.parametrize("content", [b"", b"not a model", b"half"])
def test_a_damaged_model_is_named(
    vocabulary: Vocabulary, tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "v.model"
    vocabulary.save(path)
    path.write_bytes(path.read_bytes()[:-1000] if content == b"half" else content)
    with pytest.raises(
        CorpusError, match=f"`{path}` must be a SentencePiece model, but is damaged"
    ):
        Vocabulary.load(path)
    assert capfd.readouterr() == ("", "")


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none` must be a .* “No such file or directory”"):
        Vocabulary.load(tmp_path / "none")


def test_a_model_with_other_ids_is_refused(tmp_path: Path) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text(100)),
        model_prefix=str(tmp_path / "other"),
        vocab_size=40,
        minloglevel=2,
    )
    with pytest.raises(CorpusError, match=r"= \(0, 1, 2, 3\), but has \(-1, 0, 1, 2\) instead"):
        Vocabulary.load(tmp_path / "other.model")
