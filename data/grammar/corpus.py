"""The sample corpus: English, German and French sentences that mean the same.

Sentences are made up as meanings and then said in each language by a small grammar
(this folder). The files are the same on every machine:

    python -m data.grammar data/sample
"""

from __future__ import annotations

import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from data.grammar import english, french, german, joined, nested, simple
from data.grammar.meaning import Sentence, combinations
from data.grammar.phrases import Author

Corpus = dict[str, dict[str, list[str]]]
Translations = dict[str, str]

LANGUAGES: dict[str, Callable[[Sentence], str]] = {
    "en": english.say,
    "de": german.say,
    "fr": french.say,
}
SEED = 2024

_LENGTHS = range(3, 17)  # words in a sentence, in every language
_HELD_OUT_ONE_IN = 9  # combinations such as man/read/book that training never sees
_SEEN_AT_LEAST = 4  # how often training must show each word of the other splits

# How often each kind of sentence is tried, relative to the others.
_SHARES: dict[Callable[[Author], Sentence], float] = {
    simple.statement: 24,
    simple.with_modal: 9,
    simple.perfect: 5,
    simple.copula: 6,
    simple.comparison: 4,
    simple.location: 5,
    simple.existence: 3,
    simple.years_old: 1.5,
    simple.yes_or_no: 5,
    simple.who: 2,
    simple.what: 2,
    simple.which: 2.5,
    simple.where: 3,
    simple.when: 1.5,
    simple.why: 1.5,
    simple.command: 5,
    nested.series: 5,
    nested.in_order: 2.5,
    nested.errand: 3,
    nested.attempt: 3,
    nested.doer: 3,
    nested.acquaintance: 3,
    nested.done_to: 3.5,
    joined.because_of_mood: 3,
    joined.because_of_thing: 3,
    joined.lost: 0.7,
    joined.opinion: 4,
    joined.meanwhile: 2.5,
    joined.interrupted: 3,
    joined.whenever: 2.5,
    joined.contrast: 3,
}


def generate(seed: int = SEED, train: int = 6000, valid: int = 300, test: int = 300) -> Corpus:
    """The corpus as split -> language -> sentences; line i says the same in all languages.

    No sentence occurs twice in the corpus, in any language. Every sentence of `valid` and `test`
    has a combination (who does what, with what) that no sentence of `train` has, and only words
    that `train` shows several times.
    """
    seen: list[Translations] = []
    unseen: list[Translations] = []
    sentences = _sentences(seed)
    while len(seen) < train:
        held_out, translations = next(sentences)
        (unseen if held_out else seen).append(translations)
    words = Counter(word for translations in seen for word in words_of(translations))
    known = [translations for translations in unseen if _is_known(translations, words)]
    while len(known) < valid + test:
        held_out, translations = next(sentences)
        if held_out and _is_known(translations, words):
            known.append(translations)
    splits = {"train": seen, "valid": known[:valid], "test": known[valid : valid + test]}
    return {
        split: {language: [item[language] for item in items] for language in LANGUAGES}
        for split, items in splits.items()
    }


def write(folder: Path) -> None:
    """Write `train.en`, `train.de` and so on: UTF-8, one sentence a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, languages in generate().items():
        for language, lines in languages.items():
            text = "".join(line + "\n" for line in lines)
            (folder / f"{split}.{language}").write_bytes(text.encode("utf-8"))


def words_of(translations: Translations) -> Iterator[tuple[str, str]]:
    """Language and word, for every word and mark of a sentence in every language."""
    for language, line in translations.items():
        for word in re.findall(r"\w+|[^\w\s]", line):
            yield language, word


def _is_known(translations: Translations, words: Counter[tuple[str, str]]) -> bool:
    return all(words[word] >= _SEEN_AT_LEAST for word in words_of(translations))


def _sentences(seed: int) -> Iterator[tuple[bool, Translations]]:
    """Without end: whether a combination is held out from training, and the sentence."""
    author = Author(seed)
    used: dict[str, set[str]] = {language: set() for language in LANGUAGES}
    while True:
        sentence = author.weighted(_SHARES)(author)
        translations = {language: say(sentence) for language, say in LANGUAGES.items()}
        lengths = [len(line.split()) for line in translations.values()]
        new = all(line not in used[language] for language, line in translations.items())
        if not new or min(lengths) not in _LENGTHS or max(lengths) not in _LENGTHS:
            continue
        for language, line in translations.items():
            used[language].add(line)
        yield any(map(_is_held_out, combinations(sentence))), translations


def _is_held_out(combination: str) -> bool:
    """Chosen by a checksum, so that the choice does not depend on the order of the sentences."""
    _, _, what, quality = combination.split("/")
    return bool(what or quality) and zlib.crc32(combination.encode()) % _HELD_OUT_ONE_IN == 0


def main(arguments: list[str]) -> int:
    """Write the corpus into the folder named; 2 if none is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m data.grammar FOLDER\n")
        return 2
    write(Path(arguments[0]))
    return 0
