"""French sounds, contractions and endings."""

from __future__ import annotations

import re

_VOWEL = r"(?!hamster|hibou|huit|onze)(?i:[aàâeéèêiîoôœuûh])"
NUMBERS = {
    "two": "deux",
    "three": "trois",
    "four": "quatre",
    "five": "cinq",
    "six": "six",
    "ten": "dix",
}
# je, il, nous, ils
AVOIR = ("ai", "a", "avons", "ont")
ÊTRE = ("suis", "est", "sommes", "sont")
IMPARFAIT = ("ais", "ait", "ions", "aient")
FUTURE = ("ai", "a", "ons", "ont")
CLITIC_ORDER = ["me", "se", "nous", "le", "la", "les", "lui", "leur"]


def elided(line: str) -> str:
    """Write "l'eau" for "la eau"."""
    words = rf"(?<![\w-])(le|la|je|me|te|se|ne|de|que) (?={_VOWEL})"
    return re.sub(words, lambda match: match[1][:-1] + "'", line)


def starts_with_vowel(word: str) -> bool:
    """Whether "le" and "de" lose their vowel before the word."""
    return re.match(_VOWEL, word) is not None


def with_preposition(preposition: str, article: list[str], next_word: str) -> list[str]:
    """The preposition and the article: "à" and "le" give "au"."""
    if not preposition:
        return article
    *before, last = preposition.split()
    if last == "de" and article[:1] in (["de"], ["des"], ["du"]):
        return [*before, "de"]
    if last in ("à", "de") and article == ["les"]:
        return [*before, "aux" if last == "à" else "des"]
    if last in ("à", "de") and article == ["le"] and not starts_with_vowel(next_word):
        return [*before, "au" if last == "à" else "du"]
    return [*before, last, *article]


def imparfait(nous: str, person: int) -> str:
    """The imparfait, from the nous-form of the present."""
    stem = "ét" if nous == "sommes" else nous.removesuffix("ons")
    ending = IMPARFAIT[person]
    if ending == "ions":
        stem = re.sub("ge$", "g", re.sub("ç$", "c", stem))
    return stem + ending
