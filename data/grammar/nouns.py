"""The nouns of the sample, where they are, and where one goes to find them."""

from __future__ import annotations

from typing import cast

from data.grammar.meaning import Case, Gender, Noun, Preposition
from data.grammar.tables import forms, table

_ALWAYS_DATIVE = {"zu", "nach", "aus", "von", "mit"}


def _english_plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def _french_plural(noun: str) -> str:
    if noun.endswith("al"):
        return noun[:-1] + "ux"
    if noun.endswith(("s", "x", "z")):
        return noun
    return noun + ("x" if noun.endswith("eau") else "s")


def _noun(row: list[str]) -> Noun:
    english, german, french, kinds = (forms(cell) for cell in row)
    return Noun(
        name=english[0],
        english_plural=english[1] if len(english) > 1 else _english_plural(english[0]),
        german=german[1],
        german_plural=german[2],
        german_gender=cast(Gender, german[0]),
        german_weak="weak" in german[3:],
        french=french[1],
        french_plural=french[2] if len(french) > 2 else _french_plural(french[1]),
        french_gender=cast(Gender, french[0]),
        kinds=frozenset(word.replace(" ", "_") for word in kinds),
    )


def _being(english: str, german: str, french: str) -> Preposition:
    return Preposition(english, german, "dative", french)


def _going(english: str, german: str, french: str) -> Preposition:
    case: Case = "dative" if german in _ALWAYS_DATIVE else "accusative"
    return Preposition(english, german, case, french)


NOUNS: dict[str, Noun] = {noun.name: noun for noun in map(_noun, table("nouns"))}
KINDS = sorted({kind for noun in NOUNS.values() for kind in noun.kinds})

AT: dict[str, Preposition] = {}
TO: dict[str, Preposition] = {}
FROM: dict[str, Preposition] = {}
for _place, _at, _to, _from in table("places"):
    AT[_place] = _being(*_at.split())
    TO[_place] = _going(*_to.split())
    FROM[_place] = _going("from", _from, "de")


def of_kinds(names: str) -> list[Noun]:
    """The nouns named, by kind or one by one, in the order of the table; "-cake" leaves one out."""
    wanted = {name for name in names.split() if not name.startswith("-")}
    unwanted = {name[1:] for name in names.split() if name.startswith("-")}
    for name in wanted | unwanted:
        assert name in NOUNS or name in KINDS, f"no noun and no kind of noun is called {name}"
    return [
        noun
        for noun in NOUNS.values()
        if (noun.name in wanted or noun.kinds & wanted)
        and not (noun.name in unwanted or noun.kinds & unwanted)
    ]
