"""The verbs of the sample: their forms, who does it, with what, and where.

A verb with two kinds of objects that do not mix (people drink, only adults drink wine) has a row
for each.
"""

from __future__ import annotations

import re
from typing import Literal

from data.grammar.meaning import (
    Case,
    EnglishVerb,
    FrenchVerb,
    GermanVerb,
    Verb,
)
from data.grammar.nouns import NOUNS, of_kinds
from data.grammar.tables import table

_INSEPARABLE = ("be", "er", "ver", "ent", "ge", "zer")


def _cell(text: str) -> tuple[list[str], str, str]:
    """The forms, what follows "=" and what follows "+"."""
    words = text.split()
    tails = [word[1:].replace("_", " ") for word in words if word.startswith("=")]
    prepositions = [word[1:] for word in words if word.startswith("+")]
    forms = [word for word in words if word[0] not in "=+"]
    return forms, " ".join(tails), " ".join(prepositions)


def _english_past(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return doubled(base) + "ed"


def doubled(base: str) -> str:
    """The stem before -ing and -ed: "run" gives "runn"."""
    short = re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", base)
    return base + base[-1] if short or base in ("forget", "begin") else base


def _english(text: str) -> EnglishVerb:
    forms, tail, preposition = _cell(text)
    base = forms[0].split("_")[0]
    past = forms[1] if len(forms) > 1 else _english_past(base)
    participle = forms[2] if len(forms) > 2 else past
    return EnglishVerb(base, past, participle, tail, preposition)


def _german_weak(infinitive: str) -> list[str]:
    stem = german_stem(infinitive)
    joint = "e" if stem.endswith(("t", "d", "ffn", "chn", "gn")) else ""
    ge = "" if infinitive.endswith("ieren") or infinitive.startswith(_INSEPARABLE) else "ge"
    return [stem + joint + "t", stem + joint + "te", ge + stem + joint + "t"]


def german_stem(infinitive: str) -> str:
    """What endings are added to: "kauf" of "kaufen"."""
    return infinitive[:-1] if infinitive.endswith(("ern", "eln")) else infinitive[:-2]


def _german(text: str) -> GermanVerb:
    forms, tail, preposition = _cell(text)
    auxiliary: Literal["haben", "sein"] = "sein" if "sein" in forms[1:] else "haben"
    dative = "dat" in forms or preposition in ("mit", "von", "vor")
    case: Case = "dative" if dative else "accusative"
    infinitive, *others = forms
    others = [form for form in others if form not in ("sein", "dat")]
    prefix, _, infinitive = infinitive.rpartition("·")
    third, preterite, participle = others or _german_weak(infinitive)
    tail, _, negated_tail = tail.partition("/")
    return GermanVerb(
        infinitive,
        third,
        preterite,
        participle,
        auxiliary,
        prefix,
        tail,
        negated_tail,
        preposition,
        case,
    )


def _french_regular(infinitive: str, singular: str) -> list[str]:
    stem = infinitive[:-2]
    joint = stem + "e" if stem.endswith("g") else re.sub("c$", "ç", stem)
    return [singular, singular, joint + "ons", singular + "nt", stem + "é"]


def _french(text: str) -> FrenchVerb:
    forms, tail, preposition = _cell(text)
    reflexive = forms[0] == "se"
    infinitive, *others = forms[reflexive:]
    auxiliary: Literal["avoir", "être"] = "être" if reflexive or "être" in others else "avoir"
    future = "".join(form[4:] for form in others if form.startswith("fut:"))
    others = [form for form in others if form != "être" and not form.startswith("fut:")]
    if len(others) < 2:
        others = _french_regular(infinitive, others[0] if others else infinitive[:-1])
        future = future or others[0] + "r"
    je, il, nous, ils, participle = others
    return FrenchVerb(
        infinitive,
        (je, il, nous, ils),
        participle,
        future or infinitive.removesuffix("e"),
        auxiliary,
        reflexive,
        tail,
        preposition,
    )


def _verb(row: list[str]) -> Verb:
    english, german, french, subjects, objects, places, traits = row
    return Verb(
        name=english.split()[0],
        english=_english(english),
        german=_german(german),
        french=_french(french),
        subjects=tuple(of_kinds(subjects)),
        objects=tuple(of_kinds(objects)),
        places=tuple(NOUNS[place] for place in places.split()),
        traits=frozenset(traits.split()),
    )


def _plain(row: list[str]) -> Verb:
    english, german, french, traits = row
    return _verb([english, german, french, "", "", "", traits])


def age(years: int, english: str, german: str, french: str) -> Verb:
    """To be so many years old."""
    return _plain(
        [
            f"be_{years} was been ={english}_years_old",
            f"sein ist war gewesen sein ={german}_Jahre_alt",
            f"avoir ai a avons ont eu fut:aur ={french}_ans",
            "state",
        ]
    )


VERBS = [_verb(row) for row in table("verbs")]
SPECIAL = {verb.name: verb for verb in map(_plain, table("special_verbs"))}
AGES = [
    age(5, "five", "fünf", "cinq"),
    age(6, "six", "sechs", "six"),
    age(7, "seven", "sieben", "sept"),
    age(8, "eight", "acht", "huit"),
    age(9, "nine", "neun", "neuf"),
    age(10, "ten", "zehn", "dix"),
    age(12, "twelve", "zwölf", "douze"),
    age(20, "twenty", "zwanzig", "vingt"),
    age(30, "thirty", "dreißig", "trente"),
    age(70, "seventy", "siebzig", "soixante-dix"),
]
